"""A task whose failure nobody hears of."""

import asyncio

from fastapi import FastAPI

app = FastAPI()


async def mail() -> None:
    await asyncio.sleep(0.1)
    raise ValueError("no such address")


@app.get("/")
async def order() -> str:
    asyncio.create_task(mail())
    return "accepted"
