"""The same: for few callers it is right."""

import time

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
def slow() -> str:
    time.sleep(0.5)
    return "done"
