"""A running experiment: its own folder and servers, the requests to them, and the evidence that they leave.

Knows servers and files; the experiments know what to ask and what the answers mean.
"""

import contextlib
import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, TypeVar

from taskdemo_cli.analysis.capacity.subject import Subject
from taskdemo_cli.errors import UserError
from taskdemo_cli.limits.backing import PROCESSES, Broker, Worker, family, new_queue
from taskdemo_cli.limits.evidence import Note, read_journal, read_steps
from taskdemo_cli.processes import servers
from taskdemo_cli.processes.signals import AskedToStopError
from taskdemo_server.contract.events import TaskRecord
from taskdemo_server.contract.modes import Mode
from taskdemo_server.contract.settings import Settings, results_beside

POLL_S = 0.01
BEGIN_TIMEOUT_S = 15.0
"""Seconds within which work begins, even on a busy machine."""
SETTLE_S = 0.15
"""Seconds within which a request reaches the server's work, which cannot be observed from outside."""
STOP_TIMEOUT_S = 10.0
"""Seconds that a server may take to shut down before it is killed: Docker's grace period; Kubernetes' is 30 s."""
ANSWER_TIMEOUT_S = 30.0
WORK_S = 0.5
"""Seconds that each task takes where some run and others wait."""
_LOOK_S = 6.0
"""Seconds within which a worker looks for its next task: some poll rarely, and a new one has to start up."""
THREADS = 2
"""Worker threads of a server: few, so a few tasks are enough to make one wait."""

Result = TypeVar("Result")


class CannotStartError(UserError):
    """The mode's server does not start; the text is the reason."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of one request. Times are in seconds, on the monotonic clock."""

    status: int | None
    """None if no answer came."""
    body: Any
    asked: float
    answered: float

    @property
    def took(self) -> float:
        """Seconds from the request to its answer or failure."""
        return self.answered - self.asked


@dataclass(slots=True, eq=False)
class Trial:
    """One experiment, or several that share servers; these are fresh, and end with the trial.

    Requests go to the server that was started last; the evidence is also that server's.
    """

    mode: Mode
    folder: Path
    fork_server: servers.ForkServer
    broker: Broker
    is_over: Callable[[], bool]
    """Returns whether to stop all experiments."""
    launched: list[servers.Server] = field(default_factory=list)
    workers: list[Worker] = field(default_factory=list)
    """The engine's workers, in start order; empty if the mode has none."""
    redelivery_s: float = 0.0
    """Seconds after which the engine redelivers a dead worker's task to another."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.end()
        for server in self.launched:
            if self.workers and self.broker.named and server.poll() is None:
                _ask(server.port, ["/limits"], "DELETE")
            server.kill()

    # --- servers --------------------------------------------------------------------------------------------

    @property
    def has_workers(self) -> bool:
        """Whether the mode needs workers of its engine."""
        return self.mode.engine is not None

    @property
    def server(self) -> servers.Server:
        """The server that was started last; starts one if there is none yet."""
        return self.launched[-1] if self.launched else self.serve()

    def serve(
        self,
        *,
        work: str = "sleep",
        duration: float = WORK_S,
        threads: int = THREADS,
        workers: Sequence[str] = ("worker",),
    ) -> servers.Server:
        """Start a server of the mode, with the experiments' routes, in a folder of its own.

        If the mode needs workers, start them too, under these host names. Raises CannotStartError.
        """
        folder = self.folder / f"server-{len(self.launched) + 1}"
        settings = Settings(
            mode=self.mode.name,
            journal=str(folder / "journal.jsonl"),
            step_log=str(folder / "steps.jsonl"),
            work=work,
            duration=duration,
            threads=threads,
            port=0,
            console=False,
        )
        engine = self.mode.engine
        try:
            if engine is None:
                return self._start(settings, folder)
            url = self.broker.url(engine, self.wait)
            backend = self.broker.backend or results_beside(url)
            settings = replace(settings, broker=url, backend=backend, queue=new_queue())
            server = self._start(settings, folder)  # first, as it reports a broken broker at once
            self.workers += [Worker(settings, name, folder / f"{name}-stderr") for name in workers]
            self.await_workers()
        except UserError as error:
            raise CannotStartError(str(error)) from None
        self.redelivery_s = self.ask("/limits").body["redelivered_after_s"] or 0.0
        return server

    def restart(self) -> None:
        """Restart the server on the same journal after it has ended."""
        self._start(self.server.settings, self.server.folder)

    def _start(self, settings: Settings, folder: Path) -> servers.Server:
        announce = folder / f"announce-{len(self.launched) + 1}.json"
        server = self.fork_server.launch(replace(settings, announce=str(announce)), folder)
        servers.await_ready(server, self._check)
        self.launched.append(server)
        return server

    def tell(self, number: signal.Signals) -> float | None:
        """Send the server a signal to end; return the seconds that it took, or None if it had to be killed."""
        told, server = time.monotonic(), self.server
        os.kill(server.pid, number)
        if self.wait(lambda: server.poll() is not None, STOP_TIMEOUT_S):
            return time.monotonic() - told
        server.kill()
        return None

    @property
    def restarts(self) -> int:
        """How often workers were restarted."""
        return sum(worker.restarts for worker in self.workers)

    def await_workers(self) -> None:
        """Wait until all workers are ready, including restarted ones."""
        for worker in self.workers:
            worker.await_ready(self.wait)

    def kill_child(self, pid: int) -> bool:
        """Kill a process of the server's or of a worker's; return False if `pid` is not one."""
        if not any(pid in family(parent) for parent in (self.server.pid, *(one.child.pid for one in self.workers))):
            return False
        servers.kill(pid)
        return True

    @property
    def at_once(self) -> int | None:
        """How many tasks the server, or one worker, runs at once; None if unbounded."""
        return PROCESSES if self.workers else Subject(self.server.settings).at_once

    @property
    def enough(self) -> int:
        """How many tasks to start to make the last one really wait.

        Engines take more than they run: a ProcessPoolExecutor queues one task more than it has processes.
        """
        return 2 * (self.at_once or 1) + 2

    @property
    def quiet_timeout_s(self) -> float:
        """Seconds without an event after which nothing more is expected of tasks that take WORK_S."""
        return self.redelivery_s + _LOOK_S if self.workers else WORK_S + 1.0

    def said(self) -> str:
        """Return what the server and its workers wrote to their standard errors."""
        files = [self.server.folder / "stderr", *(worker.errors for worker in self.workers)]
        return "".join(file.read_text(encoding="utf-8", errors="replace") for file in files)

    # --- requests -------------------------------------------------------------------------------------------

    def ask(self, path: str, method: str = "GET") -> Answer:
        """Send a request and wait for the answer. Raises AskedToStopError if the command is asked to stop meanwhile."""
        pending = self.send(path, method)
        self.wait(pending.done, ANSWER_TIMEOUT_S)
        return pending.result()

    def send(self, path: str, method: str = "GET") -> "Future[Answer]":
        """Send a request on its own connection, without waiting; the answer's `status` is None if none came."""
        port = self.server.port
        return _in_a_thread(lambda: _ask(port, [path], method)[0])

    def send_in_turn(self, paths: Iterable[str]) -> "Future[list[Answer]]":
        """Request one path after another on one connection, without waiting."""
        port = self.server.port
        return _in_a_thread(lambda: _ask(port, paths))

    def hang_up(self, path: str, when: Callable[[], bool], timeout: float = ANSWER_TIMEOUT_S) -> None:
        """Send a request, and hang up when `when()` is true or at the timeout, without reading an answer."""
        with contextlib.closing(_connection(self.server.port)) as connection:
            connection.request("GET", path)
            self.wait(when, timeout)

    def send_tasks(self, count: int) -> "list[Future[Answer]]":
        """Send `count` requests for a task (`GET /`) at once."""
        return [self.send(f"/?message=task+{number + 1}") for number in range(count)]

    def wait_for_answers(self, pending: "Sequence[Future[Any]]") -> None:
        """Wait for the answers if the mode answers before the work ends, or else until the requests have arrived."""
        timeout = ANSWER_TIMEOUT_S if self.mode.answers_first else SETTLE_S
        self.wait(lambda: all(one.done() for one in pending), timeout)

    # --- evidence -------------------------------------------------------------------------------------------

    def tasks(self) -> list[TaskRecord]:
        """Return the journal's record of every task so far."""
        return read_journal(Path(self.server.settings.journal))

    def notes(self, key: str, step: str = "", state: str = "") -> list[Note]:
        """Return the step log's notes on an experiment, or only those on one step or of one state."""
        notes = read_steps(Path(str(self.server.settings.step_log)))
        return [note for note in notes if note.key == key and step in {"", note.step} and state in {"", note.state}]

    def when(self, key: str, step: str, state: str) -> float | None:
        """Return when a step first reached a state, in seconds on the monotonic clock; None if it did not."""
        return next((note.clock for note in self.notes(key, step, state)), None)

    def wait(self, until: Callable[[], bool], timeout: float) -> bool:
        """Wait until `until()` is true, for at most `timeout` seconds of sleep between looks; return whether it is.

        A busy machine, where each look takes long, so gets more time. Raises AskedToStopError if the command was asked
        to stop.
        """
        slept = 0.0
        while not until():
            self._check()
            if slept >= timeout:
                return False
            time.sleep(POLL_S)
            slept += POLL_S
        return True

    def _check(self) -> None:
        if self.is_over():
            raise AskedToStopError

    def wait_for_begin(self, key: str | None = None, step: str = "", earlier: Collection[str] = ()) -> None:
        """Wait until a step of experiment `key` begins or, without a key, a task that is not in `earlier`.

        This may take long, as a process pool starts its processes only then. Raises UserError if none begins.
        """

        def begun() -> bool:
            if key is not None:
                return bool(self.notes(key, step))
            return any(task.starts for task in self.tasks() if task.id not in earlier)

        if not self.wait(begun, BEGIN_TIMEOUT_S):
            raise UserError(f"nothing was begun within {BEGIN_TIMEOUT_S:.0f} s, so nothing was seen")

    def wait_for_quiet(self, until: Callable[[], bool], quiet: float | None = None) -> bool:
        """Wait until `until()` is true, or nothing new was written for `quiet` seconds; return whether it is true.

        `quiet` defaults to the time without a step's begin or end after which nothing more is expected.
        Waits at most 60 s in any case.
        """
        if quiet is None:
            quiet = _LOOK_S if self.workers else 1.2
        files = (Path(self.server.settings.journal), Path(str(self.server.settings.step_log)))
        size, looks = -1, 0

        def over() -> bool:
            nonlocal size, looks
            now = sum(file.stat().st_size for file in files if file.exists())
            looks = looks + 1 if now == size else 0
            size = now
            return until() or looks * POLL_S >= quiet

        self.wait(over, 60.0)
        return until()

    def follow(self, key: str | None, until: Callable[[], bool], quiet: float | None = None) -> bool:
        """Wait until a step or a task begins, then wait as `wait_for_quiet` does."""
        self.wait_for_begin(key)
        return self.wait_for_quiet(until, quiet)

    def pause(self, seconds: float) -> None:
        """Wait for some seconds. Raises AskedToStopError if the command was asked to stop."""
        self.wait(lambda: False, seconds)


def _ask(port: int, paths: Iterable[str], method: str = "GET") -> list[Answer]:
    """Request one path after another on one connection."""
    connection, answers = _connection(port), []
    for path in paths:
        asked = time.monotonic()
        try:
            connection.request(method, path)
            response = connection.getresponse()
            status, body = response.status, response.read()
            connection.auto_open = 0  # never reconnect: later requests use this connection or fail
        except (OSError, http.client.HTTPException):
            status, body = None, b""
        answered, content = time.monotonic(), None
        with contextlib.suppress(ValueError):
            content = json.loads(body)
        answers.append(Answer(status, content, asked, answered))
    connection.close()
    return answers


def _connection(port: int) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_TIMEOUT_S)


def _in_a_thread(ask: Callable[[], Result]) -> "Future[Result]":
    pending: Future[Result] = Future()
    threading.Thread(target=lambda: pending.set_result(ask()), name="ask", daemon=True).start()
    return pending
