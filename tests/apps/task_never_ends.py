"""A task that has not ended when the server does; somebody keeps it, though."""

import asyncio

from fastapi import FastAPI

app = FastAPI()
tasks: set[asyncio.Task[None]] = set()


async def poll() -> None:
    await asyncio.sleep(3600)


@app.get("/")
async def order() -> str:
    tasks.add(asyncio.create_task(poll()))
    return "accepted"
