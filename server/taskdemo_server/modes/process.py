"""Mode process: the endpoint hands the work to a pool of processes and answers."""

import multiprocessing
import os
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import FastAPI, Query

from taskdemo_server.work import slow_work

processes = int(os.environ.get("PROCESSES", os.cpu_count() or 1))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    # To fork a process that has threads may hang it; spawn starts clean.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, spawn) as app.state.pool:
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/")
async def hello(
    message: Annotated[str, Query(max_length=4096)] = "Hello",
) -> dict[str, str]:
    # A caller who needs the result: await asyncio.wrap_future(...) around it.
    app.state.pool.submit(slow_work, message)
    return {"message": "Hello World!"}
