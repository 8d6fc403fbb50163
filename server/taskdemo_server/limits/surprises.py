"""The routes of the experiments about surprises: what an application does around the start of a task.

Each is a short version of what many applications do. They are the same for every mode: `begin` is the mode's own path
operation function, which starts the step `tracked` with that mode's engine.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Final, Literal

from fastapi import APIRouter, Depends, FastAPI, HTTPException
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response

from taskdemo_server.limits.step import CONTEXT, note

THINK_S: Final = 0.4
"""Seconds that `GET /limits/hang-up` takes before it starts a task: time for its caller to hang up."""


class PassOn(BaseHTTPMiddleware):
    """The least that a BaseHTTPMiddleware can do."""

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        """Set a context variable, and pass the request on."""
        CONTEXT["a BaseHTTPMiddleware"].set(True)
        return await call_next(request)


async def think() -> None:
    """Wait, as for a lookup."""
    await asyncio.sleep(THINK_S)


async def note_in_context() -> None:
    """Set a context variable, as an `async def` dependency that identifies the caller does."""
    CONTEXT["an `async def` dependency"].set(True)


def note_in_context_of_thread() -> None:
    """Set a context variable, as a `def` dependency does."""
    CONTEXT["a `def` dependency"].set(True)


def router(begin: Callable[..., Any]) -> APIRouter:
    """Return the routes, including those behind the middleware."""
    routes, behind = APIRouter(), FastAPI()
    behind.add_middleware(PassOn)
    routes.add_route("/behind/{path}", behind)  # type: ignore[arg-type]  # an ASGI application works as an endpoint

    behind.get("/limits/behind/track")(begin)

    @routes.get("/hang-up", dependencies=[Depends(think), Depends(begin)])
    @behind.get("/limits/behind/hang-up", dependencies=[Depends(think), Depends(begin)])
    async def hang_up() -> dict[str, str]:
        return {"message": "Is anybody there?"}

    @routes.get("/late-error", dependencies=[Depends(begin)])
    async def late_error(error: Literal["HTTPException", "RuntimeError"]) -> None:
        if error == "HTTPException":
            raise HTTPException(409, "No, after all.")
        raise RuntimeError("something else went wrong")

    async def session(key: str) -> AsyncIterator[None]:
        note(key=key, step="session", state="started")
        yield
        note(key=key, step="session", state="ended")

    @routes.get("/session/request", dependencies=[Depends(session), Depends(begin)])
    @routes.get("/session/function", dependencies=[Depends(session, scope="function"), Depends(begin)])
    async def with_session() -> dict[str, str]:
        return {"message": "Committed."}

    @behind.get(
        "/limits/behind/context",
        dependencies=[Depends(note_in_context), Depends(note_in_context_of_thread), Depends(begin)],
    )
    async def context() -> dict[str, str]:
        return {"message": "Noted."}

    return routes
