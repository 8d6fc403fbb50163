"""An `async def` that calls a plain function, which waits."""

import time

from fastapi import FastAPI

app = FastAPI()


def build() -> str:
    time.sleep(0.2)
    return "done"


@app.get("/")
async def report() -> str:
    return build()
