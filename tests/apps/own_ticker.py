"""A task of the application's own blocks, whoever asks."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI


async def tick() -> None:
    while True:
        await asyncio.sleep(0.1)
        time.sleep(0.2)


@asynccontextmanager
async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
    ticker = asyncio.create_task(tick())
    yield
    ticker.cancel()


app = FastAPI(lifespan=lifespan)


@app.get("/")
async def quick() -> str:
    return "done"
