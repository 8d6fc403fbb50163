"""Computing in an `async def` itself, in a loop that calls next to nothing."""

import math
import time

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def total() -> float:
    end, roots = time.thread_time() + 0.25, 0.0
    while time.thread_time() < end:
        for number in range(1000):
            roots += math.sqrt(number)
    return roots
