"""The routes of `taskdemo limits`, beside `GET /`, there only when the settings name a step log.

A file per mode holds what a good engineer would write with that engine to track, repeat, orchestrate and fail. None of
it goes through taskdemo's own journal; what is found out comes from the engine and from the step log.
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
"""Seconds that `GET /limits/neighbour` takes: more than a step, so that it is in flight when one fails."""


def router(state: State) -> APIRouter:
    """Return the routes under /limits."""
    routes, mode = APIRouter(prefix="/limits"), MODE_BY_NAME[state.settings.mode]
    steps: Steps = importlib.import_module(mode.steps).steps()
    for name in ("track", "retry", "chain", "group", "fail"):
        routes.get(f"/{name}")(getattr(steps, name))
    routes.include_router(surprises.router(steps.track))

    @routes.get("")
    async def redelivery() -> dict[str, float | None]:
        # After how long a dead worker's task is given to another; null for never, or where there are no workers.
        return {"redelivered_after_s": None if mode.engine is None else base.load(mode.engine).redelivered_after()}

    @routes.get("/ask")
    async def ask(key: str) -> dict[str, str | None]:
        # What kind of object was asked, and what it says; or why it would not say. Nothing where there is none to ask.
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
    """Return what it returns; an ordinary function, which may go over the network, is called in a thread."""
    return await (function(*given) if inspect.iscoroutinefunction(function) else asyncio.to_thread(function, *given))
