"""The open requests of the user's own application, its answers to them, and the asyncio tasks they leave behind.

Holds the ASGI layer around the application, a task factory for its event loop, and a hook that notes BackgroundTasks.
It writes what it learns into the journal, and does not change what the application does.
"""

import ast
import asyncio
import inspect
import itertools
import linecache
import sys
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context, ContextVar
from typing import Any, Final

from starlette.applications import Starlette
from starlette.background import BackgroundTask, BackgroundTasks
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from taskdemo_server.contract.sightings import Answered, Left, LeftState, Look, NeverRan, Whose
from taskdemo_server.contract.text import error_text, shortened
from taskdemo_server.contract.whose_code import describe_error, is_users
from taskdemo_server.journal.file import Journal
from taskdemo_server.tracking import Tracking, new_id, with_id
from taskdemo_server.user_app.stacks import ASYNC, Reader, Step, function_of, maker
from taskdemo_server.work import task_output
from taskdemo_server.work.workplace import Workplace, outcome

MOST_ANSWERS: Final = 1000
"""Kinds of answers to journal: clients may request any number of paths."""
KEPT_BODY: Final = 500
"""Bytes to keep of an answer that refuses a request: they say why."""
WEBSOCKET: Final = "a WebSocket route, not reachable with an HTTP request"
SAME_MOMENT_S: Final = 0.02
"""What ends this soon after another thing ended with it: a call with its response, a task with its request."""
FORGETTING: Final = frozenset({"create_task", "ensure_future"})
KEEPERS: Final = frozenset({"tg", "group", "task_group", "taskgroup", "nursery"})


class Request:
    """One request while the application handles it."""

    __slots__ = ("added", "answered", "ended_early", "id", "output", "over", "sent", "status", "task")

    def __init__(self) -> None:
        self.id = new_id()
        self.output = task_output.TaskOutput(f"task {self.id[:8]}", None)
        self.task: asyncio.Task[Any] | None = asyncio.current_task()
        self.answered = 0.0
        """When the application handed over the last piece of the answer."""
        self.sent = 0.0
        """When the server had sent it."""
        self.over = 0.0
        """When the application's call returned."""
        self.status = 0
        """The status of the answer; 0 before there is one."""
        self.added: dict[BackgroundTask, Step | None] = {}
        """The background tasks that were added and have not started, with the application's step that added each."""
        self.ended_early: str | None = None
        """Why the added tasks may never start, as far as a background task that did start shows."""


current: Final[ContextVar[Request | None]] = ContextVar("request", default=None)
"""The request that this code runs for; the asyncio tasks and worker threads that it starts inherit it."""


class Child:
    """An asyncio task that was created while a request was handled."""

    __slots__ = ("created", "ended", "error", "name", "number", "request", "state", "task", "told")

    def __init__(
        self, number: int, request: Request, task: "asyncio.Task[Any]", name: str, created: Step | None
    ) -> None:
        self.number = number
        self.request = request
        self.name = name
        self.created = created
        """The application's step that created it; None if a framework created it for itself."""
        self.task = weakref.ref(task, self._gone)
        self.state: LeftState = "running"
        self.error: str | None = None
        self.ended = 0.0
        self.told = ""
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self.ended = time.monotonic()
        self.state, self.error = outcome(asyncio.CancelledError() if task.cancelled() else task.exception())

    def _gone(self, _reference: object) -> None:
        if not self.ended:  # It was garbage-collected while it waited: nothing referred to it.
            self.ended, self.state = time.monotonic(), "lost"


class Requests(Tracking[Request]):
    """The layer around the user's own application: each request is a task, which starts when it arrives.

    It ends when the call returns, after the background tasks of the response.
    """

    def __init__(self, app: ASGIApp, journal: Journal, workplace: Workplace, reader: Reader) -> None:
        super().__init__(app, journal, workplace)
        self.begun = 0
        """The number of requests so far."""
        self.start_failed = ""
        """Why the application's startup failed, if it did."""
        self._latest: Scope = {}
        self.reader = reader
        self._answers: set[tuple[str, int]] = set()
        self._children: dict[int, Child] = {}
        self._child_of: weakref.WeakKeyDictionary[asyncio.Task[Any], Child] = weakref.WeakKeyDictionary()
        self._numbers = itertools.count(1)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request, or the lifespan, listening for a failed startup."""
        if scope["type"] == "lifespan":
            return self._live(scope, receive, send)
        return super().__call__(scope, receive, send)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the application, and note what it answers."""
        request = Request()
        self.open[request.id] = request
        self.begun += 1
        self._latest = scope
        current.set(request)
        task_output.current.set(request.output)
        self.workplace.note(request.id, "accepted", message=f"{scope['method']} {scope['path']}")
        self.workplace.note(request.id, "started")
        refused: Answered | None = None

        async def noting(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start":
                request.status = int(message["status"])
                refused = self._refusal(scope, message)
                message = with_id(message, request.id)
            elif message["type"] == "http.response.body":
                if refused is not None:
                    body = message.get("body", b"")[:KEPT_BODY]
                    refused.detail = refused.detail or shortened(body.decode(errors="replace"), KEPT_BODY)
                    self.journal.write(refused.to_line())
                    refused = None
                if not message.get("more_body"):
                    request.answered = time.monotonic()
            await send(message)
            request.sent = time.monotonic()

        try:
            await self.app(scope, receive, noting)
        except BaseException as error:
            self._end(request, error)
            raise
        self._end(request)

    def _end(self, request: Request, error: BaseException | None = None) -> None:
        request.over = ended = time.monotonic()
        if request.ended_early is None and isinstance(error, Exception):
            request.ended_early = f"the request failed with {type(error).__name__}"
        for task, added_by in request.added.items():
            place = None if added_by is None else self.reader.place(added_by)
            self.journal.write(NeverRan(_name_of(task.func), request.status, place, request.ended_early).to_line())
        request.added.clear()
        if error is None and request.answered and ended - request.sent < SAME_MOMENT_S:
            ended = request.answered  # Else the caller could have the answer before this end.
        state, text = outcome(error)
        if error is not None and text is not None:
            text = describe_error(error)
        self.workplace.note(request.id, state, clock=ended, error=text, output=request.output.end())
        del self.open[request.id]

    async def _live(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def listening(message: Message) -> None:
            if message["type"] == "lifespan.startup.failed":
                self.start_failed = (message.get("message", "").strip().splitlines() or ["it gave no reason"])[-1]
            await send(message)

        try:
            await self.app(scope, receive, listening)
        except BaseException as error:
            if self.start_failed:  # The message ends in the last line of the error, which may have several.
                self.start_failed = describe_error(error, 200)
            raise

    def follow(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on, note which asyncio tasks are created while a request is handled."""
        make: Callable[..., Any] | None = loop.get_task_factory()

        def factory(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **given: Any) -> Any:
            task = make(loop, coroutine, **given) if make else asyncio.Task(coroutine, loop=loop, **given)
            context: Context | None = given.get("context")
            request = context.get(current) if context is not None else current.get()
            if request is not None and isinstance(task, asyncio.Task):
                created = maker(sys._getframe(1))  # noqa: SLF001
                child = Child(next(self._numbers), request, task, _name_of(coroutine), created)
                self._children[child.number] = child
                self._child_of[task] = child
            return task

        loop.set_task_factory(factory)  # type: ignore[arg-type]  # its arguments depend on Python's version

    def whose(self, task: "asyncio.Task[Any] | None") -> Whose:
        """Return whose an asyncio task is: a `request`'s, a `task` that one left behind, or the `application`'s."""
        child = self._child_of.get(task) if task is not None else None
        if child is None:
            return "application"
        return "task" if child.request.over else "request"

    def asked(self) -> Look:
        """Return what a thread may have done unseen: the first line of the last endpoint, if that runs in a thread.

        Otherwise an empty look.
        """
        endpoint = self._latest.get("endpoint")  # which the router writes there
        code = getattr(inspect.unwrap(endpoint) if callable(endpoint) else None, "__code__", None)
        if code is None or code.co_flags & ASYNC or not is_users(code.co_filename):
            return Look("")
        first = self.reader.place(Step(code, 0, code.co_firstlineno, ""))
        return Look("", caller=f"{first} (or a dependency of it)", within=function_of(code))

    def tasks(self) -> "list[list[asyncio.Task[Any]]]":
        """Return the tasks of each open request, the newest first: the others wait for what that one waits for."""
        of = {request: [request.task] for request in list(self.open.values()) if request.task is not None}
        for child in list(self._children.values()):
            if child.request in of and not child.ended and (task := child.task()) is not None:
                of[child.request].insert(0, task)
        return list(of.values())

    def tell_left(self) -> None:
        """Journal the tasks that outlived their request, or failed with nothing keeping them; forget the ended ones."""
        now = time.monotonic()
        for child in list(self._children.values()):
            over = child.request.over
            outlived = over and (child.ended or now) - over > SAME_MOMENT_S
            if child.created is not None and (outlived or child.state == "failed") and child.told != child.state:
                kept = is_kept(child.created.file, child.created.line)
                if outlived or not kept:
                    child.told = child.state
                    after_s = round(max((child.ended or now) - (child.request.answered or over), 0.0), 6)
                    place = self.reader.place(child.created)
                    by, state, error = child.request.id, child.state, child.error
                    left = Left(child.number, by, child.name, place, kept, state, after_s, error)
                    self.journal.write(left.to_line())
            if child.ended:
                self._children.pop(child.number, None)

    def _refusal(self, scope: Scope, message: Message) -> Answered | None:
        """Return what to journal of an answer that starts; None if it is a success, or is journaled already."""
        status = int(message["status"])
        key = f"{scope['method']} {scope['path']}", status
        if 200 <= status < 300 or key in self._answers or len(self._answers) >= MOST_ANSWERS:
            return None
        self._answers.add(key)
        headers = {bytes(name).lower(): bytes(value).decode("latin-1") for name, value in message.get("headers", ())}
        location, allow, authenticate = map(headers.get, (b"location", b"allow", b"www-authenticate"))
        detail = WEBSOCKET if status == 404 and _is_for_websockets(scope) else ""
        return Answered(status, scope["path"], location, allow, authenticate, detail)


def _is_for_websockets(scope: Scope) -> bool:
    """Return whether a route for a request's path takes websockets and no HTTP requests."""
    app = scope.get("app")
    routes = app.routes if isinstance(app, Starlette) else ()
    kinds: tuple[Scope, Scope] = {**scope, "type": "websocket"}, {**scope, "type": "http"}
    return any([route.matches(one)[0] for one in kinds] == [Match.FULL, Match.NONE] for route in routes)


def follow_background_tasks() -> None:
    """From now on, note what a request adds to Starlette's BackgroundTasks, until it starts.

    Starlette keeps that list to itself: what an exception drops is gone with the endpoint's frame.
    """
    add, run = BackgroundTasks.add_task, BackgroundTask.__call__

    def noting_add(self: BackgroundTasks, *given: Any, **named: Any) -> None:
        add(self, *given, **named)
        if (request := current.get()) is not None:
            request.added[self.tasks[-1]] = maker(sys._getframe(1))  # noqa: SLF001  as above

    async def noting_run(self: BackgroundTask) -> None:
        request = current.get()
        if request is not None and self not in request.added:
            request.ended_early = "the answer had a background task of its own, which takes their place"
        elif request is not None:
            del request.added[self]
        try:
            await run(self)
        except BaseException as error:
            given: object = self.func
            if not callable(given):  # such as what a function returned that was called there
                error.add_note(f"add_task got a {type(given).__name__}, not a function: add_task(function, argument)")
            if request is not None:
                request.ended_early = f"{_name_of(self.func)} came before and failed: {error_text(error)}"
            raise

    BackgroundTasks.add_task = noting_add  # type: ignore[method-assign]  # it still does what it did
    BackgroundTask.__call__ = noting_run  # type: ignore[method-assign]


def _name_of(called: object) -> str:
    name: str = getattr(called, "__qualname__", type(called).__name__)
    return name.replace("<locals>.", "")


def is_kept(file: str, line: int) -> bool:
    """Return whether anything keeps the task created on this line: a bare `create_task()` statement keeps nothing."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return True
    for node in ast.walk(tree):
        if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call):
            continue
        function = node.value.func
        *owner, name = ast.unparse(function).lower().split(".")
        if node.lineno <= line <= (node.end_lineno or 0) and name in FORGETTING and KEEPERS.isdisjoint(owner):
            return False
    return True
