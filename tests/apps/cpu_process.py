"""Computing in processes: right."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from multiprocessing import get_context

from fastapi import FastAPI

pool = ProcessPoolExecutor(1, get_context("spawn"))


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    with pool:
        await asyncio.get_running_loop().run_in_executor(pool, fib, 1)  # it starts with the first task
        yield


app = FastAPI(lifespan=lifespan)


def fib(number: int) -> int:
    return number if number < 2 else fib(number - 1) + fib(number - 2)


@app.get("/")
async def compute() -> int:
    return await asyncio.get_running_loop().run_in_executor(pool, fib, 20)
