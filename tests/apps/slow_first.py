"""The first request loads what all others find."""

import time
from functools import cache

from fastapi import FastAPI

app = FastAPI()


@cache
def model() -> str:
    time.sleep(0.4)
    return "ready"


@app.get("/")
async def ask() -> str:
    return model()
