"""A task that nobody keeps, and that blocks after the answer."""

import asyncio
import time

from fastapi import FastAPI

app = FastAPI()


async def mail() -> None:
    await asyncio.sleep(0.05)
    time.sleep(0.4)


@app.get("/")
async def order() -> str:
    asyncio.create_task(mail())
    return "accepted"
