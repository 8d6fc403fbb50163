"""One asyncio.Lock around what everybody wants."""

import asyncio

from fastapi import FastAPI

app = FastAPI()
lock = asyncio.Lock()


@app.get("/")
async def guarded() -> str:
    async with lock:
        await asyncio.sleep(0.1)
    return "done"
