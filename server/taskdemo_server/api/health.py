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
    """What this server is."""

    server: Literal["taskdemo"]
    version: str
    mode: str | None
    """None beside the user's own application."""
    app: str | None
    work: str
    own_work: OwnFunction | None
    """None for a work that comes along."""
    duration_s: float
    threads: int
    workers: int
    slots: int | None
    """How many works can run at once; None where no such number is known, or the event loop does them all."""
    pid: int
    broker: str | None
    """The broker's URL without its password, in the mode of an engine."""
    journal: str
    journal_offset: int
    """Bytes in the journal now: what to resume `/events` from in order to see only what comes next."""
    clock: float
    """The host's monotonic clock now, in seconds: the one that events carry."""
    worker: NotRequired[bool | None]
    """Where the broker is not the server's own: whether a worker answers there; None where that is not known."""
    start_worker: NotRequired[str]
    """There too: the command that starts one, but for the token."""


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
            "slots": slots(settings),
            "pid": os.getpid(),
            "broker": without_password(settings.broker) if settings.broker else None,
            "journal": settings.journal,
            "journal_offset": state.journal.size(),
            "clock": time.monotonic(),
        }
        if state.has_worker is not None:
            told["worker"] = await asyncio.to_thread(state.has_worker)
            told["start_worker"] = worker_command(replace(settings, token=None), str(request.base_url).rstrip("/"))
        return told

    return routes


def slots(settings: Settings) -> int | None:
    """Return how many works can run at once; None where no such number is known."""
    runs = MODE_BY_NAME[settings.mode].runs if settings.app is None else None
    if runs == "thread":
        return settings.threads * settings.workers
    if runs == "process":
        return settings.tasks_at_once * settings.workers
    # Of a broker of others nobody knows how many workers it has.
    return settings.tasks_at_once if runs == "worker" and settings.private_broker is not None else None
