"""A pool of two threads for everybody."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from fastapi import FastAPI

app = FastAPI()
pool = ThreadPoolExecutor(2)


@app.get("/")
async def convert() -> str:
    await asyncio.get_running_loop().run_in_executor(pool, time.sleep, 0.15)
    return "done"
