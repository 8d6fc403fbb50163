"""`python -m taskdemo_server.user_app.app SETTINGS_JSON`: the user's own ASGI application under uvicorn, for a while.

The application is served as it is. Around it lies a thin layer which answers a few paths of its own, the bystanders'
among them, and writes every other request into the journal as a task: accepted and started when it arrives, ended when
the application's call returns, which is after the background tasks that hang on the response.
"""

import asyncio
import contextlib
import inspect
import json
import logging.config
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from random import getrandbits
from typing import Any, Final

import anyio.to_thread
import uvicorn
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from taskdemo_server.access import Gate
from taskdemo_server.app import stream
from taskdemo_server.contract.events import VERSION, TaskState, event_line, place_of
from taskdemo_server.contract.import_string import UnusableError, load
from taskdemo_server.contract.settings import OWN_PATHS, Settings, told
from taskdemo_server.contract.stderr import complain
from taskdemo_server.contract.text import shortened
from taskdemo_server.journal.file import Journal
from taskdemo_server.protocol import Protocol
from taskdemo_server.runtime import orphans
from taskdemo_server.runtime.server import LOGGING
from taskdemo_server.user_app.loop_stalls import Holding
from taskdemo_server.work import here, said, task_output

OPTION: Final = "--app"
SAME_MOMENT_S: Final = 0.005
"""A call that returns so soon after its response had nothing left to do."""
_GRACE_S: Final = 2.0
_COULD_NOT_RUN: Final = 2
_OF_WSGI: Final = 2
"""Parameters of a WSGI application: environ and start_response. ASGI has scope, receive and send."""
_BY_PLACE: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Layer:
    """The application, with what taskdemo adds to it."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.open: set[str] = set()
        self.start_failed = ""
        """The last line of what the application said when its start failed."""
        self.draining = asyncio.Event()
        self.holding = Holding(settings.folder or ".")
        self._app = app
        self._settings = settings
        self._journal = Journal(settings.journal)
        self._own = Gate(self._answer, settings)
        self._place = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the lifespan."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, lambda message: self._listen(message, send))
        elif scope["type"] == "http" and scope["path"].startswith(OWN_PATHS):
            await self._own(scope, receive, send)
        elif scope["type"] == "http":
            await self._do(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _do(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand the request on, as a task."""
        task_id = f"{getrandbits(64):016x}"
        header = (b"x-task-id", task_id.encode())
        record = task_output.Printed(f"task {task_id[:8]}", None)
        task_output.current.set(record)
        answering = answered = 0.0

        async def send_on(message: Message) -> None:
            nonlocal answering, answered
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), header]}
            elif not message.get("more_body"):
                answering = time.monotonic()
            await send(message)
            answered = time.monotonic()

        self.open.add(task_id)
        began = time.monotonic()
        self._note(task_id, "accepted", began, message=f"{scope['method']} {scope['path']}")
        self._note(task_id, "started", began)
        state: TaskState = "finished"
        error = None
        try:
            await self._app(scope, receive, send_on)
        except BaseException as raised:
            state = "cancelled" if isinstance(raised, asyncio.CancelledError) else "failed"
            error = said(raised)
            raise
        finally:
            ended = time.monotonic()
            if state == "finished" and answering and ended - answered < SAME_MOMENT_S:
                ended = answering  # Else the caller could have had the answer before the end of what it is the end of.
            self._note(task_id, state, ended, error=error if state == "failed" else None, output=record.end())
            self.open.discard(task_id)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one of the paths that are not the application's."""
        answer: ASGIApp
        match scope["path"].removeprefix(OWN_PATHS):
            case "/ping":
                answer = PlainTextResponse("pong")
            case "/ping/sync":
                await anyio.to_thread.run_sync(_nothing)
                answer = PlainTextResponse("pong")
            case "/health":
                answer = JSONResponse(self._health())
            case "/events":
                answer = StreamingResponse(
                    stream(self._journal, _offset(scope), self.draining, self.open), media_type="text/event-stream"
                )
            case _:
                answer = PlainTextResponse("Not Found", 404)
        await answer(scope, receive, send)

    async def _listen(self, message: Message, send: Send) -> None:
        if message["type"] == "lifespan.startup.failed":
            self.start_failed = (message.get("message", "").strip().splitlines() or ["it did not say why"])[-1]
        await send(message)

    def _health(self) -> dict[str, Any]:
        return {
            "server": "taskdemo",
            "version": VERSION,
            "mode": None,
            "app": self._settings.app,
            "pid": os.getpid(),
            "journal_offset": self._journal.size(),
            "clock": time.monotonic(),
            "held": self.holding.found(),
        }

    def _note(
        self,
        task_id: str,
        state: TaskState,
        clock: float,
        message: str | None = None,
        error: str | None = None,
        output: str | None = None,
    ) -> None:
        if not self._place:
            self._place = place_of("app", here())
        self._journal.write(
            event_line(task_id, state, time.time(), clock, self._place, message, error, output), time.monotonic()
        )


class Server(uvicorn.Server):
    """uvicorn's server, telling when it serves."""

    def __init__(self, layer: Layer, on_ready: Callable[[], None]) -> None:
        self._layer = layer
        self._on_ready = on_ready
        super().__init__(
            uvicorn.Config(
                layer, http=Protocol, interface="asgi3", log_level="error", access_log=False, log_config=LOGGING
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, watch the loop, and say that it serves."""
        await super().startup(sockets)
        if self.started:
            self._layer.holding.watch(asyncio.get_running_loop())
            self._on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let those who follow the journal go, and then the application."""
        self._layer.draining.set()
        await super().shutdown(sockets)


def main() -> int:
    """Serve until standard input ends; return the exit code."""
    try:
        settings = Settings.from_json(told(sys.argv))
    except (ValueError, TypeError) as error:
        return _refuse(f"python -m taskdemo_server.user_app.app takes one argument, its settings as JSON ({error}).")
    task_output.tell_apart()
    logging.config.dictConfig(LOGGING)
    try:
        app = _application(load(OPTION, str(settings.app), settings.folder), str(settings.app))
    except UnusableError as error:
        return _refuse(str(error))
    listener = socket.create_server((settings.host, settings.port), backlog=2048)
    layer = Layer(app, settings)
    server = Server(layer, lambda: _announce(settings, listener))
    threading.Thread(target=_end_with_input, args=(server,), name="lifeline", daemon=True).start()
    with contextlib.suppress(SystemExit):  # uvicorn's way to say that the application's start has failed
        server.run([listener])
    orphans.end_group()
    if layer.start_failed:
        return _refuse(f"{OPTION} {settings.app}: its start failed with {shortened(layer.start_failed, 200)}")
    return 0 if server.started else 1


def _application(found: Any, name: str) -> ASGIApp:
    """Return the application that was found under a name, made first where a function makes it.

    Raises UnusableError with what it is instead.
    """
    if inspect.isfunction(found) and not inspect.signature(found).parameters:
        try:
            found = found()
        except Exception as error:
            raise UnusableError(f"{OPTION} {name}: it failed with {shortened(said(error), 200)}") from error
        if inspect.iscoroutine(found):
            found.close()
            raise UnusableError(
                f"{OPTION} {name}: that is an async function; name an ASGI application, or what makes one"
            )
    if not callable(found):
        raise UnusableError(f"{OPTION} {name}: that is {shortened(repr(found), 60)}, and no ASGI application")
    names = _parameters(found)
    if len(names) == _OF_WSGI:
        raise UnusableError(
            f"{OPTION} {name}: it takes {' and '.join(names)}, as WSGI applications do;"
            " name an ASGI application, or wrap it (a2wsgi)"
        )
    application: ASGIApp = found
    return application


def _parameters(found: Callable[..., object]) -> list[str]:
    """Return what a callable is given by place; nothing where it does not say."""
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return []
    return [one.name for one in parameters if one.kind in _BY_PLACE]


def _end_with_input(server: Server) -> None:
    """Let the application end in order when standard input does, and at once where that takes too long."""
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    server.should_exit = True
    time.sleep(_GRACE_S)
    orphans.end(1)


def _announce(settings: Settings, listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    path = Path(str(settings.announce))
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(
        json.dumps({"url": f"http://{settings.host}:{port}", "port": port, "pid": os.getpid(), "token": None})
    )
    draft.replace(path)


def _offset(scope: Scope) -> int:
    given = dict(scope["headers"]).get(b"last-event-id", b"0")
    return int(given) if given.isdigit() and len(given) < 16 else 0


def _nothing() -> None:
    pass


def _refuse(sentence: str) -> int:
    complain(sentence)
    return _COULD_NOT_RUN


if __name__ == "__main__":
    sys.exit(main())
