"""`fire --app`: does an endpoint of the user's own application block its server, and why?"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from commands import family_of, running, taskdemo
from conftest import gone, until

SHOP = """
import asyncio
import time
from contextlib import asynccontextmanager

from fastapi import BackgroundTasks, FastAPI

app = FastAPI()


@app.get("/held")
async def held():
    print("held", "\\x1b[31mred")
    time.sleep(0.4)


@app.get("/good")
async def good(background_tasks: BackgroundTasks, message: str = "none"):
    background_tasks.add_task(asyncio.sleep, 0.8)
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


@asynccontextmanager
async def lingers(app):
    yield
    await asyncio.sleep(60)


broken = FastAPI(lifespan=no_database)
lingering = FastAPI(lifespan=lingers)
polite = FastAPI(lifespan=says_goodbye)
polite.get("/health")(health)
"""


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


def test_an_async_endpoint_that_sleeps_is_found_to_hold_the_event_loop_and_where_and_its_output_steers_no_terminal(
    folder: Path,
) -> None:
    given = ("--app", "shop.main:app", "--path", "/held", "--count", "3", "--save", "run.json")
    said = taskdemo("fire", *given, cwd=folder).stdout
    run = json.loads((folder / "run.json").read_text())
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
    assert "\x1b" not in said
    for words in ("held \\x1b[31mred", "GET /ping", "by a thread", "shop.main:app at http://"):
        assert words in said


def test_work_after_the_response_is_seen_as_a_task_that_nobody_waits_for(folder: Path) -> None:
    run = fired(folder, "/good")
    assert run["blocking"]["blocks"] is False
    assert run["blocking"]["cause"] == "neither"
    verdict = run["verdict"]
    assert verdict.startswith("This endpoint does not block the server: a bystander (GET /ping, taskdemo's own) waited")
    assert verdict.count("a bystander") == 1
    assert run["summary"]["tasks"]["answered_before_end"] == 3
    for task in run["tasks"]:
        assert task["state"] == "finished"
        assert task["ended_s"] - task["started_s"] > 0.75
    assert run["summary"]["response_s"]["max"] < 0.75


def test_a_response_with_nothing_after_it_comes_after_the_end_of_its_task_and_the_application_is_let_end(
    folder: Path,
) -> None:
    run = fired(folder, "/health", app="shop.main:polite")
    assert run["summary"]["tasks"]["answered_after_end"] == 3
    assert run["summary"]["requests"]["ok"] == 3
    assert (folder / "goodbye").read_text() == "in order"


def test_what_an_endpoint_raises_is_its_tasks_failure_and_of_blocking_nothing_is_told(folder: Path) -> None:
    run = fired(folder, "/raises", count=2)
    assert run["summary"]["requests"]["errors"] == {"HTTP 500": 2}
    assert [(task["state"], task["error"]) for task in run["tasks"]] == [("failed", "ValueError: no \x1b[31m")] * 2
    assert run["blocking"]["cause"] == "not reached"
    assert run["verdict"] == (
        "All 2 requests failed (HTTP 500): ValueError: no \\x1b[31m."
        " Nothing can be said of blocking: all 2 answers were 500 (Internal Server Error)."
    )


def test_a_shutdown_that_takes_too_long_is_cut_off_and_told_with_its_line(folder: Path) -> None:
    done = taskdemo("fire", "--app", "shop.main:lingering", "--json", cwd=folder)
    assert re.search(
        r"^taskdemo: shop.main:lingering: its shutdown, after 2 s still at shop/main.py:\d+ in lingers: asyncio.sleep,"
        " was cut off$",
        done.stderr,
        re.MULTILINE,
    ), done.stderr


@pytest.mark.parametrize(
    ("app", "sentence"),
    [
        ("shop.main.app", "did you mean --app shop.main:app?"),
        ("shop.main:broken", "its start failed with RuntimeError: there is no database"),
    ],
)
def test_an_application_that_cannot_be_served_is_one_sentence(folder: Path, app: str, sentence: str) -> None:
    done = taskdemo("fire", "--app", app, cwd=folder)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


def test_nothing_is_left_of_it_when_the_command_is_killed(folder: Path) -> None:
    with running("fire", "--app", "shop.main:app", "--path", "/held", "--for", "600", anew=True, cwd=folder) as process:
        assert process.stdout is not None
        next(line for line in process.stdout if "request" in line)
        family = family_of(process.pid)
        assert len(family) >= 4
        process.kill()
    until(lambda: gone(family))
