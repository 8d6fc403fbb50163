"""What an engine needs outside its server, to outlive it: one broker for all experiments, and workers for each.

A private broker starts when one is first needed; a broker that the user named is only used.
"""

import os
import secrets
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from taskdemo_cli.errors import UserError
from taskdemo_cli.processes import servers
from taskdemo_server.contract.child_process import Child, python
from taskdemo_server.contract.modes import Engine
from taskdemo_server.contract.settings import Settings

PROCESSES = 2
"""Pool processes of a worker."""
MACHINES = ("machine-a", "machine-b")
"""The host names of two workers."""


Wait = Callable[[Callable[[], bool], float], bool]
"""Waits until a condition is true, for at most so many seconds; returns whether it is."""


class Broker:
    """The broker of all experiments. Each server has its own queue, so none takes another's tasks."""

    def __init__(self, folder: Path, url: str | None, backend: str | None) -> None:
        self.named = url is not None
        self.backend = backend
        self._folder = folder
        self._url = url
        self._children: dict[str, Child] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._children.values():
            child.end()

    def url(self, engine: Engine, wait: Wait) -> str:
        """Return a broker's URL for this engine; start a private broker at the first call, and wait until it is ready.

        Raises UserError if it does not become ready.
        """
        if self._url is not None:
            return self._url
        kind = engine.private_broker
        folder = self._folder / kind[0]  # A Unix socket's path must be short.
        errors = self._folder / f"{kind}-stderr"
        with self._lock:
            folder.mkdir(exist_ok=True)
            if kind == "file":
                return f"sqlite:///{folder}/tasks.db"
            if kind not in self._children:
                self._children[kind] = _start(f"taskdemo_server.engines.{kind}", errors, str(folder))
        return _await_ready(self._children[kind], errors, wait, "private broker")


class Worker:
    """An engine's worker for a server with these settings; it starts at once, under this host name.

    A worker that ends by itself is restarted, as a supervisor does in production.
    """

    def __init__(self, server: Settings, name: str, errors: Path) -> None:
        self.name = name
        self.errors = errors
        """Its standard error."""
        self.restarts = 0
        self._over = False
        self._told = server.private_worker(PROCESSES).to_json()
        self.child = _start("taskdemo_server.worker", errors, self._told)
        threading.Thread(target=self._attend, name=f"attend {name}", daemon=True).start()

    def await_ready(self, wait: Wait) -> None:
        """Wait until it is ready. Raises UserError with its last output if it does not become ready."""
        _await_ready(self.child, self.errors, wait, "worker")

    def end(self) -> None:
        """End it."""
        self._over = True
        self.child.end()

    def tell(self, number: signal.Signals) -> None:
        """Send the library's own worker command a signal that asks it to end."""
        for pid in family(self.child.pid, recursive=False) - {self.child.pid}:
            os.kill(pid, number)

    def kill(self) -> None:
        """Kill it and all its descendants without warning: some lead a process group of their own."""
        self._over = True
        started = family(self.child.pid)
        self.child.kill()
        for pid in started:
            servers.kill(pid)

    def _attend(self) -> None:
        while self.child.wait() is not None and self.child.ready_line and not self._over:
            self.child.end()  # what is left of it
            self.child = _start("taskdemo_server.worker", self.errors, self._told)
            self.restarts += 1  # last, so a caller that sees it finds the new child


def family(pid: int, *, recursive: bool = True) -> set[int]:
    """Return the ids of a process and of all its descendants or, if not `recursive`, of its direct children only."""
    import psutil

    try:
        return {pid, *(child.pid for child in psutil.Process(pid).children(recursive=recursive))}
    except psutil.Error:
        return {pid}


def new_queue() -> str:
    """Return an unused queue name."""
    return f"taskdemo-limits-{secrets.token_hex(4)}"


def _start(module: str, errors: Path, told: str) -> Child:
    return Child(python(module), told=told, errors=errors, tidy=True, says_ready=True)


def _await_ready(child: Child, errors: Path, wait: Wait, what: str) -> str:
    wait(lambda: child.ready_line is not None, servers.START_TIMEOUT_S)
    if not child.ready_line:
        raise UserError(f"the {what} {child.why_not_ready(servers.START_TIMEOUT_S, errors)}")
    return child.ready_line
