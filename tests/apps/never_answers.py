"""An endpoint that waits for what never comes."""

import asyncio

from fastapi import FastAPI

app = FastAPI()
arrived = asyncio.Event()


@app.get("/")
async def wait() -> str:
    await arrived.wait()
    return "done"
