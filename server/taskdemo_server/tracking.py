"""The ASGI layer around any application: it gives each request a task id, journals it as a task, and bounds how many.

A mode is an application of ours, `--app` one of the user's; both are served through this. What the application answers
is what goes out, with one header more. Plain ASGI, so that it costs little beside the application.
"""

import asyncio
import time
from collections.abc import Awaitable, Coroutine
from random import getrandbits
from typing import Any, Final

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from taskdemo_server.contract.events import WARM_UP, TaskEvent, TaskState
from taskdemo_server.contract.modes import Mode
from taskdemo_server.contract.text import error_text
from taskdemo_server.journal.file import Journal
from taskdemo_server.work.task_output import TaskOutput, current
from taskdemo_server.work.workplace import CurrentTask, Workplace, current_task

WARMS_UP: Final = (WARM_UP.encode(), b"1")
"""The header, as ASGI has it, of a request that only warms the server up."""
SAME_MOMENT_S: Final = 0.005
"""A call that returns so soon after its response had nothing left to do."""


class Task(CurrentTask):
    """A request on its way to become a task: it is one from `accept` on, and never if the application refuses it."""

    __slots__ = ("_arrived", "_arrived_at", "_send", "_tracking", "accepted", "answered", "answering", "over")

    def __init__(self, tracking: "Tracking", send: Send, prefix: str = "") -> None:
        super().__init__(f"{prefix}{getrandbits(64):016x}")
        self._tracking = tracking
        self._send = send
        self._arrived = time.monotonic()
        self._arrived_at = time.time()
        self.accepted = False
        self.over = False
        """Whether it has ended, or was refused."""
        self.answering = self.answered = 0.0
        """When the last piece of the answer was handed over, and when that had gone out."""

    def accept(self, message: str | None = None) -> bytes:
        """Make it a task, as of its arrival; return the line for the journal, which is empty if it is one already."""
        if self.accepted:
            return b""
        self.accepted = True
        place = self._tracking.workplace.place
        return TaskEvent(self.id, "accepted", self._arrived_at, self._arrived, *place, message, ref=self.ref).to_line()

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
                message = {**message, "headers": [*message.get("headers", ()), (b"x-task-id", self.id.encode())]}
        return self._send(message)

    async def send_timed(self, message: Message) -> None:
        """Do the same, and note when the last piece went out."""
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self.answering = time.monotonic()
        await self.send(message)
        self.answered = time.monotonic()


class Tracking:
    """An application, and its requests that have not ended.

    `mode` is None for the user's own application, whose requests are the tasks: begun when they arrive, ended when the
    call returns, which is after the background tasks that hang on the response.
    """

    def __init__(
        self, app: ASGIApp, mode: Mode | None, journal: Journal, workplace: Workplace, max_pending: int
    ) -> None:
        self.journal = journal
        self.workplace = workplace
        self.open: dict[str, Task] = {}
        """The requests and tasks of this process that have not ended, as far as it knows."""
        self.draining = asyncio.Event()
        """Set once no further request is taken: streams end then with the last task."""
        self.start_failed = ""
        """The last line of what the application said when its start failed."""
        self.kept = False
        """Whether a broker of others keeps the tasks, so that they neither hold up this server's end nor are lost."""
        self.accepts_with_answer = mode is not None and mode.answers_first
        """Whether a task is one from the answer on: where the caller waits, it is one once it was found valid."""
        self._ends_with_call = mode is not None and mode.runs in {"loop", "thread"}
        self._waits_for_thread = mode is not None and mode.runs == "thread" and not mode.answers_first
        """Whether the work may have to wait, before it begins, in a request that is a task already."""
        self._app = app
        self._max_pending = max_pending
        self._serve = self._serve_app if mode is None else self._serve_page

    @property
    def awaited(self) -> bool:
        """Whether there are tasks for whose end this server's own end waits."""
        return bool(self.open) and not self.kept

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[Any, Any, None]:
        """Serve one request, or the lifespan. Not `async` itself: handing on the awaitable saves a step."""
        if scope["type"] == "http":
            return self._serve(scope, receive, send)
        if scope["type"] == "lifespan":
            return self._app(scope, receive, lambda message: self._listen(message, send))  # type: ignore[return-value]  # ASGI says Awaitable
        return self._app(scope, receive, send)  # type: ignore[return-value]  # as above

    async def _serve_page(self, scope: Scope, receive: Receive, send: Send) -> None:
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
            await self._app(scope, receive, task.send)
        finally:
            if not task.accepted:
                task.ended()
            elif self._ends_with_call and not task.over:
                self.workplace.note(task.id, "lost", error="Its request has ended, and its work was never begun.")
                task.ended()

    async def _serve_app(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = Task(self, send)
        self.open[task.id] = task
        output = TaskOutput(f"task {task.id[:8]}", None)
        current.set(output)
        self.journal.write(task.accept(f"{scope['method']} {scope['path']}"))
        self.workplace.note(task.id, "started")
        try:
            await self._app(scope, receive, task.send_timed)
        except BaseException as error:
            self._end_call(task, output, error)
            raise
        self._end_call(task, output)

    def _end_call(self, task: Task, output: TaskOutput, error: BaseException | None = None) -> None:
        ended = time.monotonic()
        if error is None and task.answering and ended - task.answered < SAME_MOMENT_S:
            ended = task.answering  # Else the caller could have had the answer before the end of what it is the end of.
        state: TaskState = "finished" if error is None else "failed"
        if isinstance(error, asyncio.CancelledError):
            state, error = "cancelled", None
        text, place = None if error is None else error_text(error), self.workplace.place
        event = TaskEvent(task.id, state, time.time(), ended, *place, error=text, output=output.end())
        self.journal.write(event.to_line())
        task.ended()

    def _refusal(self) -> JSONResponse:
        if self.journal.stuck:
            why = "The journal cannot be written, and too many events wait for it: ask again later."
        else:
            why = f"{len(self.open)} tasks have not ended, all that are taken (--max-pending): ask again later."
        return JSONResponse({"detail": why}, 503, {"Retry-After": "1"})

    async def _listen(self, message: Message, send: Send) -> None:
        if message["type"] == "lifespan.startup.failed":
            self.start_failed = (message.get("message", "").strip().splitlines() or ["it did not say why"])[-1]
        await send(message)
