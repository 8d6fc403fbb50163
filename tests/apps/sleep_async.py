"""time.sleep in an `async def`."""

import time

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def slow() -> str:
    time.sleep(0.2)
    return "done"
