"""Server-sent events without an end: right."""

import asyncio
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

app = FastAPI()


async def events() -> AsyncIterator[str]:
    while True:
        yield "data: tick\n\n"
        await asyncio.sleep(0.2)


@app.get("/")
async def stream() -> StreamingResponse:
    return StreamingResponse(events(), media_type="text/event-stream")
