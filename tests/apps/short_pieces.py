"""Each call blocks for only 50 ms, and many come at once."""

import threading
import time

from fastapi import FastAPI

app = FastAPI()
lock = threading.Lock()


@app.get("/")
async def count() -> str:
    with lock:
        time.sleep(0.05)
    return "done"
