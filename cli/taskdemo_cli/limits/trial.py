"""One experiment under way: its own folder, its own servers, its questions to them and what they leave behind.

Knows servers and files; what is asked and what it means is the experiments' business.
"""

import contextlib
import http.client
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeVar

from taskdemo_cli.analysis.capacity.subject import Subject
from taskdemo_cli.errors import UserError
from taskdemo_cli.limits.backing import PROCESSES, Broker, Worker, family, new_queue
from taskdemo_cli.limits.evidence import Note, read_journal, read_steps
from taskdemo_cli.processes import servers
from taskdemo_server.contract.events import TaskRecord
from taskdemo_server.contract.modes import MODE_BY_NAME
from taskdemo_server.contract.settings import Settings, results_beside

POLL_S = 0.01
BEGIN_S = 15.0
"""Seconds within which work begins, on a busy machine too."""
SETTLE_S = 0.15
"""Seconds in which a request has reached the server's work, though nobody can tell from outside."""
RESTART_PATIENCE_S = 10.0
"""For so long may a server take to end in order before it is killed: Docker's patience; Kubernetes' is 30 s."""
ANSWER_TIMEOUT_S = 30.0
WORK_S = 0.5
"""Seconds of each task where several run and wait."""
_LOOK_S = 6.0
"""Seconds within which a worker looks for its next task: some look rarely, and one just started has to begin."""
THREADS = 2
"""Worker threads of a server: few, so that a task that waits for one is quickly made."""

Result = TypeVar("Result")


class StoppedError(Exception):
    """The command was asked to stop, so the experiment cannot go on."""


class CannotStartError(UserError):
    """The mode's server does not start; the text is the reason."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one request. Times are the monotonic clock's, in seconds."""

    status: int | None
    """None where no answer came."""
    body: Any
    asked: float
    answered: float

    @property
    def took(self) -> float:
        """Seconds from the question to the answer, or to its failure."""
        return self.answered - self.asked


class Trial:
    """One experiment, or several that share what they see: everything in it is fresh, and ends with it.

    What is asked and looked at is the server that was started last. `is_over`: whether no experiment is to go on.
    """

    def __init__(
        self, mode: str, folder: Path, fork_server: servers.ForkServer, broker: Broker, is_over: Callable[[], bool]
    ) -> None:
        self.mode = mode
        self._folder = folder
        self._fork_server = fork_server
        self._broker = broker
        self._is_over = is_over
        self._servers: list[servers.Server] = []
        self._redelivery_s = 0.0
        """After how long the engine gives a dead worker's task to another."""
        self.workers: list[Worker] = []
        """An engine's workers, in the order of their start; none in the other modes."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.end()
        for server in self._servers:
            if self.workers and self._broker.named and server.poll() is None:
                _ask(server.port, ["/limits"], "DELETE")
            server.kill()

    # --- servers --------------------------------------------------------------------------------------------

    @property
    def server(self) -> servers.Server:
        """The server that was started last; one is, where there is none yet."""
        return self._servers[-1] if self._servers else self.serve()

    def serve(
        self,
        *,
        work: str = "sleep",
        duration: float = WORK_S,
        threads: int = THREADS,
        workers: Sequence[str] = ("worker",),
    ) -> servers.Server:
        """Start a server of the mode, with the routes of the experiments, in a folder of its own.

        Where the mode needs workers beside its servers, they are started too, under these host names.
        """
        folder = self._folder / f"server-{len(self._servers) + 1}"
        settings = Settings(
            mode=self.mode,
            journal=str(folder / "journal.jsonl"),
            step_log=str(folder / "steps.jsonl"),
            work=work,
            duration=duration,
            threads=threads,
            port=0,
            console=False,
        )
        engine = MODE_BY_NAME[self.mode].engine
        try:
            if engine is None:
                return self._start(settings, folder)
            url = self._broker.url(engine, self.wait)
            backend = self._broker.backend or results_beside(url)
            settings = replace(settings, broker=url, backend=backend, queue=new_queue())
            server = self._start(settings, folder)  # which says at once what is wrong with the broker
            self.workers += [Worker(settings, name, folder / f"{name}-stderr") for name in workers]
            self.await_workers()
        except UserError as error:
            raise CannotStartError(str(error)) from None
        self._redelivery_s = self.ask("/limits").body["redelivered_after_s"] or 0.0
        return server

    def restart(self) -> None:
        """Start the server again after its end, on the same journal."""
        self._start(self.server.settings, self.server.folder)

    def _start(self, settings: Settings, folder: Path) -> servers.Server:
        announce = folder / f"announce-{len(self._servers) + 1}.json"
        server = self._fork_server.launch(replace(settings, announce=str(announce)), folder)
        servers.await_ready(server, self._check)
        self._servers.append(server)
        return server

    def tell(self, number: signal.Signals) -> float | None:
        """Send the server a signal upon which it is to end; return how many seconds it took, None if it was killed."""
        told, server = time.monotonic(), self.server
        os.kill(server.pid, number)
        if self.wait(lambda: server.poll() is not None, RESTART_PATIENCE_S):
            return time.monotonic() - told
        server.kill()
        return None

    @property
    def restarts(self) -> int:
        """How often a worker had to be started again."""
        return sum(worker.restarts for worker in self.workers)

    def await_workers(self) -> None:
        """Wait until the workers are ready, those too that were started again."""
        for worker in self.workers:
            worker.await_ready(self.wait)

    def kill_child(self, pid: int) -> bool:
        """Kill a process that the server or a worker has started; False where `pid` is none of those."""
        if not any(pid in family(parent) for parent in (self.server.pid, *(one.child.pid for one in self.workers))):
            return False
        servers.kill(pid)
        return True

    @property
    def at_once(self) -> int | None:
        """How many tasks the mode's engine runs at once; None where there is no bound."""
        return PROCESSES if self.workers else Subject(self.server.settings).at_once

    @property
    def enough(self) -> int:
        """How many tasks to start so that the last of them really waits.

        Engines take some more than they run: a ProcessPoolExecutor hands its processes one each, and one beyond.
        """
        return 2 * (self.at_once or 1) + 2

    @property
    def patience_s(self) -> float:
        """For how long nothing may happen before nothing more is expected of tasks that take WORK_S."""
        return self._redelivery_s + _LOOK_S if self.workers else WORK_S + 1.0

    def said(self) -> str:
        """Return what the server and its workers wrote to their standard errors."""
        files = [self.server.folder / "stderr", *(worker.errors for worker in self.workers)]
        return "".join(file.read_text(encoding="utf-8", errors="replace") for file in files)

    # --- questions ------------------------------------------------------------------------------------------

    def ask(self, path: str, method: str = "GET") -> Answer:
        """Ask and wait for the answer. Raises StoppedError where the command is to stop meanwhile."""
        pending = self.send(path, method)
        self.wait(pending.done, ANSWER_TIMEOUT_S)
        return pending.result()

    def send(self, path: str, method: str = "GET") -> "Future[Answer]":
        """Ask on a connection of its own and do not wait; the answer's `status` is None where none came."""
        port = self.server.port
        return _in_a_thread(lambda: _ask(port, [path], method)[0])

    def send_in_turn(self, paths: Iterable[str]) -> "Future[list[Answer]]":
        """Ask for one path after another, on one connection, and do not wait."""
        port = self.server.port
        return _in_a_thread(lambda: _ask(port, paths))

    def hang_up(self, path: str, when: Callable[[], bool], timeout: float = ANSWER_TIMEOUT_S) -> None:
        """Ask, and hang up as soon as something is so, or at the timeout, without having read an answer."""
        with open_socket(self.server) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            self.wait(when, timeout)

    def send_tasks(self, count: int) -> "list[Future[Answer]]":
        """Ask `GET /` for so many tasks, all at once."""
        return [self.send(f"/?message=task+{number + 1}") for number in range(count)]

    def wait_for_answers(self, pending: "Sequence[Future[Any]]") -> None:
        """Wait until the callers are answered, where the mode answers first; until all are on their way elsewhere."""
        answered = MODE_BY_NAME[self.mode].answers_first
        self.wait(lambda: all(one.done() for one in pending), ANSWER_TIMEOUT_S if answered else SETTLE_S)

    # --- evidence -------------------------------------------------------------------------------------------

    def tasks(self) -> list[TaskRecord]:
        """Return what the journal tells of every task so far."""
        return read_journal(Path(self.server.settings.journal))

    def notes(self, key: str, step: str = "", state: str = "") -> list[Note]:
        """Return what the step log tells of an experiment's steps, or of one of them."""
        notes = read_steps(Path(str(self.server.settings.step_log)), key)
        return [note for note in notes if step in {"", note.step} and state in {"", note.state}]

    def when(self, key: str, step: str, state: str) -> float | None:
        """Return the moment, on the monotonic clock, at which a step first came into a state; None if it did not."""
        return next((note.clock for note in self.notes(key, step, state)), None)

    def wait(self, until: Callable[[], bool], timeout: float) -> bool:
        """Wait until something is so, for `timeout` seconds at the most; return whether it is.

        Raises StoppedError where the command was asked to stop.
        """
        deadline = time.monotonic() + timeout
        while not until():
            self._check()
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_S)
        return True

    def _check(self) -> None:
        if self._is_over():
            raise StoppedError

    def wait_for_begin(self, key: str | None = None, step: str = "", earlier: Collection[str] = ()) -> None:
        """Wait until a step of an experiment, or else a task that is no `earlier` one, begins.

        A process pool starts its processes only then. Raises UserError where none does.
        """

        def begun() -> bool:
            if key is not None:
                return bool(self.notes(key, step))
            return any(task.starts for task in self.tasks() if task.id not in earlier)

        if not self.wait(begun, BEGIN_S):
            raise UserError(f"nothing was begun within {BEGIN_S:.0f} s, so nothing was seen")

    def wait_for_quiet(self, until: Callable[[], bool], quiet: float | None = None) -> bool:
        """Wait until something is so, or until nothing new was written for `quiet` seconds; return whether it is.

        Where nobody says so, as long as no step may begin or end before nothing more is expected.
        """
        if quiet is None:
            quiet = _LOOK_S if self.workers else 1.2
        files = (Path(self.server.settings.journal), Path(str(self.server.settings.step_log)))
        size, since = -1, time.monotonic()

        def over() -> bool:
            nonlocal size, since
            now = sum(file.stat().st_size for file in files if file.exists())
            if now != size:
                size, since = now, time.monotonic()
            return until() or time.monotonic() - since >= quiet

        self.wait(over, 60.0)
        return until()

    def follow(self, key: str | None, until: Callable[[], bool], quiet: float | None = None) -> None:
        """Wait for the begin of a step, or of a task, and then as `wait_for_quiet` does."""
        self.wait_for_begin(key)
        self.wait_for_quiet(until, quiet)

    def pause(self, seconds: float) -> None:
        """Let some time pass."""
        self.wait(lambda: False, seconds)


def _ask(port: int, paths: Iterable[str], method: str = "GET") -> list[Answer]:
    """Ask for one path after another, on one connection."""
    connection, answers = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_TIMEOUT_S), []
    for path in paths:
        asked = time.monotonic()
        try:
            connection.request(method, path)
            response = connection.getresponse()
            status, body = response.status, response.read()
            connection.auto_open = 0  # what is asked next, is asked on this connection or not at all
        except (OSError, http.client.HTTPException):
            status, body = None, b""
        answered, content = time.monotonic(), None
        with contextlib.suppress(ValueError):
            content = json.loads(body)
        answers.append(Answer(status, content, asked, answered))
    connection.close()
    return answers


def _in_a_thread(ask: Callable[[], Result]) -> "Future[Result]":
    pending: Future[Result] = Future()
    threading.Thread(target=lambda: pending.set_result(ask()), name="ask", daemon=True).start()
    return pending


def open_socket(server: servers.Server) -> socket.socket:
    """Return a connection on which one may say what one likes."""
    return socket.create_connection(("127.0.0.1", server.port), timeout=ANSWER_TIMEOUT_S)
