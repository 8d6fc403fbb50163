"""A dependency takes its time after the answer, in a thread: closing what it gave."""

import time
from collections.abc import Iterator

from fastapi import Depends, FastAPI

app = FastAPI()


def session() -> Iterator[str]:
    yield "session"
    time.sleep(0.8)


@app.get("/")
async def order(given: str = Depends(session)) -> str:
    return given
