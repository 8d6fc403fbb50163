"""Whose code runs, and what a request of the user's own application leaves behind."""

import asyncio
import json
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from taskdemo_server.journal.file import Journal
from taskdemo_server.user_app.requests import Requests, is_kept
from taskdemo_server.user_app.stacks import Look, Reader


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

    await app({"type": "http", "method": "GET", "path": path}, receive, send)


def journaled(journal: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in journal.read_text().splitlines()]


def test_the_first_refusal_of_a_path_is_journaled_with_what_it_says(tmp_path: Path) -> None:
    async def site(scope: Scope, receive: Receive, send: Send) -> None:
        status = 200 if scope["path"] == "/fine" else 307
        headers = [(b"Location", b"/orders/")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"go \x1b there"})

    async def run() -> None:
        app = Requests(site, Journal(str(tmp_path / "journal")), Reader(str(tmp_path)))
        for path in ("/fine", "/orders", "/orders", "/else"):
            await ask(app, path)
        assert not app.open

    asyncio.run(run())
    lines = journaled(tmp_path / "journal")
    assert [(line["answer"], line["path"], line["location"]) for line in lines] == [
        (307, "/orders", "/orders/"),
        (307, "/else", "/orders/"),
    ]
    assert lines[0]["detail"] == "go \\x1b there"


def test_a_task_belongs_to_its_request_and_once_that_is_over_to_itself(tmp_path: Path) -> None:
    whose: list[str] = []
    done = asyncio.Event()

    async def run() -> None:
        async def look() -> None:
            whose.append(app.whose(asyncio.current_task()))
            await asyncio.sleep(0.05)
            whose.append(app.whose(asyncio.current_task()))
            done.set()

        async def site(scope: Scope, receive: Receive, send: Send) -> None:
            tasks.append(asyncio.create_task(look()))
            await asyncio.sleep(0)

        tasks: list[Any] = []
        app = Requests(site, Journal(str(tmp_path / "journal")), Reader(str(Path(__file__).parent)))
        app.follow(asyncio.get_running_loop())
        await ask(app, "/")
        await done.wait()
        await asyncio.sleep(0)
        app.tell_left()
        whose.append(app.whose(asyncio.current_task()))

    asyncio.run(run())
    assert whose == ["request", "task", "application"]
    (line,) = journaled(tmp_path / "journal")
    assert line["call"].endswith("look")
    assert (line["state"], line["kept"], line["place"].split(":")[0]) == ("finished", True, "test_app_requests.py")


def test_of_the_endpoint_that_was_asked_last_the_first_line_is_known_if_it_runs_in_a_thread(tmp_path: Path) -> None:
    def compute() -> None: ...

    async def wait() -> None: ...

    async def site(scope: Scope, receive: Receive, send: Send) -> None:
        endpoints = {
            "/compute": compute,
            "/wait": wait,
            "/wrapped": wraps(compute)(lambda: None),
            "/installed": asyncio.run,
        }
        scope["endpoint"] = endpoints.get(scope["path"])

    app = Requests(site, Journal(str(tmp_path / "journal")), Reader(str(Path(__file__).parent)))
    begin = f"test_app_requests.py:{compute.__code__.co_firstlineno} in compute (or a dependency of it)"
    assert app.asked() == Look("")
    for path, caller in {
        "/compute": begin,
        "/wait": None,
        "/wrapped": begin,
        "/installed": None,
        "/none": None,
    }.items():
        asyncio.run(ask(app, path))
        assert app.asked() == Look("", caller=caller)
