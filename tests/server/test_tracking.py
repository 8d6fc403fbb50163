"""The layer around an application: which requests become tasks, whatever the application does with them."""

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import BackgroundTasks, FastAPI, HTTPException, Query
from fastapi.responses import JSONResponse
from starlette.background import BackgroundTask
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from servers import read_events
from taskdemo_server.contract.events import TaskEvent
from taskdemo_server.contract.modes import MODE_BY_NAME
from taskdemo_server.contract.settings import WorkSettings
from taskdemo_server.journal.file import Journal
from taskdemo_server.tracking import PageTracking, Tracking
from taskdemo_server.user_app.open_requests import Requests
from taskdemo_server.user_app.stacks import Reader
from taskdemo_server.work import pools, slow_work, slow_work_async, workplace

Ask = Callable[..., tuple[httpx.Response, list[TaskEvent]]]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(str(tmp_path / "journal"))


@pytest.fixture
def ask(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Return what asks an application, as the page of a mode or the user's own: the answer, and what was journaled."""
    monkeypatch.setattr(workplace, "_here", None)

    def ask(
        mode: str, app: FastAPI, around: Callable[[ASGIApp], ASGIApp] = lambda app: app, **params: str
    ) -> tuple[httpx.Response, list[TaskEvent]]:
        place = workplace.set_up(WorkSettings(mode=mode, duration=0.0), journal.write, None)
        tracking: Tracking[Any] = (
            Requests(app, journal, place, Reader("."))
            if mode == "app"
            else PageTracking(app, MODE_BY_NAME[mode], journal, place, 10)
        )

        async def get() -> httpx.Response:
            transport = httpx.ASGITransport(around(tracking), raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://page") as client:
                return await client.get("/", params=params)

        answer = asyncio.run(get())
        assert tracking.open == {} or mode == "process"  # There the journal tells what has ended.
        return answer, read_events(journal.path)

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


async def refuses(background_tasks: BackgroundTasks) -> None:
    background_tasks.add_task(slow_work, "never")
    raise HTTPException(418, "I have thought better of it.")


def validates(message: Annotated[str, Query(max_length=3)]) -> None:
    slow_work(message)


def forgets() -> dict[str, str]:
    return {"message": "Hello, and no work"}


async def forgets_to_await() -> dict[str, str]:
    return forgets()


async def sounds_like_a_refusal() -> JSONResponse:
    return JSONResponse({"detail": "later"}, 503, background=BackgroundTask(slow_work_async, "m"))


@pytest.mark.parametrize("around", [lambda app: app, reads_slowly], ids=["read at once", "read slowly"])
@pytest.mark.parametrize(
    ("mode", "endpoint", "status", "left"),
    [
        ("background", refuses, 418, []),
        ("async", validates, 422, []),
        ("threadpool", validates, 422, []),
        ("background", validates, 422, []),
        ("async", forgets_to_await, 200, []),
        ("threadpool", forgets, 200, ["accepted", "lost"]),
        ("background", forgets, 200, ["accepted", "lost"]),
        ("background-async", sounds_like_a_refusal, 503, ["accepted", "started", "finished"]),
    ],
)
def test_a_request_is_a_task_once_it_was_found_valid_and_its_work_or_its_answer_has_begun(
    ask: Ask, mode: str, endpoint: Any, status: int, left: list[str], around: Callable[[ASGIApp], ASGIApp]
) -> None:
    app = FastAPI()
    app.get("/")(endpoint)
    answer, events = ask(mode, app, around, message="long")
    assert answer.status_code == status
    assert states(events) == left
    assert answer.headers.get("X-Task-ID") == (events[0].id if status == 200 and events else None)
    if left[1:] == ["lost"]:
        assert events[1].error == "Its request has ended, and its work was never begun."


def test_while_the_journal_is_stuck_no_request_becomes_a_task(ask: Ask, journal: Journal) -> None:
    journal.stuck = True
    answer, events = ask("background", FastAPI())
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json()["detail"].startswith("The journal cannot be written")
    assert events == []


def test_a_task_that_its_pool_loses_before_the_page_has_answered_is_accepted_and_lost(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ProcessPoolExecutor, "submit", ProcessPoolExecutor.submit)  # It is put back at the end.
    pools.follow_submits()
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


async def works_after_the_answer(background_tasks: BackgroundTasks) -> None:
    background_tasks.add_task(asyncio.sleep, 0.05)


async def raises() -> None:
    raise ValueError("no \x1b[31m")


@pytest.mark.parametrize(
    ("endpoint", "status", "state", "error"),
    [
        (works_after_the_answer, 200, "finished", None),
        (raises, 500, "failed", f"ValueError: no \x1b[31m (test_tracking.py:{raises.__code__.co_firstlineno + 1})"),
    ],
)
def test_a_request_to_the_users_own_application_is_a_task_that_ends_with_its_call(
    ask: Ask, endpoint: Any, status: int, state: str, error: str | None
) -> None:
    app = FastAPI()
    app.get("/")(endpoint)
    answer, events = ask("app", app)
    assert answer.status_code == status
    assert states(events) == ["accepted", "started", state]
    assert (events[0].message, events[2].error) == ("GET /", error)
    if status == 200:
        assert answer.headers["X-Task-ID"] == events[0].id
        assert events[2].clock - events[1].clock >= 0.05
