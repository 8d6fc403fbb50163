"""gc.collect() in an endpoint, again and again, with many objects alive."""

import gc

from fastapi import FastAPI

app = FastAPI()
CACHE = [[number] for number in range(1_500_000)]


@app.get("/")
async def clean_up() -> int:
    return sum(gc.collect() for _ in range(3))
