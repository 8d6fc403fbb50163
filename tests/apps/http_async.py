"""The same with httpx's async client: right."""

import httpx
from fastapi import FastAPI

from _slow import URL

app = FastAPI()
client = httpx.AsyncClient(trust_env=False)


@app.get("/")
async def proxy() -> int:
    return (await client.get(URL)).status_code
