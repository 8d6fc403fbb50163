"""The ASGI layer around any application: it gives each request a task id and journals it as a task.

`PageTracking` wraps the page of a mode and limits its open tasks; `user_app.open_requests` wraps the user's own
application. Answers go out unchanged, but for one added header. Plain ASGI keeps the overhead small.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable
from random import getrandbits
from typing import Final, Generic, TypeVar

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from taskdemo_server.contract.events import WARM_UP, TaskEvent
from taskdemo_server.contract.modes import Mode
from taskdemo_server.journal.file import Journal
from taskdemo_server.work.workplace import CurrentTask, Workplace, current_task

WARMS_UP: Final = (WARM_UP.encode(), b"1")
"""The ASGI header of a request that only warms up the server."""
T = TypeVar("T")


def new_id() -> str:
    """Return a new task id."""
    return f"{getrandbits(64):016x}"


def with_id(answer: Message, task_id: str) -> Message:
    """Return `answer`, an `http.response.start` message, with the task's id as one more header."""
    return {**answer, "headers": [*answer.get("headers", ()), (b"x-task-id", task_id.encode())]}


class Tracking(ABC, Generic[T]):
    """An application with its open requests and tasks, as far as this process knows."""

    def __init__(self, app: ASGIApp, journal: Journal, workplace: Workplace) -> None:
        self.app = app
        self.journal = journal
        self.workplace = workplace
        self.open: dict[str, T] = {}
        self.draining = asyncio.Event()
        """Set once no more requests are accepted: event streams then end with the last task."""
        self.kept = False
        """Whether an external broker keeps the tasks: they do not delay this server's shutdown, and are not lost."""

    @property
    def awaited(self) -> bool:
        """Whether this server's shutdown has tasks to wait for."""
        return bool(self.open) and not self.kept

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request, or the lifespan. Not `async`: returning the awaitable saves a step."""
        return (self.serve if scope["type"] == "http" else self.app)(scope, receive, send)

    @abstractmethod
    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the application, and journal its outcome."""


class Task(CurrentTask):
    """A request to a page, which becomes a task with `accept`, and never if the page refuses it."""

    __slots__ = ("_arrived", "_arrived_at", "_send", "_tracking", "accepted", "over")

    def __init__(self, tracking: "PageTracking", send: Send, prefix: str) -> None:
        super().__init__(prefix + new_id())
        self._tracking = tracking
        self._send = send
        self._arrived = time.monotonic()
        self._arrived_at = time.time()
        self.accepted = False
        self.over = False
        """Whether it has ended or was refused."""

    def accept(self) -> bytes:
        """Make it a task, as of its arrival; return its journal line, empty if it is a task already."""
        if self.accepted:
            return b""
        self.accepted = True
        place = self._tracking.workplace.place
        return TaskEvent(self.id, "accepted", self._arrived_at, self._arrived, *place, ref=self.ref).to_line()

    def accept_if_open(self) -> None:
        """Journal it as accepted unless it was refused: the application has validated it."""
        if not self.over and (line := self.accept()):
            self._tracking.journal.write(line)

    def ended(self) -> None:
        """Record that its work has ended in this process."""
        self.over = True
        self._tracking.open.pop(self.id, None)

    def send(self, message: Message) -> Awaitable[None]:
        """Pass on one message of the answer; the first one decides whether this is a task."""
        if message["type"] == "http.response.start":
            if message["status"] >= 400 and not self.accepted:
                self.over = True  # Before it is sent: the client may be slow to read it.
            elif self._tracking.accepts_with_answer:
                self.accept_if_open()
            if self.accepted:
                message = with_id(message, self.id)
        return self._send(message)


class PageTracking(Tracking[Task]):
    """The layer around a mode's page."""

    def __init__(self, app: ASGIApp, mode: Mode, journal: Journal, workplace: Workplace, max_pending: int) -> None:
        super().__init__(app, journal, workplace)
        self.accepts_with_answer = mode.answers_first
        """Whether a request becomes a task with its answer; where the caller waits, it does once it is validated."""
        self._ends_with_call = mode.runs in {"loop", "thread"}
        self._waits_for_thread = mode.runs == "thread" and not mode.answers_first
        """Whether the work may wait for a thread in a request that is a task already."""
        self._max_pending = max_pending

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the page unless too much waits; journal the task, and its loss if its work never began."""
        if len(self.open) >= self._max_pending or self.journal.stuck:
            await self._refusal()(scope, receive, send)
            return
        task = Task(self, send, f"{WARM_UP}-" if WARMS_UP in scope["headers"] else "")
        self.open[task.id] = task
        current_task.set(task)
        if self._waits_for_thread:
            # An invalid request is refused before the application first waits for anything.
            asyncio.get_running_loop().call_soon(task.accept_if_open)
        try:
            await self.app(scope, receive, task.send)
        finally:
            if not task.accepted:
                task.ended()
            elif self._ends_with_call and not task.over:
                self.workplace.note(task.id, "lost", error="Its request has ended, and its work was never begun.")
                task.ended()

    def _refusal(self) -> JSONResponse:
        if self.journal.stuck:
            why = "The journal cannot be written, and too many events are waiting: try again later."
        else:
            why = f"{len(self.open)} tasks are unfinished, the limit (--max-pending): try again later."
        return JSONResponse({"detail": why}, 503, {"Retry-After": "1"})
