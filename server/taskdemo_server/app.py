"""The application: `GET /` in the chosen mode, and around it what lets one see what happens to its tasks."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final, Literal

import anyio.to_thread
from fastapi import FastAPI, Header, HTTPException, Query, Request, Response
from fastapi.responses import PlainTextResponse, StreamingResponse
from typing_extensions import TypedDict  # pydantic wants this one on Python 3.11

from taskdemo_server.accepting import PARAMETERS, RESPONSES, accepting
from taskdemo_server.broker import shown
from taskdemo_server.contract.events import ENDED, VERSION
from taskdemo_server.contract.modes import MODE_BY_NAME
from taskdemo_server.contract.settings import BUILT_IN_WORKS, Settings
from taskdemo_server.contract.text import escape
from taskdemo_server.journal.file import Journal
from taskdemo_server.journal.index import Books, TaskRecord
from taskdemo_server.modes import ENDPOINTS
from taskdemo_server.modes.endpoint import Endpoint
from taskdemo_server.work import Work, current_task

_POLL_S = 0.05
_HEARTBEAT_S = 10.0


class OwnFunction(TypedDict):
    """How the user's own work is called."""

    is_async: bool
    takes_message: bool


class Health(TypedDict):
    """What this server is."""

    server: Literal["taskdemo"]
    version: str
    mode: str
    work: str
    own_work: OwnFunction | None
    """None for a work that comes along."""
    duration_s: float
    threads: int
    workers: int
    pid: int
    broker: str | None
    """The broker's URL without its password, in mode celery: for `celery -A taskdemo_server.celery_app -b URL`."""
    journal: str
    journal_offset: int
    """Bytes in the journal now: what to resume `/events` from in order to see only what comes next."""
    clock: float
    """The host's monotonic clock now, in seconds: the one that events carry."""


class Task(TypedDict):
    """A task as the journal tells it; times are Unix seconds."""

    id: str
    state: str
    mode: str
    accepted_at: float | None
    started_at: float | None
    ended_at: float | None
    where: str | None
    message: str | None
    error: str | None


class Refusal(TypedDict):
    """Why not."""

    detail: str


REFUSED: Final[dict[int | str, dict[str, Any]]] = {
    403: {"model": Refusal, "description": "The server is not known under that name, or another page asks."}
}
TOKEN_NEEDED: Final[dict[int | str, dict[str, Any]]] = {
    401: {"model": Refusal, "description": "The server's token is missing, or it is another one."}
}
FAILED: Final[dict[int | str, dict[str, Any]]] = {
    500: {"description": "The work has failed.", "content": {"text/plain": {"schema": {"type": "string"}}}}
}


def create_app(settings: Settings, log: Callable[[str], None] | None = None) -> FastAPI:
    """Return the application; `app.state.work` is its Work, and setting `app.state.draining` ends open streams.

    Raises KeyError for an unknown mode, UnusableError for a work that it cannot do, OSError where the journal cannot be
    made.
    """
    journal = Journal(settings.journal)
    work = Work(settings, journal, log)
    endpoint = ENDPOINTS[settings.mode](work)
    mode = MODE_BY_NAME[settings.mode]

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = settings.threads
        if endpoint.start is not None:
            await endpoint.start()
        yield
        if endpoint.stop is not None:
            await endpoint.stop()
        journal.close()

    app = FastAPI(
        title=f"taskdemo: {mode.name}",
        description=mode.expect,
        version=VERSION,
        lifespan=lifespan,
        responses=REFUSED if settings.token is None else REFUSED | TOKEN_NEEDED,
    )
    app.state.work = work
    app.state.draining = asyncio.Event()
    app.get(
        "/",
        summary=f"Do the slow work: {mode.endpoint}",
        responses=RESPONSES | FAILED if settings.work not in BUILT_IN_WORKS and not mode.answers_first else RESPONSES,
        openapi_extra=PARAMETERS,
    )(accepting(endpoint, work))

    @app.exception_handler(Exception)
    async def failed(_request: Request, _error: Exception) -> Response:
        # As FastAPI has it without us, but naming the task whose work has raised.
        task_id = current_task.get(None)
        return PlainTextResponse("Internal Server Error", 500, {"X-Task-ID": task_id} if task_id else None)

    _add_bystanders(app)
    _add_books(app, settings, journal, endpoint)
    if settings.lab is not None:
        from taskdemo_server.limits.endpoints import add_lab

        add_lab(app, settings, endpoint)
    return app


def _add_bystanders(app: FastAPI) -> None:
    @app.get("/ping", summary="Answer at once, on the event loop")
    async def ping() -> dict[str, str]:
        return {"message": "pong"}

    @app.get("/ping/sync", summary="Answer at once, from a worker thread")
    def ping_sync() -> dict[str, str]:
        return {"message": "pong"}


def _add_books(app: FastAPI, settings: Settings, journal: Journal, endpoint: Endpoint) -> None:
    books = Books(journal)
    own = app.state.work.own
    unknown: dict[int | str, dict[str, Any]] = {404: {"model": Refusal, "description": "There is no such task."}}

    async def record_of(task_id: str) -> TaskRecord:
        # In a thread that is not one of the works': the journal may be long, and their threads busy.
        await asyncio.to_thread(books.update)
        record = await asyncio.to_thread(books.find, task_id)
        if record is None:
            raise HTTPException(404, "There is no such task, or it ended long ago.")
        return record

    @app.get("/health", summary="Tell what this server is")
    async def health() -> Health:
        return {
            "server": "taskdemo",
            "version": VERSION,
            "mode": settings.mode,
            "work": settings.work,
            "own_work": None if own is None else {"is_async": own.is_async, "takes_message": own.takes_message},
            "duration_s": settings.duration,
            "threads": settings.threads,
            "workers": settings.workers,
            "pid": os.getpid(),
            "broker": shown(settings.broker) if settings.broker else None,
            "journal": settings.journal,
            "journal_offset": journal.size(),
            "clock": time.monotonic(),
        }

    @app.get(
        "/tasks",
        summary="List the tasks, newest last: all that have not ended, and the last that have",
        responses={
            200: {
                "headers": {
                    "X-Total-Count": {"description": "All tasks there were.", "schema": {"type": "integer"}},
                    "X-Forgotten-Count": {
                        "description": "How many of them, the first, are listed no more.",
                        "schema": {"type": "integer"},
                    },
                }
            }
        },
    )
    async def tasks(
        response: Response,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
        offset: Annotated[int, Query(ge=0, le=2**53)] = 0,
    ) -> list[Task]:
        await asyncio.to_thread(books.update)
        response.headers["X-Total-Count"] = str(books.total)
        response.headers["X-Forgotten-Count"] = str(books.forgotten)
        return [_shown(record) for record in await asyncio.to_thread(books.page, offset, limit)]

    @app.get("/tasks/{task_id}", summary="Show one task", responses=unknown)
    async def task(task_id: str) -> Task:
        return _shown(await record_of(task_id))

    @app.delete(
        "/tasks/{task_id}",
        summary="Cancel a task, where the mode can",
        responses=unknown
        | {409: {"model": Refusal, "description": "This mode, or the task's state, does not allow it."}},
    )
    async def cancel(task_id: str) -> Task:
        record = await record_of(task_id)
        if record.state in ENDED:
            raise HTTPException(409, f"The task has ended: it is {record.state}.")
        if endpoint.cancel is None or not endpoint.cancel(task_id):
            raise HTTPException(409, endpoint.cannot_cancel)
        return _shown(await record_of(task_id))

    @app.get(
        "/events",
        summary="Follow the journal as server-sent events",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    )
    async def events(
        last_event_id: Annotated[int, Query(ge=0, le=2**53, description="Begin after this event.")] = 0,
        resume: Annotated[int | None, Header(alias="Last-Event-ID", ge=0, le=2**53)] = None,
    ) -> StreamingResponse:
        offset = last_event_id if resume is None else resume
        return StreamingResponse(
            stream(journal, offset, app.state.draining, app.state.work.open),
            media_type="text/event-stream",
            headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
        )


async def stream(journal: Journal, offset: int, draining: asyncio.Event, running: set[str]) -> AsyncIterator[bytes]:
    """Yield the journal from `offset` on as server-sent events, many in one piece, each with the offset after it.

    An event of type `trouble` says why the journal cannot be written, and, empty, that it can be again. Ends when the
    server drains and its last task, of those `running`, has ended, so that it never holds up the end.
    """
    quiet_since = time.monotonic()
    told = ""
    yield b": the journal from here on\n\n"
    while True:
        if journal.trouble != told:
            told = journal.trouble
            yield b"event: trouble\ndata: %b\n\n" % escape(told).encode()
        last = draining.is_set() and not running
        lines, offset_after = journal.read(offset)
        if lines:
            if b"\r" in lines:  # Never of our writing; it would break the framing.
                lines = lines.replace(b"\r", b" ")
            pieces = []
            offset = offset_after - len(lines)  # What was given back to the disk before them is skipped.
            for line in lines.splitlines(keepends=True):
                offset += len(line)
                pieces.append(b"id: %d\ndata: %b\n" % (offset, line))
            yield b"".join(pieces)
            quiet_since = time.monotonic()
        elif last:
            return
        else:
            if (now := time.monotonic()) - quiet_since >= _HEARTBEAT_S:
                yield b": still here\n\n"
                quiet_since = now
            await asyncio.sleep(_POLL_S)
        offset = offset_after


def _text(text: str | None) -> str | None:
    """Return a text as it is, but for lone surrogates: exceptions may speak of names that are no UTF-8."""
    return text if text is None else text.encode(errors="backslashreplace").decode()


def _shown(record: TaskRecord) -> Task:
    return {
        "id": _text(record.id) or "",
        "state": record.state,
        "mode": _text(record.mode) or "",
        "accepted_at": record.accepted_at,
        "started_at": record.started_at,
        "ended_at": record.ended_at,
        "where": _text(record.where),
        "message": _text(record.message),
        "error": _text(record.error),
    }
