"""The laboratory of `taskdemo limits`: endpoints beside `GET /`, there only when the settings name a notebook.

One small file a mode: what a good engineer would write with that engine to track, repeat, orchestrate and fail.
None of it goes through taskdemo's own journal; what is found out comes from the engine and from the notebook.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from fastapi import FastAPI, HTTPException
from typing_extensions import TypedDict  # pydantic wants this one on Python 3.11

from taskdemo_server.contract.settings import Settings
from taskdemo_server.limits import async_, background, blocking, celery, process, threadpool
from taskdemo_server.limits.bench import Bench, CannotAskError, Lab
from taskdemo_server.modes.endpoint import Endpoint

LABS: Final[dict[str, Callable[[Bench], Lab]]] = {
    "blocking": blocking.lab,
    "async": async_.lab,
    "threadpool": threadpool.lab,
    "background": background.lab,
    "background-async": background.lab_async,
    "process": process.lab,
    "celery": celery.lab,
}
NEIGHBOUR_S: Final = 0.9
"""Seconds that `GET /lab/neighbour` takes: more than a step, so that it is in flight when one fails."""


class Equipment(TypedDict):
    """What the experiments must know about the engine."""

    at_once: int | None


class Answer(TypedDict):
    """What the engine says about one task, and the kind of object that was asked; null where there is none."""

    asked: str | None
    state: str | None
    error: str | None
    refused: str | None
    """Why it would not say."""


def add_lab(app: FastAPI, settings: Settings, endpoint: Endpoint) -> None:
    """Add the endpoints under /lab. The notebook is `settings.lab`."""
    lab = LABS[settings.mode](Bench(settings, str(settings.lab), endpoint.engine))
    for name in ("track", "retry", "chain", "group", "fail"):
        app.get(f"/lab/{name}")(getattr(lab, name))

    @app.get("/lab")
    async def equipment() -> Equipment:
        return {"at_once": lab.at_once}

    @app.get("/lab/ask")
    async def ask(key: str) -> Answer:
        if lab.ask is None:
            return {"asked": None, "state": None, "error": None, "refused": None}
        if (handle := lab.handles.get(key)) is None:
            raise HTTPException(404, "There is no such task.")
        kind = _kind(handle)
        try:
            error = await lab.error(handle) if lab.error is not None else None
            return {"asked": kind, "state": await lab.ask(handle), "error": error, "refused": None}
        except CannotAskError as refused:
            return {"asked": kind, "state": None, "error": None, "refused": str(refused)}

    @app.delete("/lab")
    async def clean() -> None:
        if lab.clean is not None:
            await lab.clean()

    @app.get("/lab/neighbour")
    async def neighbour() -> dict[str, str]:
        await asyncio.sleep(NEIGHBOUR_S)
        return {"message": "still here"}


def _kind(handle: object) -> str:
    """Return the public name of the object's class: concurrent.futures._base.Future is concurrent.futures.Future."""
    module = type(handle).__module__
    public = [part for part in module.split(".") if not part.startswith("_")] or [module.lstrip("_")]
    return ".".join([*public, type(handle).__qualname__])
