"""What an engine needs beside its server, so that it outlives it: a broker for all experiments, workers for each.

A private Valkey is started at the first need; a broker that was named is only used.
"""

import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from taskdemo_cli.errors import UserError
from taskdemo_cli.processes import children
from taskdemo_cli.processes.children import Child
from taskdemo_server.contract.settings import Settings, WorkerSettings

PROCESSES = 2
"""Pool processes of a worker."""
START_TIMEOUT_S = 30.0


Wait = Callable[[Callable[[], bool], float], bool]
"""Waits until something is so, for some seconds at the most."""


class Broker:
    """The broker of all experiments. Every experiment has a queue of its own, so none takes another's tasks."""

    def __init__(self, folder: Path, url: str | None, backend: str | None) -> None:
        self.named = url is not None
        self.backend = backend
        self._folder = folder
        self._errors = folder / "broker-stderr"
        self._url = url
        self._child: Child | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.end()

    def url(self, wait: Wait) -> str:
        """Return where it is; start it at the first call, and `wait` until it answers.

        Raises UserError where it does not.
        """
        with self._lock:
            if self._url is None:
                if self._child is None:
                    # A Unix socket's path must be short.
                    folder = self._folder / "b"
                    folder.mkdir()
                    self._child = _start("taskdemo_server.engines.valkey", self._errors, str(folder))
                self._url = _await_ready(self._child, self._errors, wait, "private broker")
            return self._url


class Worker:
    """An engine's worker for a server with these settings; it is started at once, under this host name."""

    def __init__(self, server: Settings, name: str, errors: Path) -> None:
        self.name = name
        self.errors = errors
        """Its standard error."""
        settings = WorkerSettings(
            engine=server.mode,
            broker=str(server.broker),
            backend=server.backend,
            queue=server.queue,
            work=server.work_settings,
            processes=PROCESSES,
            private=True,
        )
        self.child = _start("taskdemo_server.worker", errors, settings.to_json())

    def await_ready(self, wait: Wait) -> None:
        """Wait until it is ready. Raises UserError with its last words where it is not."""
        _await_ready(self.child, self.errors, wait, "worker")


def new_queue() -> str:
    """Return a queue's name that nobody has used."""
    return f"taskdemo-limits-{secrets.token_hex(4)}"


def _start(module: str, errors: Path, told: str) -> Child:
    return Child(children.python(module), told=told, errors=errors, tidy=True, says_ready=True)


def _await_ready(child: Child, errors: Path, wait: Wait, what: str) -> str:
    wait(lambda: child.ready_line is not None, START_TIMEOUT_S)
    if not child.ready_line:
        raise UserError(f"the {what} did not start: {children.last_line(errors) or 'it said nothing'}")
    return child.ready_line
