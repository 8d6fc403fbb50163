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
from taskdemo_server.contract.modes import Engine
from taskdemo_server.contract.settings import Settings, WorkerSettings, telling

PROCESSES = 2
"""Pool processes of a worker."""
START_TIMEOUT_S = 30.0
_END_TIMEOUT_S = 10.0


@dataclass(slots=True)
class Child:
    """A broker or a worker that was started here."""

    name: str
    process: "subprocess.Popen[bytes]"
    errors: Path
    """Its standard error."""
    said: str | None = None
    """The first line it printed, which says that it is ready; empty if it ended instead."""
    restarts: int = 0
    over: bool = False
    """Whether it was ended from here."""

    def end(self) -> None:
        """Cut its lifeline, and kill it if it does not go then."""
        self.over = True
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        try:
            self.process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Kill it, and all that it has started, without warning."""
        self.over = True
        for pid in sorted(family(self.process.pid), key=lambda pid: pid != self.process.pid):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


def start(module: str, name: str, errors: Path, told: str) -> Child:
    """Start a module of the server and return at once; `said` is filled in when it is ready."""
    with errors.open("ab") as stderr:
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
    """The broker of all experiments, or one of each kind that their engines want.

    Every experiment has a queue of its own, so none takes another's tasks.
    """

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

    def url(self, engine: Engine, wait: Callable[[Callable[[], bool], float], bool]) -> str:
        """Return where it is; start it at the first call, and use `wait(until, timeout)` until it answers.

        Raises UserError where it does not.
        """
        if self._url is not None:
            return self._url
        kind = str(engine.private_broker)
        # A Unix socket's path must be short.
        folder = self._folder / kind[0]
        with self._lock:
            if kind == "file":
                folder.mkdir(exist_ok=True)
                return f"sqlite:///{folder}/tasks.db"
            if kind not in self._children:
                folder.mkdir()
                errors = self._folder / f"{kind}-stderr"
                self._children[kind] = start(f"taskdemo_server.engines.{kind}", "broker", errors, str(folder))
            child = self._children[kind]
        wait(lambda: child.said is not None, START_TIMEOUT_S)
        if not child.said:
            raise UserError(f"the private broker did not start: {_last_line(child)}")
        return child.said


def start_worker(server: Settings, name: str, errors: Path) -> Child:
    """Start an engine's worker for a server with these settings and return at once.

    One that ends by itself is started again, as by whatever looks after a worker elsewhere.
    """
    settings = WorkerSettings(
        engine=server.mode,
        broker=str(server.broker),
        backend=server.backend,
        queue=server.queue,
        work=server.work_settings,
        processes=PROCESSES,
        private=True,
    )
    worker = start("taskdemo_server.worker", name, errors, settings.to_json())

    def attend() -> None:
        one = worker
        while one.process.wait() is not None and one.said and not worker.over:
            one = start("taskdemo_server.worker", name, errors, settings.to_json())
            worker.process, worker.restarts = one.process, worker.restarts + 1

    threading.Thread(target=attend, name=f"attend {name}", daemon=True).start()
    return worker


def family(pid: int) -> set[int]:
    """Return the ids of a process and of all that it has started."""
    import psutil

    try:
        return {pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))}
    except psutil.Error:
        return {pid}


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
