"""An async client with two connections for everybody."""

import httpx
from fastapi import FastAPI

from _slow import URL

app = FastAPI()
client = httpx.AsyncClient(trust_env=False, limits=httpx.Limits(max_connections=2))


@app.get("/")
async def proxy() -> int:
    return (await client.get(URL)).status_code
