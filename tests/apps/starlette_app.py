"""Starlette without FastAPI, under a name of its own."""

import time

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def slow(_request: Request) -> PlainTextResponse:
    time.sleep(0.2)
    return PlainTextResponse("done")


website = Starlette(routes=[Route("/", slow)])
