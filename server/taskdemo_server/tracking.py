"""The ASGI layer around any application: it gives each request a task id, journals it as a task, and bounds how many.

A mode is an application of ours, `--app` one of the user's (`user_app.requests`); around either is a `Tracking`. What
the application answers is what goes out, with one header more. Plain ASGI, so that it costs little beside the
application.
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
"""The header, as ASGI has it, of a request that only warms the server up."""
T = TypeVar("T")


def new_id() -> str:
    """Return an id for a task."""
    return f"{getrandbits(64):016x}"


def with_id(answer: Message, task_id: str) -> Message:
    """Return the begin of an answer with the header that tells the task's id."""
    return {**answer, "headers": [*answer.get("headers", ()), (b"x-task-id", task_id.encode())]}


class Tracking(ABC, Generic[T]):
    """An application, and its requests and tasks that have not ended, as far as this process knows."""

    def __init__(self, app: ASGIApp, journal: Journal, workplace: Workplace) -> None:
        self.app = app
        self.journal = journal
        self.workplace = workplace
        self.open: dict[str, T] = {}
        self.draining = asyncio.Event()
        """Set once no further request is taken: streams end then with the last task."""
        self.kept = False
        """Whether a broker of others keeps the tasks, so that they neither hold up this server's end nor are lost."""

    @property
    def awaited(self) -> bool:
        """Whether there are tasks for whose end this server's own end waits."""
        return bool(self.open) and not self.kept

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request, or the lifespan. Not `async` itself: handing on the awaitable saves a step."""
        return (self.serve if scope["type"] == "http" else self.app)(scope, receive, send)

    @abstractmethod
    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request to the application, and journal what becomes of it."""


class Task(CurrentTask):
    """A request to a page on its way to become a task: it is one from `accept` on, and never if the page refuses it."""

    __slots__ = ("_arrived", "_arrived_at", "_send", "_tracking", "accepted", "over")

    def __init__(self, tracking: "PageTracking", send: Send, prefix: str) -> None:
        super().__init__(prefix + new_id())
        self._tracking = tracking
        self._send = send
        self._arrived = time.monotonic()
        self._arrived_at = time.time()
        self.accepted = False
        self.over = False
        """Whether it has ended, or was refused."""

    def accept(self) -> bytes:
        """Make it a task, as of its arrival; return the line for the journal, which is empty if it is one already."""
        if self.accepted:
            return b""
        self.accepted = True
        place = self._tracking.workplace.place
        return TaskEvent(self.id, "accepted", self._arrived_at, self._arrived, *place, ref=self.ref).to_line()

    def accept_if_open(self) -> None:
        """Journal it as accepted unless it is refused already: the application has got past validating it."""
        if not self.over and (line := self.accept()):
            self._tracking.journal.write(line)

    def ended(self) -> None:
        """Take note that its work has ended in this process."""
        self.over = True
        self._tracking.open.pop(self.id, None)

    def send(self, message: Message) -> Awaitable[None]:
        """Pass a piece of the answer on; with the first one it is decided whether this is a task."""
        if message["type"] == "http.response.start":
            if message["status"] >= 400 and not self.accepted:
                self.over = True  # Also while whoever asked is slow to take the refusal.
            elif self._tracking.accepts_with_answer:
                self.accept_if_open()
            if self.accepted:
                message = with_id(message, self.id)
        return self._send(message)


class PageTracking(Tracking[Task]):
    """The layer around the page of a mode."""

    def __init__(self, app: ASGIApp, mode: Mode, journal: Journal, workplace: Workplace, max_pending: int) -> None:
        super().__init__(app, journal, workplace)
        self.accepts_with_answer = mode.answers_first
        """Whether a task is one from the answer on: where the caller waits, it is one once it was found valid."""
        self._ends_with_call = mode.runs in {"loop", "thread"}
        self._waits_for_thread = mode.runs == "thread" and not mode.answers_first
        """Whether the work may have to wait, before it begins, in a request that is a task already."""
        self._max_pending = max_pending

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request to the page, unless too much waits; journal that it is a task, and that it is lost."""
        if len(self.open) >= self._max_pending or self.journal.stuck:
            await self._refusal()(scope, receive, send)
            return
        task = Task(self, send, f"{WARM_UP}-" if WARMS_UP in scope["headers"] else "")
        self.open[task.id] = task
        current_task.set(task)
        if self._waits_for_thread:
            # Whatever refuses a request does so before the application first waits for anything.
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
            why = "The journal cannot be written, and too many events wait for it: ask again later."
        else:
            why = f"{len(self.open)} tasks have not ended, all that are taken (--max-pending): ask again later."
        return JSONResponse({"detail": why}, 503, {"Retry-After": "1"})
