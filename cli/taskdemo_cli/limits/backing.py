"""What an engine needs beside its server, so that it outlives it: a broker for all experiments, workers for each.

A private Valkey is started at the first need; a broker that was named is only used. Everything started here ends when
its standard input does, so nothing stays behind whatever becomes of this command.
"""

import contextlib
import os
import secrets
import signal
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from taskdemo_cli.errors import UserError
from taskdemo_cli.processes import servers
from taskdemo_server.contract.settings import Settings, WorkerSettings, telling

PROCESSES = 2
"""Pool processes of a worker."""
START_TIMEOUT_S = 30.0
_END_TIMEOUT_S = 3.0


@dataclass(slots=True)
class Child:
    """A broker or a worker that was started here."""

    name: str
    process: "subprocess.Popen[bytes]"
    errors: Path
    """Its standard error."""
    said: str | None = None
    """The first line it printed, which says that it is ready; empty if it ended instead."""

    def end(self) -> None:
        """Cut its lifeline, and kill it if it does not go then."""
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        try:
            self.process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill it without warning."""
        with contextlib.suppress(OSError):  # its guard leads a group, in which it is with all that it has started
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def start(module: str, name: str, errors: Path, told: str) -> Child:
    """Start a module of the server and return at once; `said` is filled in when it is ready."""
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            servers.python(module),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            # Its temporary files are to go with the experiment's folder: nobody tidies up after a SIGKILL.
            env={**telling(told), "TMPDIR": str(errors.parent)},
            **servers.own_session(),
        )
    child = Child(name, process, errors)

    def read() -> None:
        assert process.stdout is not None  # noqa: S101  it is a pipe
        with process.stdout as lines:
            child.said = lines.readline().decode().strip()

    threading.Thread(target=read, name=f"start {name}", daemon=True).start()
    return child


class Broker:
    """The broker of all experiments. Every experiment has a queue of its own, so none takes another's tasks."""

    def __init__(self, folder: Path, url: str | None, backend: str | None) -> None:
        self.named = url is not None
        self.backend = backend
        self._folder = folder
        self._url = url
        self._child: Child | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.end()

    def url(self, wait: Callable[[Callable[[], bool], float], bool]) -> str:
        """Return where it is; start it at the first call, and use `wait(until, timeout)` until it answers.

        Raises UserError where it does not.
        """
        with self._lock:
            if self._url is not None:
                return self._url
            if self._child is None:
                # A Unix socket's path must be short.
                folder = self._folder / "b"
                folder.mkdir()
                errors = self._folder / "broker-stderr"
                self._child = start("taskdemo_server.engines.valkey", "broker", errors, str(folder))
            child = self._child
            wait(lambda: child.said is not None, START_TIMEOUT_S)
            if not child.said:
                raise UserError(f"the private broker did not start: {_last_line(child)}")
            self._url = child.said
            return child.said


def start_worker(server: Settings, name: str, errors: Path) -> Child:
    """Start an engine's worker for a server with these settings and return at once."""
    settings = WorkerSettings(
        engine=server.mode,
        broker=str(server.broker),
        backend=server.backend,
        queue=server.queue,
        work=server.work_settings,
        processes=PROCESSES,
        private=True,
    )
    return start("taskdemo_server.worker", name, errors, settings.to_json())


def new_queue() -> str:
    """Return a queue's name that nobody has used."""
    return f"taskdemo-limits-{secrets.token_hex(4)}"


def await_ready(child: Child, wait: Callable[[Callable[[], bool], float], bool]) -> None:
    """Wait until a worker is ready. Raises UserError with its last words where it is not."""
    wait(lambda: child.said is not None, START_TIMEOUT_S)
    if not child.said:
        raise UserError(f"the worker did not start: {_last_line(child)}")


def _last_line(child: Child) -> str:
    lines = child.errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
