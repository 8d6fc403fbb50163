"""Each request starts a thread of its own, which computes: the answer comes first, and then everybody waits."""

import threading
import time

from fastapi import FastAPI

app = FastAPI()


def report() -> None:
    end = time.thread_time() + 0.1
    while time.thread_time() < end:
        sum(range(1000))


@app.get("/")
async def start() -> str:
    threading.Thread(target=report).start()
    return "started"
