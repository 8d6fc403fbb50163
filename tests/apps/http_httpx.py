"""httpx's blocking client in an `async def`."""

import httpx
from fastapi import FastAPI

from _slow import URL

app = FastAPI()
client = httpx.Client(trust_env=False)


@app.get("/")
async def proxy() -> int:
    return client.get(URL).status_code
