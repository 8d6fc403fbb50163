"""The interface of an engine, the setup of its broker, and the environment that its page reads."""

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
from taskdemo_server.contract.import_string import UnusableError
from taskdemo_server.contract.modes import Engine
from taskdemo_server.contract.settings import Settings, results_beside
from taskdemo_server.contract.text import is_password_odd, shortened, without_password
from taskdemo_server.contract.whose_code import INSTALLED
from taskdemo_server.engines import postgres, valkey
from taskdemo_server.runtime import orphans


@dataclass(frozen=True, slots=True)
class Status:
    """A task's state according to the engine, for tasks that no worker has reported."""

    state: TaskState
    error: str | None = None
    at: float = field(default_factory=time.time)
    """Unix time at which the task entered that state; now, if the engine does not know."""


class EngineModule(Protocol):
    """The module `engine` in an engine's folder. Server and worker import it, which connects the library's hooks.

    The hooks carry the request's id to the worker (`current_task`), store the library's id of the task
    (`CurrentTask.ref`), and journal in the worker what the work itself cannot: that it was cancelled.
    """

    REDELIVERED_AFTER_S: float | None
    """After how long a dead worker's task is redelivered, as the page sets it; None for never."""

    def check(self) -> None:
        """Connect to the broker, and prepare it for tasks, and to the result backend, if there is one.

        Raises the library's own exception if either cannot be used.
        """

    def cancel(self, ref: str) -> bool:
        """Cancel the task whose id in the library is `ref`, or ask the workers to; return False if neither works."""

    def status(self, refs: Sequence[str]) -> Iterator[tuple[str, Status]]:
        """Yield `(ref, status)` for each of these tasks that the engine itself knows anything about."""

    def has_worker(self) -> bool | None:
        """Return, within about a second, whether a worker answers on the broker; None if the library cannot tell.

        Raises the library's own exception if the broker does not answer.
        """

    def claim(self, name: str) -> Callable[[], bool]:
        """Open a new connection, and return a function that claims `name` for as long as the connection lasts.

        The function returns False if another process has the name. Both raise the library's own exception if the
        broker cannot be asked. See `engines.claims`.
        """


@dataclass(frozen=True, slots=True)
class PrivateBroker:
    """A kind of broker that a server can start for itself, in a folder of its own."""

    url: Callable[[str], str]
    """Returns its URL, given its folder."""
    is_there: Callable[[], bool]
    module: str | None
    """The module that runs it; None if it needs no process."""
    make_folder: Callable[[Path | None], str]
    """Creates its folder, inside the given one if possible. Raises OSError."""


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
"""Keyed by `Engine.private_broker`."""


_REFUSED: Final = ("auth", "access_refused", "access refused", "wrongpass", "password", 'role "')
"""Words in the errors by which brokers refuse a user."""
_MOST_TRIES: Final = 20
_UNKNOWN: Final = re.compile(r"unknown command \W*(\w+)")
_UNESCAPED: Final = "perhaps because of its password: in a URL, / is %2F, ? is %3F, # is %23, @ is %40, % is %25"
_ANOTHERS: Final = ("wrongtype", "precondition_failed")
"""Words in brokers' errors about an existing key or queue of another kind."""


def load(engine: Engine) -> EngineModule:
    """Import and return an engine's module. Before that, the environment must name the broker: see `tell_page`.

    Raises UnusableError if a file of the user's shadows a library, and otherwise the library's own exception.
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
    """Return a sentence that says why this engine cannot use this broker and what to type instead; None if it can."""
    shown, instead = without_password(broker), f"type --broker {engine.brokers}"
    backend = os.environ.get("RESULT_BACKEND", engine.url(broker))  # as `tell_page` has set it
    beside = "" if backend == engine.url(broker) else f" with --backend {without_password(backend)}"

    def because(error: Exception) -> str:
        # The reason may quote a part of the password.
        return _UNESCAPED if is_password_odd(broker) or is_password_odd(backend) else reason(error)

    try:
        module = load(engine)
    except UnusableError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001  whatever the library raises for a URL it cannot use
        return f"{shown!r}{beside} is not a broker for {engine.extra} ({because(error)}); {instead}"
    try:
        module.check()
    except Exception as error:  # noqa: BLE001  each library and each of its transports has its own
        text = f"{type(error).__name__} {error}".lower()
        if unknown := _UNKNOWN.search(str(error)):  # not the rest of the message, which may hold the password
            return f"The broker {shown} is too old for {engine.extra}: Redis 6.2 has a command {unknown[1]}; {instead}"
        if any(word in text for word in _ANOTHERS):
            return f"Another tool has this queue of {shown} ({reason(error)}); type --queue NAME, to serve and worker"
        if any(word in text for word in _REFUSED):
            return f"The broker {shown}{beside} rejects the user or password; {instead}"
        if "not_allowed" in text:
            return f"The broker {shown} has no such virtual host, or this user may not use it; {instead}"
        if isinstance(error, KeyError | ValueError | ImportError | AttributeError):
            return f"{shown!r}{beside} is not a broker for {engine.extra} ({because(error)}); {instead}"
        return f"The broker {shown}{beside} cannot be used ({because(error)}); start it, or {instead}"
    return None


def has_worker(module: EngineModule) -> bool | None:
    """Return whether a worker answers on the broker; None if that is unknown."""
    try:
        return module.has_worker()
    except Exception:  # noqa: BLE001  each library has its own
        return None


def reason(error: BaseException) -> str:
    """Return the first line of an exception's message, or of its cause's, shortened to 120 characters."""
    text = str(error.__cause__ or error) or type(error).__name__
    return shortened(text.partition("\n")[0], 120)


def tell_page(engine: Engine, broker: str, backend: str | None, queue: str, longest_s: float) -> None:
    """Set the environment variables that every engine's page reads."""
    os.environ.update(BROKER_URL=engine.url(broker), TASK_QUEUE=queue, LONGEST_TASK_S=f"{longest_s:g}")
    os.environ.pop("RESULT_BACKEND", None)
    if backend is not None:
        os.environ["RESULT_BACKEND"] = engine.url(backend)


def with_broker(settings: Settings, engine: Engine) -> Settings:
    """Return the settings with a broker, a private one if none is given, and set this process's page up for it.

    Raises UnusableError if no broker can be used.
    """
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
        # The guard removes the folder; these two are for a process that ends, even abruptly, before it starts one.
        remove = functools.partial(_remove, folder)
        atexit.register(remove)
        orphans.cleanups.append(remove)
        settings = replace(settings, broker=kind.url(folder), private_broker=folder)
    else:
        # If workers do not report, only the backend knows what becomes of the tasks.
        settings = replace(settings, backend=settings.backend or results_beside(settings.broker))
    broker = str(settings.broker)
    tell_page(engine, broker, settings.backend, settings.queue, settings.longest_s)
    if settings.private_broker is not None:
        load(engine)
    elif why := why_not(engine, broker):
        raise UnusableError(why)
    return settings


def _remove(folder: str) -> None:
    """Remove a folder, retrying while another thread creates files in it; once the folder is gone, none can."""
    for _ in range(_MOST_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.lexists(folder):
            return


def _private_folder_of(file: str) -> Path | None:
    """Return this file's folder if only the user can access it: what a SIGKILL leaves there goes with the folder."""
    folder = Path(file).resolve().parent
    with suppress(OSError):
        stat = folder.stat()
        if stat.st_uid == os.getuid() and not stat.st_mode & 0o077:
            return folder
    return None
