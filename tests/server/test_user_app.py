"""`fire --app`: does an endpoint of the user's own application block its server, and why?"""

import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from anyio.to_thread import current_default_thread_limiter, run_sync
from msgspec.structs import replace

import samples
from commands import all_gone, family_of, running, taskdemo
from taskdemo_cli.analysis import blocking
from taskdemo_cli.documents.types import BystanderRow, RunDocument
from taskdemo_server.user_app import loop_stalls

SHOP = '''
import asyncio
import time
from contextlib import asynccontextmanager

from fastapi import BackgroundTasks, FastAPI

app = FastAPI()


@app.get("/held")
async def held():
    print("held", "\\x1b[31mred")
    time.sleep(0.4)


@app.get("/threads")
def threads():
    time.sleep(0.6)


@app.get("/good")
async def good(background_tasks: BackgroundTasks, message: str = "none"):
    background_tasks.add_task(asyncio.sleep, 0.4)
    return {"message": message}


@app.get("/raises")
async def raises():
    raise ValueError("no \\x1b[31m")


@app.get("/health")
async def health():
    return {"server": "somebody else's"}


@asynccontextmanager
async def no_database(app):
    raise RuntimeError("there is no database")
    yield


@asynccontextmanager
async def says_goodbye(app):
    yield
    with open("goodbye", "w") as file:
        file.write("in order")


broken = FastAPI(lifespan=no_database)
polite = FastAPI(lifespan=says_goodbye)


def made():
    return app


def unmade():
    raise KeyError("no settings")


def wsgi(environ, start_response):
    """Of another world."""


async def plain(scope, receive, send):
    """No lifespan, no framework."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"one, ", "more_body": True})
    await send({"type": "http.response.body", "body": b"two"})
    await asyncio.sleep(0.3)
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "shop" / "main.py").write_text(SHOP)
    return tmp_path


def fired(folder: Path, path: str, count: int = 3, app: str = "shop.main:app") -> dict[str, Any]:
    done = taskdemo("fire", "--app", app, "--path", path, "--count", str(count), "--json", cwd=folder)
    assert done.returncode in {0, 1}, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_an_async_endpoint_that_sleeps_is_found_to_hold_the_event_loop_and_where(folder: Path) -> None:
    run = fired(folder, "/held")
    assert run["app"] == "shop.main:app"
    assert run["mode"] is None
    found = run["blocking"]
    assert (found["blocks"], found["cause"]) == (True, "event loop held")
    assert found["loop_wait_s"] > 0.3
    assert found["places"][0]["place"] == "shop/main.py:14 in held"
    assert run["verdict"].startswith("This endpoint blocks the server: it blocks the event loop (at shop/main.py:14 in")
    assert run["summary"]["bystander_s"]["max"] > 0.3
    assert [task["output"] for task in run["tasks"]] == ["held \x1b[31mred"] * 3
    assert [task["message"] for task in run["tasks"]] == ["GET /held"] * 3


def test_a_plain_endpoint_for_more_callers_than_threads_is_found_to_use_them_up(folder: Path) -> None:
    run = fired(folder, "/threads", count=90)
    assert run["blocking"]["cause"] == "threads used up"
    assert run["summary"]["bystander_threads_s"]["max"] > 0.2
    assert run["blocking"]["loop_wait_s"] < run["blocking"]["threads_wait_s"]
    assert "uses up the worker threads" in run["verdict"]


def test_work_after_the_response_is_seen_as_a_task_that_nobody_waits_for(folder: Path) -> None:
    run = fired(folder, "/good")
    assert run["blocking"]["blocks"] is False
    assert run["blocking"]["cause"] == "neither"
    assert run["summary"]["tasks"]["answered_before_end"] == 3
    for task in run["tasks"]:
        assert task["state"] == "finished"
        assert task["ended_s"] - task["started_s"] > 0.35
    assert run["summary"]["response_s"]["max"] < 0.35


def test_a_response_with_nothing_after_it_comes_after_the_end_of_its_task(folder: Path) -> None:
    run = fired(folder, "/health")
    assert run["summary"]["tasks"]["answered_after_end"] == 3
    assert run["summary"]["requests"]["ok"] == 3


def test_what_an_endpoint_raises_is_its_tasks_failure(folder: Path) -> None:
    run = fired(folder, "/raises", count=2)
    assert run["summary"]["requests"]["errors"] == {"HTTP 500": 2}
    assert [(task["state"], task["error"]) for task in run["tasks"]] == [("failed", "ValueError: no \x1b[31m")] * 2


def test_any_asgi_application_will_do(folder: Path) -> None:
    run = fired(folder, "/anything", app="shop.main:plain")
    assert run["summary"]["requests"]["ok"] == 3
    assert run["summary"]["tasks"]["answered_before_end"] == 3


def test_a_function_that_makes_an_application_will_do(folder: Path) -> None:
    assert fired(folder, "/good", 1, "shop.main:made")["summary"]["requests"]["ok"] == 1


def test_an_application_is_let_end_in_order(folder: Path) -> None:
    fired(folder, "/", count=1, app="shop.main:polite")
    assert (folder / "goodbye").read_text() == "in order"


@pytest.mark.parametrize(
    ("app", "sentence"),
    [
        ("shop.main.app", "did you mean --app shop.main:app?"),
        ("shop.main:ap", "there is no ap in shop.main; did you mean --app shop.main:app?"),
        ("shop.main:__name__", "that is 'shop.main', and no ASGI application"),
        ("shop.main:broken", "its start failed with RuntimeError: there is no database"),
        ("shp.main:app", "there is no module shp.main"),
        ("shop.main:unmade", "it failed with KeyError: 'no settings'"),
        ("shop.main:wsgi", "it takes environ and start_response, as WSGI applications do"),
    ],
)
def test_an_application_that_cannot_be_served_is_one_sentence(folder: Path, app: str, sentence: str) -> None:
    done = taskdemo("fire", "--app", app, cwd=folder)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_report_shows_both_bystanders_and_no_control_character(folder: Path) -> None:
    done = taskdemo("fire", "--app", "shop.main:app", "--path", "/held", "--count", "2", cwd=folder)
    assert "\x1b" not in done.stdout
    assert "held \\x1b[31mred" in done.stdout
    assert "GET /ping" in done.stdout
    assert "by a thread" in done.stdout
    assert "shop.main:app at http://" in done.stdout


def test_nothing_is_left_of_it_when_the_command_is_killed(folder: Path) -> None:
    with running(
        "fire", "--app", "shop.main:app", "--path", "/held", "--for", "20", stdout=subprocess.PIPE, cwd=folder
    ) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if "request" in line)
        family = family_of(process.pid)
        assert len(family) >= 4
        process.kill()
    assert all_gone(family)


def a_run(loop: list[float], threads: list[float]) -> RunDocument:
    return replace(
        samples.background_run(2),
        bystander=[call(wait) for wait in loop],
        bystander_threads=[call(wait) for wait in threads],
    )


def call(wait: float) -> BystanderRow:
    return BystanderRow(sent_s=1.0, done_s=1.0 + wait, response_s=wait, status=200, error=None)


@pytest.mark.parametrize(
    ("loop", "threads", "found", "cause"),
    [
        ([0.5], [0.5], {"places": {"a.py:1 in f": 9}, "starved": 1}, "event loop held"),
        ([0.5, 0.4], [0.5], {}, "event loop held"),
        ([0.5, 0.4], [0.9], {"places": {"a.py:1 in f": 1}, "starved": 9}, "interpreter busy"),
        ([0.01], [0.5], {"full": 9}, "threads used up"),
        ([0.01], [0.01], {"places": {"a.py:1 in f": 1}, "full": 9}, "neither"),
        ([], [], {}, "neither"),
    ],
)
def test_the_cause_is_what_the_server_saw_while_a_bystander_waited(
    loop: list[float], threads: list[float], found: dict[str, Any], cause: str
) -> None:
    blocked = blocking.judge(a_run(loop, threads), found)
    assert blocked.cause == cause
    assert blocked.blocks is (cause != "neither")
    assert blocking.sentence(blocked).endswith(".")


@pytest.mark.parametrize(
    ("loop", "threads", "found"),
    [
        ([0.002] * 20, [0.002] * 20 + [0.226], {}),
        ([0.002] * 20, [0.226] * 3, {"full": 1}),
        ([0.002] * 20 + [0.5], [0.002], {}),
        ([0.002] * 20 + [0.5], [0.002], {"starved": 9}),
        ([0.002] * 20 + [0.12], [0.002], {"places": {"a.py:1 in f": 2}}),
        ([0.15, 0.15], [0.002], {}),
    ],
)
def test_a_wait_that_nothing_explains_is_told_and_no_cause_made_up(
    loop: list[float], threads: list[float], found: dict[str, Any]
) -> None:
    blocked = blocking.judge(a_run(loop, threads), found)
    assert (blocked.cause, blocked.blocks) == ("not found", False)
    said = blocking.sentence(blocked)
    assert "is not clear" in said
    assert "was not seen" in said
    assert said.endswith("Run it again.")


def test_the_limit_is_given_and_what_is_near_it_called_close() -> None:
    clear = blocking.sentence(blocking.judge(a_run([0.002], [0.002]), {}))
    assert "(100 ms count as held up)" in clear
    assert "close" not in clear
    near = blocking.sentence(blocking.judge(a_run([0.06], [0.002]), {}))
    assert near.endswith("It is close to that: run it again to be sure.")
    beyond = blocking.sentence(blocking.judge(a_run([0.15], [0.002]), {"places": {"a.py:1 in f": 9}}))
    assert beyond.endswith("It is close to the 100 ms that count as held up: run it again to be sure.")


def test_the_bystander_is_explained_and_its_wait_is_given_once(folder: Path) -> None:
    verdict = fired(folder, "/threads")["verdict"]
    assert verdict.startswith("This endpoint does not block the server: a bystander (GET /ping, taskdemo's own) waited")
    assert verdict.count("a bystander") == 1


def test_of_an_endpoint_that_only_fails_no_waiting_is_told(folder: Path) -> None:
    verdict = fired(folder, "/raises", count=2)["verdict"]
    assert verdict == ("All 2 requests failed (HTTP 500): ValueError: no \\x1b[31m. So nothing can be said of waiting.")


def test_the_worker_threads_are_used_up_where_all_are_taken_and_somebody_waits(tmp_path: Path) -> None:
    async def seen(calls: int) -> int:
        held = loop_stalls.LoopStalls(str(tmp_path))
        current_default_thread_limiter().total_tokens = 2
        held.watch(asyncio.get_running_loop())
        await asyncio.gather(*(run_sync(time.sleep, 0.2) for _ in range(calls)))
        full: int = held.found()["full"]
        return full

    assert asyncio.run(seen(2)) == 0
    assert asyncio.run(seen(3)) > 2


def test_a_loop_that_comes_late_while_no_other_thread_works_lacks_no_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = loop_stalls.LoopStalls(str(tmp_path))
    monkeypatch.setattr(held, "_is_busy", lambda: True)
    idle = [compiled("selectors.py"), compiled("queue.py"), compiled("anyio/a.py")]
    held._see(idle[0], idle)
    assert held.found()["starved"] == 0
    held._see(idle[0], [*idle, compiled("shop/main.py")])
    assert held.found()["starved"] == 1


def compiled(file: str) -> FrameType:
    """Return a frame of code that says it comes from this file."""
    names: dict[str, Any] = {"sys": sys}
    exec(compile("def f(): return sys._getframe()", f"/nowhere/{file}", "exec"), names)
    frame: FrameType = names["f"]()
    return frame


def test_a_bystander_that_got_no_answer_has_waited_too() -> None:
    unanswered = BystanderRow(sent_s=0.5, done_s=3.0, response_s=None, status=None, error="Cancelled")
    run = replace(a_run([], []), bystander=[unanswered])
    assert blocking.judge(run, {}).loop_wait_s == 2.5
