"""What taskdemo asks of an engine, and how its page is told where its broker is."""

import atexit
import functools
import importlib
import importlib.util
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Protocol, cast

from taskdemo_server.contract.events import TaskState
from taskdemo_server.contract.import_string import INSTALLED, UnusableError
from taskdemo_server.contract.modes import MODE_BY_NAME, Engine
from taskdemo_server.contract.settings import Settings, results_beside
from taskdemo_server.contract.text import shortened, without_password
from taskdemo_server.engines import postgres, valkey
from taskdemo_server.runtime import orphans


@dataclass(frozen=True, slots=True)
class Status:
    """What an engine says of a task that no worker has reported."""

    state: TaskState
    error: str | None = None
    at: float = field(default_factory=time.time)
    """Unix time at which it came into that state, as far as the engine knows."""


class EngineModule(Protocol):
    """The module `engine` in an engine's folder. Imported by server and worker, it also connects the library's hooks.

    Its hooks carry the request's id to the worker (`current_task`), note what the library calls the task
    (`CurrentTask.ref`), and journal in the worker what the work cannot see of itself: that it was cancelled.
    """

    def check(self) -> None:
        """Try the broker, and make it ready for tasks, before the first is sent and any worker is started.

        Raises whatever the library does where it cannot be used.
        """
        ...

    def cancel(self, ref: str) -> bool:
        """Have the engine cancel the task that it calls `ref`; False where it cannot be asked."""
        ...

    def status(self, refs: Sequence[str]) -> Iterator[tuple[str, Status]]:
        """Give what the engine itself knows of these tasks, each by what it is called, where it keeps anything."""
        ...

    def has_worker(self) -> bool | None:
        """Ask whether a worker answers on the broker, for a second or so; None where the library cannot be asked.

        Raises whatever the library does where the broker does not answer.
        """
        ...

    def claim(self, name: str) -> Callable[[], bool]:
        """Connect once more, and return what claims `name` for as long as that lasts; False where another has it.

        Both raise whatever the library does where the broker cannot be asked. See `engines.claims`.
        """
        ...

    def redelivered_after(self) -> float | None:
        """Return after how many seconds, as the page has set it, a dead worker's task is given to another.

        None for never.
        """
        ...


@dataclass(frozen=True, slots=True)
class PrivateBroker:
    """A kind of broker that a server can start for itself, in a folder of its own."""

    url: Callable[[str], str]
    """Where it is, by its folder."""
    is_there: Callable[[], bool]
    module: str | None
    """The module that runs it; None where nothing needs to run."""
    make_folder: Callable[[Path | None], str]
    """Makes one for it, in this folder if it can be there. Raises OSError."""


PRIVATE: Final = {
    "valkey": PrivateBroker(valkey.url, lambda: valkey.binary() is not None, valkey.__name__, valkey.make_folder),
    "postgres": PrivateBroker(
        postgres.url, lambda: postgres.programs() is not None, postgres.__name__, postgres.make_folder
    ),
    "file": PrivateBroker(
        lambda folder: f"sqlite:///{folder}/tasks.db",
        lambda: True,
        None,
        lambda beside: tempfile.mkdtemp(prefix="taskdemo-file-", dir=beside),
    ),
}
"""By the name that the registry uses."""


_REFUSED: Final = ("auth", "access_refused", "access refused", "wrongpass", "password", 'role "')
"""Words by which brokers refuse a user."""
_MOST_TRIES: Final = 20
_UNKNOWN: Final = re.compile(r"unknown command \W*(\w+)")
_ANOTHERS: Final = ("wrongtype", "precondition_failed")
"""Words by which brokers say that what is there by this name is something else."""


def load(engine: Engine) -> EngineModule:
    """Return an engine's module. The environment must say where its broker is before.

    Raises UnusableError where a file of the user's stands before a library, and else whatever the library does.
    """
    try:
        return cast("EngineModule", importlib.import_module(f"{engine.folder}.engine"))
    except Exception as error:
        for package in engine.packages:
            spec = importlib.util.find_spec(package)
            if spec is not None and spec.origin is not None and INSTALLED.isdisjoint(Path(spec.origin).parts):
                what = f"{shortened(spec.origin, 200)} is imported instead of the library {package}"
                raise UnusableError(f"{what}; rename it") from error
        raise


def why_not(engine: Engine, broker: str) -> str | None:
    """Return why this broker cannot be used by this engine, as a sentence that says what to type instead."""
    shown, instead = without_password(broker), f"type --broker {engine.brokers}"
    try:
        module = load(engine)
    except UnusableError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  whatever the library makes of a URL that is not for it
        return f"{shown!r} is not a broker for {engine.extra} ({reason(error)}); {instead}"
    try:
        module.check()
    except Exception as error:  # noqa: BLE001  each library, and each of its transports, has its own
        text = f"{type(error).__name__} {error}".lower()
        if unknown := _UNKNOWN.search(str(error)):  # and not the rest of the sentence, where the password may be
            return f"The broker {shown} is too old for {engine.extra}: Redis 6.2 has a command {unknown[1]}; {instead}"
        if any(word in text for word in _ANOTHERS):
            return f"Another tool has this queue of {shown} ({reason(error)}); type --queue NAME, to serve and worker"
        if any(word in text for word in _REFUSED):
            return f"The broker {shown} rejects the user or password; {instead}"
        if "not_allowed" in text:
            return f"The broker {shown} has no such virtual host, or this user may not use it; {instead}"
        if isinstance(error, KeyError | ValueError | ImportError | AttributeError):
            return f"{shown!r} is not a broker for {engine.extra} ({reason(error)}); {instead}"
        return f"The broker {shown} cannot be used ({reason(error)}); start it, or {instead}"
    return None


def has_worker(module: EngineModule) -> bool | None:
    """Tell whether a worker answers on the broker; None where nobody knows."""
    try:
        return module.has_worker()
    except Exception:  # noqa: BLE001  as above
        return None


def reason(error: BaseException) -> str:
    """Return what an exception says, in short."""
    text = str(error.__cause__ or error) or type(error).__name__
    return shortened(text.partition("\n")[0], 120)


def tell_page(engine: Engine, broker: str, backend: str | None, queue: str, longest_s: float) -> None:
    """Set the environment variables that every engine's page reads."""
    os.environ.update(BROKER_URL=engine.url(broker), TASK_QUEUE=queue, LONGEST_TASK_S=f"{longest_s:g}")
    os.environ.pop("RESULT_BACKEND", None)
    if backend is not None:
        os.environ["RESULT_BACKEND"] = engine.url(backend)


def with_broker(settings: Settings) -> Settings:
    """Return the settings with a broker, a private one if need be, and tell this process's page of it.

    Raises UnusableError where there can be none.
    """
    engine = MODE_BY_NAME[settings.mode].engine
    if engine is None:
        return settings
    if settings.broker is None:
        kind = PRIVATE[engine.private_broker]
        if not kind.is_there():
            raise UnusableError(
                f"Mode {settings.mode} needs a broker: run pip install 'taskdemo[{engine.extra}]' for a private one,"
                f" or type --broker {engine.brokers}"
            )
        try:
            folder = kind.make_folder(_private_folder_of(settings.announce or settings.journal))
        except OSError as error:
            raise UnusableError(f"A private broker cannot be started: {error}; or type --broker URL") from None
        # Its guard removes it, unless this process ends before there is one: by itself, or abruptly.
        remove = functools.partial(_remove, folder)
        atexit.register(remove)
        orphans.cleanups.append(remove)
        settings = replace(settings, broker=kind.url(folder), private_broker=folder)
    else:
        # Only from there is known what becomes of tasks whose workers do not report.
        settings = replace(settings, backend=settings.backend or results_beside(settings.broker))
    broker = str(settings.broker)
    tell_page(engine, broker, settings.backend, settings.queue, settings.longest_s)
    if settings.private_broker is not None:
        load(engine)
    elif why := why_not(engine, broker):
        raise UnusableError(why)
    return settings


def _remove(folder: str) -> None:
    """Remove a folder in which another thread may make a file meanwhile; once it is gone none can."""
    for _ in range(_MOST_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.lexists(folder):
            return


def _private_folder_of(file: str) -> Path | None:
    """Return the folder of this file if it is the user's alone: what is in it is no leftover even after a SIGKILL."""
    folder = Path(file).resolve().parent
    with suppress(OSError):
        stat = folder.stat()
        if stat.st_uid == os.getuid() and not stat.st_mode & 0o077:
            return folder
    return None
