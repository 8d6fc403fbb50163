"""Whose code runs, and what a request of the user's own application leaves behind."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import wraps
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from taskdemo_cli.recording.sightings import fold
from taskdemo_server.contract.settings import WorkSettings
from taskdemo_server.contract.sightings import Look
from taskdemo_server.journal.file import Journal
from taskdemo_server.user_app import open_requests
from taskdemo_server.user_app.open_requests import (
    WEBSOCKET,
    Request,
    Requests,
    is_kept,
)
from taskdemo_server.user_app.stacks import Reader
from taskdemo_server.work.workplace import Workplace


@pytest.mark.parametrize(
    ("line", "kept"),
    [
        ("asyncio.create_task(mail())", False),
        ("asyncio.ensure_future(mail())", False),
        ("asyncio.get_running_loop().create_task(mail())", False),
        ("asyncio.create_task(\n    mail()\n)", False),
        ("task = asyncio.create_task(mail())", True),
        ("tasks.add(asyncio.create_task(mail()))", True),
        ("tg.create_task(mail())", True),
        ("self.task_group.create_task(mail())", True),
        ("spawn(mail())", True),
        ("asyncio.create_task(", True),  # no Python
    ],
)
def test_a_task_is_kept_unless_its_creation_is_a_statement_of_its_own(tmp_path: Path, line: str, kept: bool) -> None:
    file = tmp_path / "main.py"
    file.write_text(f"\n{line}\n")
    assert is_kept(str(file), 2) is kept


async def ask(app: Requests, path: str) -> None:
    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(_message: Message) -> None: ...

    await app({"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}, receive, send)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def around(journal: Path) -> Callable[[ASGIApp], Requests]:
    """Return what puts the layer around an application of which this file is part."""
    written = Journal(str(journal))
    place = Workplace(WorkSettings(mode="app"), None, None)
    return lambda site: Requests(site, written, place, Reader(str(Path(__file__).parent)))


@pytest.mark.parametrize(("later_s", "is_left"), [(0.01, False), (0.1, True)])
def test_a_call_that_returns_a_moment_after_its_answer_ends_with_that(
    around: Callable[[ASGIApp], Requests], monkeypatch: pytest.MonkeyPatch, later_s: float, is_left: bool
) -> None:
    app, place = around(fails), MagicMock()
    monkeypatch.setattr(app, "workplace", place)
    monkeypatch.setattr(open_requests, "time", MagicMock(**{"monotonic.return_value": 5.0 + later_s}))

    async def end() -> None:
        request = Request()
        request.answered = request.sent = 5.0
        app.open[request.id] = request
        app._end(request)

    asyncio.run(end())
    assert place.note.call_args.kwargs["clock"] == (5.0 + later_s if is_left else 5.0)


def test_the_first_refusal_of_a_path_is_journaled_with_what_it_says(
    around: Callable[[ASGIApp], Requests], journal: Path
) -> None:
    async def site(scope: Scope, receive: Receive, send: Send) -> None:
        status = 200 if scope["path"] == "/fine" else 307
        headers = [(b"Location", b"/orders/")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"go \x1b there"})

    app = around(site)
    for path in ("/fine", "/orders", "/orders", "/else"):
        asyncio.run(ask(app, path))
    assert not app.open
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [(line["status"], line["path"], line["location"]) for line in lines] == [
        (307, "/orders", "/orders/"),
        (307, "/else", "/orders/"),
    ]
    assert lines[0]["detail"] == "go \\x1b there"


COMPILED: dict[str, Callable[[], None]] = {}
exec(compile("def load(): raise RuntimeError('no database\\n(see elsewhere)')", "uvloop/loop.pyx", "exec"), COMPILED)
"""What looks as if it was compiled to C: its file has no folder."""


async def fails(*_: object) -> None:
    COMPILED["load"]()


async def fails_in_a_group(*_: object) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(fails())


@pytest.mark.parametrize(
    ("app", "group"),
    [(fails, ""), (fails_in_a_group, "ExceptionGroup: unhandled errors in a TaskGroup (1 sub-exception): ")],
)
def test_a_failed_request_is_journaled_with_the_line_of_the_application_that_raised(
    app: ASGIApp, group: str, tmp_path: Path
) -> None:
    lines: list[bytes] = []
    journal, place = Journal(str(tmp_path / "journal")), Workplace(WorkSettings(mode="app"), lines.append, None)
    with pytest.raises((RuntimeError, ExceptionGroup)):
        asyncio.run(ask(Requests(app, journal, place, Reader(str(tmp_path))), "/"))
    where = f"test_open_requests.py:{fails.__code__.co_firstlineno + 1}"
    assert json.loads(lines[-1])["error"] == f"{group}RuntimeError: no database (see elsewhere) ({where})"


def test_a_startup_that_failed_is_known_by_its_whole_error_and_its_line(around: Callable[[ASGIApp], Requests]) -> None:
    async def receive() -> Message:
        return {"type": "lifespan.startup"}

    async def send(_message: Message) -> None: ...

    app = around(Starlette(lifespan=asynccontextmanager(load_settings)))
    with pytest.raises(RuntimeError):
        asyncio.run(run(app({"type": "lifespan"}, receive, send)))
    line = no_settings.__code__.co_firstlineno + 1
    assert app.start_failed == f"RuntimeError: no settings (see elsewhere) (test_open_requests.py:{line})"


async def run(call: Awaitable[None]) -> None:
    await call


async def load_settings(app: object) -> AsyncIterator[None]:
    no_settings(app)
    yield


def no_settings(_app: object) -> None:
    raise RuntimeError("no settings\n(see elsewhere)")


def test_a_task_belongs_to_its_request_and_once_that_is_over_to_itself(
    around: Callable[[ASGIApp], Requests], journal: Path
) -> None:
    whose: list[str] = []
    tasks: list[asyncio.Task[None]] = []

    async def look_and_fail() -> None:
        whose.append(app.whose(asyncio.current_task()))
        await asyncio.sleep(0.05)
        whose.append(app.whose(asyncio.current_task()))
        raise OSError("caf\udce9.txt cannot be read")

    async def site(scope: Scope, receive: Receive, send: Send) -> None:
        tasks.append(asyncio.create_task(look_and_fail()))
        await asyncio.sleep(0)

    async def run() -> None:
        app.follow(asyncio.get_running_loop())
        await ask(app, "/")
        await asyncio.wait(tasks)
        app.tell_left()
        whose.append(app.whose(asyncio.current_task()))

    app = around(site)
    asyncio.run(run())
    assert whose == ["request", "task", "application"]
    (task,) = fold(journal.read_bytes().splitlines()).left
    assert task.call.endswith("look_and_fail")
    assert (task.kept, task.place.split(":")[0]) == (True, "test_open_requests.py")
    # Of half a character, which is none in UTF-8, its escape is told.
    assert (task.state, task.error) == ("failed", "OSError: caf\\udce9.txt cannot be read")


def test_of_the_endpoint_that_was_asked_last_the_first_line_is_known_if_it_runs_in_a_thread(
    around: Callable[[ASGIApp], Requests],
) -> None:
    def compute() -> None: ...

    async def wait() -> None: ...

    async def site(scope: Scope, receive: Receive, send: Send) -> None:
        scope["endpoint"] = asked.pop()

    app = around(site)
    begin = f"test_open_requests.py:{compute.__code__.co_firstlineno} in compute (or a dependency of it)"
    assert app.asked() == Look("")
    asked: list[Any] = []
    wrapped = wraps(compute)(lambda: None)
    for endpoint, caller in ((compute, begin), (wait, None), (wrapped, begin), (asyncio.run, None), (None, None)):
        asked.append(endpoint)
        asyncio.run(ask(app, "/"))
        assert app.asked() == Look("", caller=caller, within="compute" if caller else None)


def test_a_path_that_is_for_websockets_alone_is_told_as_that(
    around: Callable[[ASGIApp], Requests], journal: Path
) -> None:
    site, router, mounted = FastAPI(), APIRouter(prefix="/rooms"), FastAPI()

    @mounted.websocket("/talk")
    @router.websocket("/{name}")
    async def talk(socket: WebSocket, name: str = "") -> None: ...

    site.include_router(router)
    site.mount("/mounted", mounted)
    for path in ("/rooms/a", "/mounted/talk", "/mounted/else", "/rooms"):
        asyncio.run(ask(around(site), path))
    said = {one.path: one.detail for one in fold(journal.read_bytes().splitlines()).answers}
    assert [path for path, detail in said.items() if detail == WEBSOCKET] == ["/rooms/a", "/mounted/talk"]
    assert said["/rooms"] == '{"detail":"Not Found"}'
