"""requests in an `async def`, at another server that takes its time."""

import requests
from fastapi import FastAPI

from _slow import URL

app = FastAPI()


@app.get("/")
async def proxy() -> int:
    return requests.get(URL, timeout=5).status_code
