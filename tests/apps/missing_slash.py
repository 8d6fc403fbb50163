"""FastAPI answers 307 by itself where a slash is missing."""

import time

from fastapi import FastAPI

app = FastAPI()


@app.get("/orders/")
async def orders() -> str:
    time.sleep(0.3)
    return "done"
