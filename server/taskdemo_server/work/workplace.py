"""Where work runs: what one process knows about the work, the journal, the console and the current task.

Serves the event loop, worker threads, pool processes and engines' workers alike, and is quick to import in a fresh
process: standard library and msgspec only. A pool process or a worker reads its settings from an environment variable;
a page that is served without taskdemo has none, and journals nothing.
"""

import asyncio
import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from typing import Any, Final, Literal, Self

from taskdemo_server.contract.events import WARM_UP, Place, TaskState
from taskdemo_server.contract.import_string import UnusableError
from taskdemo_server.contract.modes import ENGINES, MODE_BY_NAME
from taskdemo_server.contract.settings import WORK, WorkSettings
from taskdemo_server.contract.stderr import refuse
from taskdemo_server.contract.text import error_text, escape
from taskdemo_server.journal.file import Journal
from taskdemo_server.runtime import orphans
from taskdemo_server.work import task_output, user_function
from taskdemo_server.work.spent import Spent

Sink = Callable[[bytes], None]
"""Takes the journal line of each event."""


class CurrentTask:
    """The task that this code runs for. Its context follows it into worker threads and background tasks by itself."""

    __slots__ = ("id", "ref")

    def __init__(self, task_id: str) -> None:
        self.id = task_id
        self.ref: str | None = None
        """The engine's own id of the task, once it is enqueued."""

    def accept(self) -> bytes:
        """Make it a task if it is not one yet; return the journal line that says so, or an empty one."""
        return b""

    def ended(self) -> None:
        """Record that its work has ended."""


current_task: Final[ContextVar[CurrentTask | None]] = ContextVar("current_task", default=None)
"""None if the work belongs to no task of taskdemo's: the page was served without it."""


def work_for(request_id: str | None) -> None:
    """From here on in this context, work for the task with this id; None for no task."""
    current_task.set(None if request_id is None else CurrentTask(request_id))


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


WORKS: Final[dict[str, tuple[Callable[[float], None], Callable[[float], Coroutine[Any, Any, None]]]]] = {
    "sleep": (sleep, sleep_async),
    "cpu": (burn, burn_async),
}


class _PerThread(threading.local):
    def __init__(self, mode: str) -> None:  # runs once in each thread that uses it
        self.place = Place.here(mode)


class Workplace:
    """The work in this process; passes its events to `sink`, and lines for the console (output, ends) to `say`.

    Raises UnusableError, with a sentence for the user, if there is no such work or the mode cannot run it.
    """

    def __init__(self, given: WorkSettings, sink: Sink | None, say: Callable[[str], None] | None) -> None:
        self.function = prepare(given)
        self.settings = given
        self.sink = sink
        self.say = say
        self._look_around()
        os.register_at_fork(after_in_child=self._look_around)
        work, work_async = WORKS.get(given.work, (sleep, sleep_async))
        duration = given.duration
        self.call: Callable[[str], None] = lambda _message: work(duration)
        self.call_async: Callable[[str], Coroutine[Any, Any, None]] = lambda _message: work_async(duration)
        if self.function is not None:
            self.call, self.call_async = self.function.call, self.function.call_async

    def note(self, task_id: str, state: TaskState, before: bytes = b"", **more: Any) -> None:
        """Journal what happens to a task here, after `before`; `more` as `Place.event` takes it."""
        if self.sink is not None:
            self.sink(before + self.place.event(task_id, state, **more).to_line())

    @property
    def place(self) -> Place:
        """Where this thread runs."""
        return self._per_thread.place

    def _look_around(self) -> None:
        self._per_thread = _PerThread(self.settings.mode)


class Run:
    """One execution of the work; journals its start and its end if there is a current task."""

    __slots__ = ("_awaited", "_message", "_output", "_place", "_task", "spent")

    def __init__(self, place: Workplace, message: str, *, awaited: bool = False) -> None:
        # A pool process with the user's own work runs one task at a time, and nothing else.
        alone = place.settings.mode == "process" and place.function is not None
        self.spent = Spent(may_compute=place.settings.work != "sleep", alone=alone)
        self._place = place
        self._task = current_task.get()
        self._message = message
        self._awaited = awaited
        self._output: task_output.TaskOutput | None = None

    @property
    def is_warm_up(self) -> bool:
        """Whether to skip the work: the request only warms up the way there."""
        return self._task is not None and self._task.id.startswith(WARM_UP)

    def __enter__(self) -> Self:
        if self._task is not None:
            self._place.note(self._task.id, "started", self._task.accept(), message=self._message)
        if self._place.function is not None:
            label = "work" if self._task is None else f"task {self._task.id[:8]}"
            self._output = task_output.TaskOutput(label, self._place.say)
            task_output.current.set(self._output)
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        output = None if self._output is None else self._output.end()
        state, text = outcome(error, awaited=self._awaited)
        if self._task is not None:
            cpu_s, queued_s = (None, None) if state == "cancelled" else (self.spent.cpu_s, self.spent.queued_s)
            self._place.note(self._task.id, state, error=text, output=output, cpu_s=cpu_s, queued_s=queued_s)
            self._task.ended()
        if self._place.say is not None and state != "cancelled":
            self._place.say(end_line(self._message, text))


def outcome(
    error: BaseException | None, *, awaited: bool = True
) -> tuple[Literal["finished", "failed", "cancelled"], str | None]:
    """Return how a task ends whose work or request has raised this, if anything, and the error's text.

    Only what is awaited can be cancelled; other work has raised a CancelledError of its own.
    """
    if error is None:
        return "finished", None
    cancelled = awaited and isinstance(error, asyncio.CancelledError)
    return ("cancelled", None) if cancelled else ("failed", error_text(error))


def end_line(message: str, error: str | None) -> str:
    """Return the line that the console shows when a task's work has ended."""
    if error is None:
        return f"Background Task called! {escape(message)}"
    return f"Background Task failed! {escape(message)}: {escape(error)}"


def prepare(given: WorkSettings) -> user_function.UserFunction | None:
    """Import the user's function and return it; from then on, this process tells apart what its tasks print.

    None for a built-in work. Raises UnusableError if the function cannot be used, or not in this mode.
    """
    if given.work in WORKS:
        return None
    task_output.tell_apart()
    function = user_function.find(given.work, given.folder)
    function.check_for(MODE_BY_NAME[given.mode])
    return function


_here: Workplace | None = None


def here() -> Workplace:
    """Return this process's workplace; if there is none yet, set it up from the environment."""
    if _here is not None:
        return _here
    given, sink, say = _from_environment()
    try:
        return set_up(given, sink, say)
    except UnusableError as error:
        if given.mode not in ENGINES:
            raise
        code = refuse(str(error))
        if given.worker is not None and given.worker != os.getpid():  # it might start new processes for ever
            os.kill(given.worker, signal.SIGTERM)
        raise SystemExit(code) from None


def learn_experiments(engine: str) -> None:
    """Set up this engine's worker before it forks any process; for experiments, import their steps too."""
    if WORK in os.environ and here().settings.step_log is not None:
        importlib.import_module(f"{engine}.steps")


def set_up(given: WorkSettings, sink: Sink | None, say: Callable[[str], None] | None) -> Workplace:
    """Set up this process's workplace. Raises UnusableError as Workplace does."""
    global _here
    _here = Workplace(given, sink, say)
    return _here


def _from_environment() -> tuple[WorkSettings, Sink | None, Callable[[str], None] | None]:
    text = os.environ.get(WORK)
    if text is None:
        return WorkSettings(mode=""), None, _print
    given = WorkSettings.from_json(text)
    if given.cwd is not None:
        os.chdir(given.cwd)
    if given.worker is not None:
        orphans.end_with_worker(given.worker)
    sink: Sink | None = None
    if given.journal is not None:
        sink = Journal(given.journal).write
    elif given.server is not None:
        from taskdemo_server.work.report import Reporter

        sink = Reporter(given.server, given.token).write
    return given, sink, _print if given.console else None


def _print(line: str) -> None:
    """Write a line to this process's real standard output, even if a library has replaced it."""
    try:
        (sys.__stdout__ or sys.stdout).write(f"{line}\n")
        (sys.__stdout__ or sys.stdout).flush()
    except (OSError, ValueError, AttributeError):  # closed, or nobody reads it: a print must not fail a task
        pass
