"""gc.collect() in an endpoint, with many objects alive."""

import gc

from fastapi import FastAPI

app = FastAPI()
CACHE = [[number] for number in range(1_500_000)]


@app.get("/")
async def clean_up() -> int:
    return gc.collect()
