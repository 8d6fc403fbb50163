"""The tutorial's endpoint in each mode, without id, journal or message: what the server's overhead is measured by."""

import multiprocessing
import os
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import BackgroundTasks, FastAPI


def work() -> None:
    print("Background Task called!")


async def work_async() -> None:
    print("Background Task called!")


def quiet_work() -> None:
    """In a pool process: the server prints when the result arrives, as ours does."""


pool: ProcessPoolExecutor


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    global pool
    with ProcessPoolExecutor(min(8, os.cpu_count() or 1), multiprocessing.get_context("spawn")) as pool:
        yield


async def blocking():  # type: ignore[no-untyped-def]  # as in the tutorial
    work()
    return {"message": "Hello World!"}


async def async_():  # type: ignore[no-untyped-def]  # as in the tutorial
    await work_async()
    return {"message": "Hello World!"}


def threadpool():  # type: ignore[no-untyped-def]  # as in the tutorial
    work()
    return {"message": "Hello World!"}


async def background(background_tasks: BackgroundTasks):  # type: ignore[no-untyped-def]  # as in the tutorial
    background_tasks.add_task(work)
    return {"message": "Hello World!"}


async def background_async(background_tasks: BackgroundTasks):  # type: ignore[no-untyped-def]  # as in the tutorial
    background_tasks.add_task(work_async)
    return {"message": "Hello World!"}


async def process():  # type: ignore[no-untyped-def]  # as in the tutorial
    pool.submit(quiet_work).add_done_callback(lambda _: print("Background Task called!"))
    return {"message": "Hello World!"}


ENDPOINTS: dict[str, Callable[..., Any]] = {
    "blocking": blocking,
    "async": async_,
    "threadpool": threadpool,
    "background": background,
    "background-async": background_async,
    "process": process,
}

if __name__ == "__main__":
    app = FastAPI(lifespan=lifespan)
    app.get("/")(ENDPOINTS[sys.argv[1]])
    uvicorn.run(app, port=int(sys.argv[2]), log_level="error", access_log=False, ws="none", proxy_headers=False)
