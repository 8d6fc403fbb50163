"""GET /health: what this server is."""

import asyncio
import os
import time
from dataclasses import replace
from typing import Literal, NotRequired

from fastapi import APIRouter, Request
from typing_extensions import TypedDict

from taskdemo_server.api.state import State
from taskdemo_server.contract.modes import MODE_BY_NAME
from taskdemo_server.contract.settings import VERSION, Settings
from taskdemo_server.contract.text import without_password
from taskdemo_server.runtime.console import worker_command


class OwnFunction(TypedDict):
    """How the user's own work is called."""

    is_async: bool
    takes_message: bool


class Health(TypedDict):
    """What this server runs, and its state."""

    server: Literal["taskdemo"]
    version: str
    mode: str | None
    """None for the user's own application."""
    app: str | None
    work: str
    own_work: OwnFunction | None
    """None for a built-in work."""
    duration_s: float
    threads: int
    workers: int
    slots: int | None
    """How many works can run at once; None if that is unknown, or if the event loop runs them all."""
    pid: int
    broker: str | None
    """The broker's URL without its password, in the mode of an engine."""
    journal: str
    journal_offset: int
    """Bytes in the journal now: the event id from which `/events` sends only new events."""
    clock: float
    """The host's monotonic clock now, in seconds, as in events."""
    worker: NotRequired[bool | None]
    """Only with an external broker: whether a worker answers there; None if that is unknown."""
    start_worker: NotRequired[str]
    """Only with an external broker: the command that starts a worker, without the token."""


def router(state: State) -> APIRouter:
    """Return the route."""
    routes = APIRouter()
    settings, function = state.settings, state.tracking.workplace.function
    own_work: OwnFunction | None = None
    if function is not None:
        own_work = {"is_async": function.is_async, "takes_message": function.takes_message}

    @routes.get("/health", summary="Tell what this server is")
    async def health(request: Request) -> Health:
        told: Health = {
            "server": "taskdemo",
            "version": VERSION,
            "mode": None if settings.app else settings.mode,
            "app": settings.app,
            "work": settings.work,
            "own_work": own_work,
            "duration_s": settings.duration,
            "threads": settings.threads,
            "workers": settings.workers,
            "slots": state.slots,
            "pid": os.getpid(),
            "broker": without_password(settings.broker) if settings.broker else None,
            "journal": settings.journal,
            "journal_offset": state.tracking.journal.size(),
            "clock": time.monotonic(),
        }
        if state.has_worker is not None:
            told["worker"] = await asyncio.to_thread(state.has_worker)
            told["start_worker"] = worker_command(replace(settings, token=None), str(request.base_url).rstrip("/"))
        return told

    return routes


def slots(settings: Settings) -> int | None:
    """Return how many works a page can run at once, as `State.slots` says."""
    runs = MODE_BY_NAME[settings.mode].runs
    if runs == "thread":
        return settings.threads * settings.workers
    if runs == "process":
        return settings.tasks_at_once * settings.workers
    # Nobody knows how many workers an external broker has.
    return settings.tasks_at_once if runs == "worker" and settings.private_broker is not None else None
