"""The routes of `taskdemo limits`, beside `GET /`; they exist only if the settings name a step log.

One file per mode holds what a good engineer would write with that engine to track, retry, orchestrate and fail. None of
it uses taskdemo's own journal: the findings come from the engine and from the step log.
"""

import asyncio
import importlib
import inspect
from collections.abc import Callable
from typing import Any, Final

from fastapi import APIRouter

from taskdemo_server.api.state import State
from taskdemo_server.contract.modes import MODE_BY_NAME
from taskdemo_server.engines import base
from taskdemo_server.limits import surprises
from taskdemo_server.limits.base import CannotAskError, Steps

NEIGHBOUR_S: Final = 0.9
"""Seconds that `GET /limits/neighbour` takes: longer than a step, so it is in flight when one fails."""


def router(state: State) -> APIRouter:
    """Return the routes under /limits."""
    routes, mode = APIRouter(prefix="/limits"), MODE_BY_NAME[state.settings.mode]
    steps: Steps = importlib.import_module(mode.steps).steps()
    for name in ("track", "retry", "chain", "group", "fail"):
        routes.get(f"/{name}")(getattr(steps, name))
    routes.include_router(surprises.router(steps.track))

    @routes.get("")
    async def redelivery() -> dict[str, float | None]:
        # Seconds after which a dead worker's task goes to another one; null for never, or if there are no workers.
        return {"redelivered_after_s": None if mode.engine is None else base.load(mode.engine).REDELIVERED_AFTER_S}

    @routes.get("/ask")
    async def ask(key: str) -> dict[str, str | None]:
        # The type of the object asked, and what it says or why it cannot say; empty if there is nothing to ask.
        handle = steps.handles.get(key)
        if steps.ask is None or handle is None:
            return {}
        asked = type(handle).__name__
        try:
            state, error = await _called(steps.ask, handle)
        except CannotAskError as refused:
            return {"asked": asked, "refused": str(refused)}
        return {"asked": asked, "state": state, "error": error}

    @routes.delete("")
    async def clean() -> None:
        if steps.clean is not None:
            await _called(steps.clean)

    @routes.get("/neighbour")
    async def neighbour() -> dict[str, str]:
        await asyncio.sleep(NEIGHBOUR_S)
        return {"message": "still here"}

    return routes


async def _called(function: Callable[..., Any], *given: Any) -> Any:
    """Return the result of a function; an ordinary one, which may use the network, runs in a thread."""
    return await (function(*given) if inspect.iscoroutinefunction(function) else asyncio.to_thread(function, *given))
