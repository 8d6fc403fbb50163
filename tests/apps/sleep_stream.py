"""A stream whose async generator waits on the event loop between its pieces."""

import time
from collections.abc import AsyncIterator

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

app = FastAPI()


async def pieces() -> AsyncIterator[str]:
    for number in range(3):
        time.sleep(0.15)
        yield f"{number}\n"


@app.get("/")
async def stream() -> StreamingResponse:
    return StreamingResponse(pieces())
