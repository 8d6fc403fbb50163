"""Computing in asyncio's own threads: the same."""

import asyncio
import time

from fastapi import FastAPI

app = FastAPI()


def fib(number: int) -> int:
    return number if number < 2 else fib(number - 1) + fib(number - 2)


def report() -> str:
    end = time.thread_time() + 0.03
    while time.thread_time() < end:
        fib(18)
    return "done"


@app.get("/")
async def compute() -> str:
    return await asyncio.to_thread(report)
