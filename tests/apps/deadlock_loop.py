"""The event loop waits for a thread that waits for the event loop."""

import asyncio

from fastapi import FastAPI

app = FastAPI()


async def answer() -> str:
    return "done"


@app.get("/")
async def stuck() -> str:
    return asyncio.run_coroutine_threadsafe(answer(), asyncio.get_running_loop()).result()
