"""A plain `def` that waits, for more callers than there are threads."""

import time

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
def slow() -> str:
    time.sleep(0.5)
    return "done"
