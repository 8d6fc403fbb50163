"""Computing in asyncio's own threads: the same."""

import asyncio

from fastapi import FastAPI

app = FastAPI()


def fib(number: int) -> int:
    return number if number < 2 else fib(number - 1) + fib(number - 2)


@app.get("/")
async def compute() -> int:
    return await asyncio.to_thread(fib, 25)
