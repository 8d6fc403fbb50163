"""Serving, in one process or several, seen from the main thread: start, drain, abandon.

The event loop runs in a thread of its own, so that the main thread can always hear a signal: work that blocks
the loop, in whatever foreign code, cannot keep a Ctrl-C from being answered.
"""

import asyncio
import errno
import multiprocessing
import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Final, Literal, TypeAlias

import uvicorn

from taskdemo_server.access import Gate
from taskdemo_server.app import create_app
from taskdemo_server.contract.settings import Settings
from taskdemo_server.contract.stderr import complain
from taskdemo_server.journal.file import Journal
from taskdemo_server.protocol import Protocol
from taskdemo_server.runtime import orphans
from taskdemo_server.runtime.console import Console

News: TypeAlias = "tuple[Literal['signal', 'ready', 'ended'], int]"
"""What the main thread hears: a signal and its number, or which process is ready, or has ended."""
Inbox: TypeAlias = "queue.SimpleQueue[News]"

_HANG_UP_AFTER_S: Final = 3.0
_WATCH_EVERY_S: Final = 1.0
_SAY_AGAIN_S: Final = 60.0
LOGGING: Final[dict[str, Any]] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"briefly": {"()": "taskdemo_server.runtime.console.Briefly"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "briefly"}},
    "loggers": {"uvicorn": {"handlers": ["stderr"], "propagate": False}},
}
"""uvicorn's log, which tells what went wrong in requests and tasks."""
_SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK") if hasattr(signal, name)
)


def hear(inbox: Inbox) -> News:
    """Return the next news. Call from the main thread, where signals arrive."""
    while True:
        try:
            # With a timeout, because a system may hand the signal to another thread, which does not end the wait.
            return inbox.get(timeout=0.25)
        except queue.Empty:
            continue


def catch_signals(inbox: Inbox) -> None:
    """Turn signals into news."""

    def catch(number: int, _frame: object) -> None:
        # Windows hands a process group of its own, which the command line gives us, no Ctrl-C but a Ctrl-Break.
        inbox.put(("signal", signal.SIGINT if number == getattr(signal, "SIGBREAK", None) else number))

    for number in _SIGNALS:
        signal.signal(number, catch)


class Server(uvicorn.Server):
    """uvicorn's server, telling when it serves, and leaving nobody connected when the last task has ended."""

    def __init__(self, settings: Settings, on_ready: Callable[[], None], log: Callable[[str], None] | None) -> None:
        self.app = create_app(settings, log)
        self._on_ready = on_ready
        self._watching: asyncio.Task[None] | None = None
        super().__init__(
            uvicorn.Config(
                Gate(self.app, settings),
                http=Protocol,
                interface="asgi3",
                log_level="error",
                access_log=False,
                log_config=LOGGING,
                lifespan="on",
                ws="none",
                proxy_headers=False,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        if self.started:
            self._watching = asyncio.create_task(_watch(self.app.state.work.journal))
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain: let streams end with the last task, and hang up on who does not take an answer."""
        if self._watching is not None:
            self._watching.cancel()
        self.app.state.draining.set()
        hanging_up = asyncio.create_task(self._hang_up())
        await super().shutdown(sockets)
        hanging_up.cancel()

    async def _hang_up(self) -> None:
        idle_since = time.monotonic()
        while True:
            if self.app.state.work.open:
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > _HANG_UP_AFTER_S:
                for connection in list(self.server_state.connections):
                    connection.transport.abort()
            await asyncio.sleep(0.1)


async def _watch(journal: Journal) -> None:
    """Look after the journal, and say when no file descriptor is left: new callers are hung up on then, in silence."""
    say_after = 0.0
    while True:
        await asyncio.sleep(_WATCH_EVERY_S)
        journal.look_after()
        try:
            os.close(os.dup(0))
        except OSError as error:
            if error.errno == errno.EMFILE and (now := time.monotonic()) >= say_after:
                complain(
                    "All file descriptors are used up: new callers are hung up on until some connections end"
                    " (ulimit -n says how many there can be)."
                )
                say_after = now + _SAY_AGAIN_S


class OneProcess:
    """The event loop in a thread of this process."""

    def __init__(self, settings: Settings, listener: socket.socket, inbox: Inbox, log: Callable[[str], None] | None):
        self._inbox = inbox
        self._listener = listener
        self._server = Server(settings, lambda: inbox.put(("ready", os.getpid())), log)
        self._thread = threading.Thread(target=self._run, name="event loop", daemon=True)

    def start(self) -> None:
        """Start serving; ("ready", pid) follows."""
        self._thread.start()

    def ended(self, _pid: int) -> bool:
        """Take note that the thread has ended; whether that was the last one."""
        self._thread.join()
        return True

    def drain(self) -> None:
        """Accept no more, finish what there is; ("ended", pid) follows."""
        self._server.should_exit = True

    def abandon(self) -> None:
        """Stop every task's writing; the process must end at once."""
        self._server.app.state.work.journal.seal()
        for child in multiprocessing.active_children():
            child.kill()
            child.join()

    def _run(self) -> None:
        try:
            self._server.run([self._listener])
        finally:
            self._inbox.put(("ended", os.getpid()))


class Processes:
    """N processes that share the listening socket and the journal; one that dies is replaced."""

    def __init__(self, settings: Settings, listener: socket.socket, inbox: Inbox) -> None:
        self._settings = settings
        self._listener = listener
        self._inbox = inbox
        self._spawn = multiprocessing.get_context("spawn")
        self._processes: dict[int, BaseProcess] = {}
        self._ready: set[int] = set()
        self._draining = False

    def start(self) -> None:
        """Start the processes; ("ready", pid) follows for each."""
        for _ in range(self._settings.workers):
            self._start_one()

    def ended(self, pid: int) -> bool:
        """Take note that a process has ended, replace it if it should not have; whether that was the last one."""
        self._processes.pop(pid).join()
        if pid not in self._ready:  # It could not even start, and has said why; nor could another.
            self.drain()
        elif not self._draining:
            complain(f"Server process {pid} died; another takes its place.")
            self._start_one()
        return not self._processes

    def drain(self) -> None:
        """Accept no more, finish what there is; ("ended", pid) follows for each."""
        self._draining = True
        self._listener.close()
        for process in self._processes.values():
            process.terminate()

    def abandon(self) -> None:
        """End every process at once."""
        for process in self._processes.values():
            process.kill()
            process.join()

    def _start_one(self) -> None:
        ours, theirs = self._spawn.Pipe(duplex=False)
        process = self._spawn.Process(target=_one_of_many, args=(self._settings, self._listener, theirs))
        process.start()
        theirs.close()
        assert process.pid is not None  # noqa: S101  it was started
        self._processes[process.pid] = process
        threading.Thread(target=self._watch, args=(process.pid, ours), name="watch", daemon=True).start()

    def _watch(self, pid: int, ours: Connection) -> None:
        try:
            ours.recv_bytes()
            self._ready.add(pid)
            self._inbox.put(("ready", pid))
            ours.recv_bytes()
        except EOFError:  # The pipe's other end is gone, and so is the process, or nearly.
            self._inbox.put(("ended", pid))


def _one_of_many(settings: Settings, listener: socket.socket, theirs: Connection) -> None:
    orphans.watch_parent()
    inbox: Inbox = queue.SimpleQueue()
    catch_signals(inbox)
    console = Console(sys.stdout) if settings.console else None
    server = OneProcess(settings, listener, inbox, console.say if console else None)
    server.start()
    while True:
        match hear(inbox):
            case "ready", _:
                theirs.send_bytes(b"ready")
            case "signal", signal.SIGTERM:  # The others come from a terminal, to all processes: the parent decides.
                server.drain()
            case "ended", _:
                break
    if console is not None:
        console.close()
