"""Each request starts a thread of its own, which computes: the answer comes first, and then everybody waits."""

import threading
import time

from fastapi import FastAPI

app = FastAPI()


def fib(number: int) -> int:
    return number if number < 2 else fib(number - 1) + fib(number - 2)


def report() -> None:
    end = time.thread_time() + 0.1
    while time.thread_time() < end:
        fib(18)


@app.get("/")
async def start() -> str:
    threading.Thread(target=report).start()
    return "started"
