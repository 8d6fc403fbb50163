"""The requests that the user's own application has in hand, what it answered to them, and the asyncio tasks they leave.

An ASGI layer right around the application, a task factory for its event loop, and a note of what is added to
BackgroundTasks. What is known goes into the journal as lines of their own beside the tasks' (`answer`, `left`,
`never_ran`); what the application does stays as it is.
"""

import ast
import asyncio
import inspect
import itertools
import json
import linecache
import sys
import time
import weakref
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from typing import Any, Final

from starlette.background import BackgroundTask, BackgroundTasks
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from taskdemo_server.contract.text import error_text, shortened
from taskdemo_server.journal.file import Journal
from taskdemo_server.user_app.stacks import ASYNC, Look, Reader, function_of

MOST_ANSWERS: Final = 1000
"""Answers of different kinds that are told: an application may be asked for any number of paths."""
KEPT_BODY: Final = 500
"""Bytes of an answer that refuses a request: they say why."""
SAME_MOMENT_S: Final = 0.02
"""A task that ends so soon after its request did not outlive it."""
FORGETTING: Final = frozenset({"create_task", "ensure_future"})
KEEPERS: Final = frozenset({"tg", "group", "task_group", "taskgroup", "nursery"})


class Request:
    """One request while the application has it in hand."""

    __slots__ = ("__weakref__", "added", "answered", "ended_early", "over", "status", "task")

    def __init__(self) -> None:
        self.task: asyncio.Task[Any] | None = asyncio.current_task()
        self.answered = 0.0
        """When the last piece of the answer went out."""
        self.over = 0.0
        """When the application's call returned."""
        self.status = 0
        """Of the answer; 0 before there is one."""
        self.added: dict[BackgroundTask, tuple[str, int, str] | None] = {}
        """What was added to its BackgroundTasks and has not begun, with the file, line and function that did that."""
        self.ended_early: str | None = None
        """Why what was added may never begin, as far as a background task that did begin tells."""


current: Final[ContextVar[Request | None]] = ContextVar("request", default=None)
"""The request for which this code runs; asyncio tasks and worker threads that it starts inherit it."""


class Child:
    """An asyncio task that was created while a request was handled."""

    __slots__ = ("created", "ended", "error", "name", "number", "request", "state", "task", "told")

    def __init__(
        self, number: int, request: Request, task: "asyncio.Task[Any]", name: str, created: tuple[str, int, str] | None
    ) -> None:
        self.number = number
        self.request = request
        self.name = name
        self.created = created
        """The file, line and function of the application; None where a framework has created it for itself."""
        self.task = weakref.ref(task, self._gone)
        self.state = "running"
        self.error: str | None = None
        self.ended = 0.0
        self.told = ""
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[Any]") -> None:
        self.ended = time.monotonic()
        if task.cancelled():
            self.state = "cancelled"
        elif (error := task.exception()) is not None:
            self.state, self.error = "failed", error_text(error)
        else:
            self.state = "finished"

    def _gone(self, _reference: object) -> None:
        if not self.ended:  # The garbage collector took it while it waited: nobody had kept it.
            self.ended, self.state = time.monotonic(), "lost"


class Requests:
    """The layer around the application `app`; what it sees goes into the journal."""

    def __init__(self, app: ASGIApp, journal: Journal, reader: Reader) -> None:
        self.open: dict[int, Request] = {}
        self.begun = 0
        """How many there have been so far."""
        self._latest: Scope = {}
        self._app = app
        self._journal = journal
        self._reader = reader
        self._answers: set[tuple[str, int]] = set()
        self._children: dict[int, Child] = {}
        self._child_of: weakref.WeakKeyDictionary[asyncio.Task[Any], Child] = weakref.WeakKeyDictionary()
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request to the application, and note what it answers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request()
        self.open[id(request)] = request
        self.begun += 1
        self._latest = scope
        current.set(request)
        refused: dict[str, Any] = {}

        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                request.status = int(message["status"])
                self._note(scope, message, refused)
            elif message["type"] == "http.response.body":
                if refused:
                    self._tell(refused, message.get("body", b""))
                if not message.get("more_body"):
                    request.answered = time.monotonic()
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            request.over = time.monotonic()
            self.open.pop(id(request), None)
            self._tell_never_ran(request)

    def follow(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on, note which asyncio tasks are created while a request is handled."""
        make: Callable[..., Any] | None = loop.get_task_factory()

        def factory(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **given: Any) -> Any:
            task = make(loop, coroutine, **given) if make else asyncio.Task(coroutine, loop=loop, **given)
            context: Context | None = given.get("context")
            request = context.get(current) if context is not None else current.get()
            if request is not None and isinstance(task, asyncio.Task):
                name = getattr(coroutine, "__qualname__", type(coroutine).__name__).replace("<locals>.", "")
                child = Child(
                    next(self._numbers),
                    request,
                    task,
                    name,
                    self._reader.maker(sys._getframe(1)),  # noqa: SLF001
                )
                self._children[child.number] = child
                self._child_of[task] = child
            return task

        loop.set_task_factory(factory)  # type: ignore[arg-type]  # its arguments differ with Python's version

    def whose(self, task: "asyncio.Task[Any] | None") -> str:
        """Return whose an asyncio task is: a `request`'s, a `task`'s that one left behind, or the `application`'s."""
        child = self._child_of.get(task) if task is not None else None
        if child is None:
            return "application"
        return "task" if child.request.over else "request"

    def asked(self) -> Look:
        """Return what a thread may have done that nobody has seen: nothing but the endpoint that was asked last.

        In its first line, where that runs in a thread.
        """
        endpoint = self._latest.get("endpoint")  # which the router writes there
        code = getattr(inspect.unwrap(endpoint) if callable(endpoint) else None, "__code__", None)
        if code is None or code.co_flags & ASYNC or (file := self._reader.own(code.co_filename)) is None:
            return Look("")
        caller = f"{file}:{code.co_firstlineno} in {function_of(code)} (or a dependency of it)"
        return Look("", caller=caller)

    def tasks(self) -> "list[list[asyncio.Task[Any]]]":
        """Return the tasks of each request that is open, the newest first: what that one waits for, the others do."""
        of = {key: [request.task] for key, request in list(self.open.items()) if request.task is not None}
        for child in list(self._children.values()):
            if id(child.request) in of and not child.ended and (task := child.task()) is not None:
                of[id(child.request)].insert(0, task)
        return list(of.values())

    def tell_left(self) -> None:
        """Journal the tasks that have outlived their request, and how they have ended since; forget the others."""
        now = time.monotonic()
        for child in list(self._children.values()):
            over = child.request.over
            outlived = over and (child.ended or now) - over > SAME_MOMENT_S
            if child.created is not None and (outlived or child.state == "failed") and child.told != child.state:
                file, line, function = child.created
                kept = is_kept(file, line)
                if outlived or not kept:
                    child.told = child.state
                    self._write({
                        "left": child.number, "call": child.name, "kept": kept, "state": child.state,
                        "place": f"{self._reader.own(file)}:{line} in {function}", "error": child.error,
                        "after_s": round(max((child.ended or now) - (child.request.answered or over), 0.0), 6),
                    })  # fmt: skip
            if child.ended:
                self._children.pop(child.number, None)

    def _tell_never_ran(self, request: Request) -> None:
        """Journal what the application had added to BackgroundTasks, and what never began, as far as is known why."""
        because = request.ended_early or (f"the answer was {request.status}" if request.status >= 400 else None)
        for task, maker in request.added.items():
            place = None if maker is None else f"{self._reader.own(maker[0])}:{maker[1]} in {maker[2]}"
            self._write({"never_ran": _name_of(task), "place": place, "status": request.status, "because": because})
        request.added.clear()

    def _note(self, scope: Scope, message: Message, refused: dict[str, Any]) -> None:
        status = int(message["status"])
        key = f"{scope['method']} {scope['path']}", status
        if 200 <= status < 300 or key in self._answers or len(self._answers) >= MOST_ANSWERS:
            return
        self._answers.add(key)
        headers = {bytes(name).lower(): bytes(value).decode("latin-1") for name, value in message.get("headers", ())}
        refused.update(
            answer=status,
            path=scope["path"],
            location=headers.get(b"location"),
            allow=headers.get(b"allow"),
            authenticate=headers.get(b"www-authenticate"),
        )

    def _tell(self, refused: dict[str, Any], body: bytes) -> None:
        self._write({**refused, "detail": shortened(body[:KEPT_BODY].decode(errors="replace"), KEPT_BODY)})
        refused.clear()

    def _write(self, line: dict[str, Any]) -> None:
        self._journal.write(json.dumps({**line, "clock": time.monotonic()}).encode() + b"\n")


def follow_background_tasks(reader: Reader) -> None:
    """From now on, note what a request adds to Starlette's BackgroundTasks, and take off the note as it begins.

    Starlette hands that list to nobody who could be asked: what an exception drops is gone with the endpoint's frame.
    """
    add, run = BackgroundTasks.add_task, BackgroundTask.__call__

    def noting_add(self: BackgroundTasks, *given: Any, **named: Any) -> None:
        add(self, *given, **named)
        if (request := current.get()) is not None:
            request.added[self.tasks[-1]] = reader.maker(sys._getframe(1))  # noqa: SLF001  as above

    async def noting_run(self: BackgroundTask) -> None:
        request = current.get()
        if request is not None and self not in request.added:
            request.ended_early = "the answer had a background task of its own, which takes their place"
        elif request is not None:
            del request.added[self]
        try:
            await run(self)
        except BaseException as error:
            if request is not None:
                request.ended_early = f"{_name_of(self)} came before and failed: {error_text(error)}"
            raise

    BackgroundTasks.add_task = noting_add  # type: ignore[method-assign]  # nothing of what it does is changed
    BackgroundTask.__call__ = noting_run  # type: ignore[method-assign]


def _name_of(task: BackgroundTask) -> str:
    return getattr(task.func, "__qualname__", type(task.func).__name__).replace("<locals>.", "")


def is_kept(file: str, line: int) -> bool:
    """Tell whether what is created on this line of a file is kept by anybody: a statement of its own keeps nothing."""
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
