"""A middleware that waits on the event loop, before every endpoint."""

import time
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from starlette.middleware.base import BaseHTTPMiddleware

app = FastAPI()


class Audit(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        time.sleep(0.2)
        return await call_next(request)


app.add_middleware(Audit)


@app.get("/")
async def quick() -> str:
    return "done"
