"""Without its query the endpoint is never called."""

import time

from fastapi import FastAPI

app = FastAPI()


@app.get("/search")
async def search(q: str) -> str:
    time.sleep(0.3)
    return q
