"""The slow work, wrapped so that it writes into the journal what becomes of it, wherever it runs.

Knows nothing of the web: the same wrapping serves the event loop, worker threads, pool processes and Celery
workers, and must be quick to import in a fresh process. Standard library only.
"""

import asyncio
import contextlib
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from multiprocessing.synchronize import Semaphore
from typing import Final

from taskdemo_server.contract.events import TaskState, event_line, place_of
from taskdemo_server.contract.import_string import UnusableError
from taskdemo_server.contract.settings import Settings
from taskdemo_server.contract.text import escape
from taskdemo_server.journal.file import Journal
from taskdemo_server.runtime import orphans
from taskdemo_server.work import task_output
from taskdemo_server.work.user_function import OwnWork, own_work


class UnknownWorkError(UnusableError):
    """There is no such work."""


class OverloadedError(Exception):
    """No further task is accepted now; the text is a sentence for who asked."""


_LOOK_EVERY_S: Final = 1.0
current_task: Final[ContextVar[str]] = ContextVar("current_task")
"""The id of the current request's task. A context follows its work into threads and background tasks by itself."""


def sleep(seconds: float) -> None:
    """Wait, as for a slow database or another service."""
    if seconds > 0:
        time.sleep(seconds)


async def sleep_async(seconds: float) -> None:
    """Wait, leaving the event loop to others."""
    if seconds > 0:
        await asyncio.sleep(seconds)


def burn(seconds: float) -> None:
    """Compute until this thread has really used `seconds` of CPU time."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        sum(range(1000))


async def burn_async(seconds: float) -> None:
    """Compute the same; being `async` makes it no less work for the event loop."""
    burn(seconds)


WORKS: Final[dict[str, tuple[Callable[[float], None], Callable[[float], Awaitable[None]]]]] = {
    "sleep": (sleep, sleep_async),
    "cpu": (burn, burn_async),
}


class _Here(threading.local):
    place: str


class Work:
    """One kind of slow work in one mode: `run` and `run_async` do it for the current task, or for a given one.

    `log` is called with a line to show whenever a task has ended, `tell` with each that the user's own work prints.
    Raises UnusableError, with a sentence for the user, where there is no such work, or not in this mode.
    """

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        log: Callable[[str], None] | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.own = prepare(settings)
        self._call, self._call_async = _calls(settings, self.own)
        self._tell = tell or log
        self.settings = settings
        self.journal = journal
        self.open: set[str] = set()
        """The tasks that this process accepted and that have not ended, as far as it knows; its end waits."""
        self.pending = self.open
        """The tasks that count against the bound: these, or those that a broker keeps for others."""
        self._log = log
        self._here = _Here()

    def accept(self, message: str) -> str:
        """Journal the current request as an accepted task, and return its id. Raises OverloadedError."""
        self.check_room()
        task_id = current_task.get()
        self.open.add(task_id)
        self._note(task_id, "accepted", message)
        return task_id

    def check_room(self) -> None:
        """Raise OverloadedError where no further task can be accepted; nothing was written about it then."""
        if len(self.pending) >= self.settings.max_pending:
            count = len(self.pending)
            raise OverloadedError(f"{count} tasks have not ended, all that are taken (--max-pending): ask again later.")
        if self.journal.stuck:
            raise OverloadedError("The journal cannot be written, and too many events wait for it: ask again later.")

    def run(self, message: str, task_id: str | None = None) -> None:
        """Do the work; raises what it raises. `task_id` where no context reaches (another process)."""
        task_id = task_id or current_task.get()
        record = self._begin(task_id)
        try:
            self._call(message)
        except BaseException as error:
            self._failed(task_id, message, error, record)
            raise
        self._finished(task_id, message, record)

    async def run_async(self, message: str) -> None:
        """Do the async version of the work; raises what it raises."""
        task_id = current_task.get()
        record = self._begin(task_id)
        try:
            await self._call_async(message)
        except BaseException as error:
            self._failed(task_id, message, error, record)
            raise
        self._finished(task_id, message, record)

    def ended_elsewhere(self, task_id: str, message: str, error: str | None = None) -> None:
        """Take note that another process, which journals for itself, has ended the task: close and show it."""
        self.open.discard(task_id)
        self._show(message, error)

    def ended_unseen(self, task_id: str, state: TaskState, error: str | None = None) -> None:
        """Journal the end of a task that could not do so itself: it was cancelled or lost."""
        self._note(task_id, state, error=error)
        self.open.discard(task_id)

    def _begin(self, task_id: str) -> task_output.Printed | None:
        self._note(task_id, "started")
        if self.own is None:
            return None
        record = task_output.Printed(f"task {task_id[:8]}", self._tell)
        task_output.current.set(record)
        return record

    def _finished(self, task_id: str, message: str, record: task_output.Printed | None) -> None:
        self._note(task_id, "finished", output=None if record is None else record.end())
        self.open.discard(task_id)
        self._show(message, None)

    def _failed(self, task_id: str, message: str, error: BaseException, record: task_output.Printed | None) -> None:
        output = None if record is None else record.end()
        if isinstance(error, asyncio.CancelledError):
            self._note(task_id, "cancelled", output=output)
        else:
            self._note(task_id, "failed", error=said(error), output=output)
            self._show(message, said(error))
        self.open.discard(task_id)

    def _show(self, message: str, error: str | None) -> None:
        if self._log is not None:
            if error is None:
                self._log(f"Background Task called! {escape(message)}")
            else:
                self._log(f"Background Task failed! {escape(message)}: {escape(error)}")

    def _note(
        self,
        task_id: str,
        state: TaskState,
        message: str | None = None,
        error: str | None = None,
        output: str | None = None,
    ) -> None:
        try:
            place = self._here.place
        except AttributeError:  # The first event of this thread.
            place = self._here.place = place_of(self.settings.mode, here())
        clock = time.monotonic()
        self.journal.write(event_line(task_id, state, time.time(), clock, place, message, error, output), clock)


def prepare(settings: Settings) -> OwnWork | None:
    """Import the user's own work, make this process tell apart what its tasks print, and return it.

    None for a built-in work. Raises UnusableError where it cannot be used, or not in this mode.
    """
    if settings.work in WORKS:
        return None
    if ":" not in settings.work and "." not in settings.work:
        there = ", ".join(WORKS)
        raise UnknownWorkError(
            f"Unknown work {escape(settings.work)!r}; there are: {there}, or your own module:function."
        )
    task_output.tell_apart()
    own = own_work(settings.work, settings.folder)
    own.check_for(settings.mode)
    return own


def _calls(settings: Settings, own: OwnWork | None) -> tuple[Callable[[str], None], Callable[[str], Awaitable[None]]]:
    """Return how to do the work with a message, and its async version."""
    if own is not None:
        return own.call, own.call_async
    work, work_async = WORKS[settings.work]
    duration = settings.duration
    return lambda _message: work(duration), lambda _message: work_async(duration)


def here() -> str:
    """Return where this code runs, to be read by people: host, pid, thread."""
    thread = threading.current_thread().name
    number = "" if thread == "event loop" else f" {threading.get_native_id()}"
    return f"{socket.gethostname()} pid {os.getpid()} {thread}{number}"


def process_of(where: str) -> tuple[str, int] | None:
    """Return the host and pid that `here` named, if it was `here`."""
    match = re.match(r"(\S+) pid (\d+) ", where)
    return (match[1], int(match[2])) if match else None


def said(error: BaseException) -> str:
    """Return what an exception says, with its kind, cut to a length that fits a journal line."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  an exception of the user's may fail even at this
        text = ""
    return f"{type(error).__name__}: {text}"[:4096] if text else type(error).__name__


_of_this_process: Work | None = None


def prepare_process(settings: Settings, ready: Semaphore) -> None:
    """Make a fresh pool process able to `run_in_process`, and say so through `ready`."""
    global _of_this_process
    # A Ctrl-C or a closed terminal reaches the whole process group; the server alone decides what it means.
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    orphans.watch_parent()
    journal = Journal(settings.journal)
    _of_this_process = Work(settings, journal, tell=_say if settings.console else None)
    threading.Thread(target=_look_after, args=(journal,), name="journal", daemon=True).start()
    ready.release()


def _look_after(journal: Journal) -> None:
    while True:
        time.sleep(_LOOK_EVERY_S)
        journal.look_after()


def _say(line: str) -> None:
    """Show a line on the server's own standard output, which a pool process has inherited."""
    with contextlib.suppress(OSError):
        os.write(1, line.encode(errors="backslashreplace") + b"\n")


def run_in_process(task_id: str, message: str) -> None:
    """Do the work in a pool process, for the task of that id."""
    assert _of_this_process is not None  # noqa: S101  the pool's initializer has run
    _of_this_process.run(message, task_id)
