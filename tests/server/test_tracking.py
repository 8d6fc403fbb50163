"""The layer around an application: which requests become tasks, whatever the application does with them."""

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated

import httpx
import pytest
from fastapi import BackgroundTasks, FastAPI, HTTPException, Query
from fastapi.responses import JSONResponse
from starlette.background import BackgroundTask
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from taskdemo_server.contract.events import TaskEvent
from taskdemo_server.contract.modes import MODE_BY_NAME
from taskdemo_server.contract.settings import WorkSettings
from taskdemo_server.journal.file import Journal
from taskdemo_server.tracking import Tracking
from taskdemo_server.work import pools, slow_work, slow_work_async, workplace

Ask = Callable[..., tuple[httpx.Response, list[TaskEvent]]]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(str(tmp_path / "journal"))


@pytest.fixture
def ask(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Return what asks an application, as the page of a mode: the answer, and the events when all has ended."""
    monkeypatch.setattr(workplace, "_here", None)

    def ask(
        mode: str, app: FastAPI, around: Callable[[ASGIApp], ASGIApp] = lambda app: app, **params: str
    ) -> tuple[httpx.Response, list[TaskEvent]]:
        place = workplace.set_up(WorkSettings(mode=mode, duration=0.0), journal, None)
        tracking = Tracking(app, MODE_BY_NAME[mode], journal, place, 10)

        async def get() -> httpx.Response:
            transport = httpx.ASGITransport(around(tracking), raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
                return await client.get("/", params=params)

        answer = asyncio.run(get())
        assert tracking.open == {} or mode == "process"  # There the journal tells what has ended.
        lines = Path(journal.path).read_bytes().splitlines()
        return answer, [event for line in lines if (event := TaskEvent.from_line(line))]

    return ask


def reads_slowly(app: ASGIApp) -> ASGIApp:
    """Put whoever asks behind a connection that is full for a while."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_slowly(message: Message) -> None:
            await asyncio.sleep(0.01)
            await send(message)

        await app(scope, receive, send_slowly)

    return serve


def states(events: list[TaskEvent]) -> list[str]:
    return [event.state for event in events]


def test_a_page_that_refuses_after_adding_a_task_leaves_none(ask: Ask) -> None:
    app = FastAPI()

    @app.get("/")
    async def hello(background_tasks: BackgroundTasks) -> None:
        background_tasks.add_task(slow_work, "never")
        raise HTTPException(418, "I have thought better of it.")

    answer, events = ask("background", app)
    assert answer.status_code == 418
    assert "X-Task-ID" not in answer.headers
    assert events == []


@pytest.mark.parametrize("around", [lambda app: app, reads_slowly], ids=["read at once", "read slowly"])
@pytest.mark.parametrize("mode", ["async", "threadpool", "background"])
def test_what_fastapi_finds_invalid_is_no_task(ask: Ask, mode: str, around: Callable[[ASGIApp], ASGIApp]) -> None:
    app = FastAPI()

    @app.get("/")
    def hello(message: Annotated[str, Query(max_length=3)]) -> None:
        slow_work(message)

    answer, events = ask(mode, app, around, message="long")
    assert answer.status_code == 422
    assert "X-Task-ID" not in answer.headers
    assert events == []


@pytest.mark.parametrize("mode", ["background", "threadpool"])
def test_a_task_whose_request_ends_without_its_work_is_lost(ask: Ask, mode: str) -> None:
    app = FastAPI()

    @app.get("/")
    def hello() -> dict[str, str]:
        return {"message": "Hello, and no work"}

    answer, events = ask(mode, app)
    assert answer.headers["X-Task-ID"] == events[0].id
    assert states(events) == ["accepted", "lost"]
    assert events[1].error == "Its request has ended, and its work was never begun."


def test_while_the_journal_is_stuck_no_request_becomes_a_task(ask: Ask, journal: Journal) -> None:
    journal.stuck = True
    answer, events = ask("background", FastAPI())
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json()["detail"].startswith("The journal cannot be written")
    assert events == []


def test_a_page_that_waits_and_never_works_has_no_task(ask: Ask) -> None:
    app = FastAPI()

    @app.get("/")
    async def hello() -> dict[str, str]:
        return {"message": "Hello, and no work"}

    answer, events = ask("async", app)
    assert "X-Task-ID" not in answer.headers
    assert events == []


def test_a_task_that_its_pool_loses_before_the_page_has_answered_is_accepted_and_lost(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ProcessPoolExecutor, "submit", ProcessPoolExecutor.submit)  # It is put back at the end.
    pools.Futures().follow()
    app = FastAPI()

    with ProcessPoolExecutor(1, get_context("spawn")) as pool:

        @app.get("/")
        async def hello() -> None:
            lost = pool.submit(slow_work, lambda: "cannot be handed over")  # type: ignore[arg-type]  # on purpose
            with pytest.raises(Exception, match=r"pickle|local object"):
                await asyncio.wrap_future(lost)

        answer, events = ask("process", app)
    assert answer.headers["X-Task-ID"] == events[0].id
    assert states(events) == ["accepted", "lost"]
    assert re.search("pickle|local object", str(events[1].error))


def test_work_that_begins_after_an_answer_that_sounds_like_a_refusal_is_a_task_all_the_same(ask: Ask) -> None:
    app = FastAPI()

    @app.get("/")
    async def hello() -> JSONResponse:
        return JSONResponse({"detail": "later"}, 503, background=BackgroundTask(slow_work_async, "m"))

    answer, events = ask("background-async", app)
    assert "X-Task-ID" not in answer.headers
    assert states(events) == ["accepted", "started", "finished"]
