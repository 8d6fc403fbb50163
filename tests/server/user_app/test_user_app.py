"""`fire --app`: does an endpoint of the user's own application block its server, and why?"""

import json
import re
from pathlib import Path

import pytest

from commands import taskdemo

SHOP = """
import asyncio
import time
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.middleware.httpsredirect import HTTPSRedirectMiddleware

app = FastAPI()


@app.get("/held")
async def held():
    print("held", "\\x1b[31mred")
    time.sleep(0.4)


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
behind_proxy = FastAPI()
behind_proxy.add_middleware(HTTPSRedirectMiddleware)
behind_proxy.get("/health")(health)
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
    assert found["places"][0]["place"] == "shop/main.py:15 in held"
    assert run["verdict"].startswith("This endpoint blocks the server: it blocks the event loop (at shop/main.py:15 in")
    assert run["summary"]["bystander_s"]["max"] > 0.3
    assert [task["output"] for task in run["tasks"]] == ["held \x1b[31mred"] * 3
    assert [task["message"] for task in run["tasks"]] == ["GET /held"] * 3
    assert "\x1b" not in said
    for words in ("held \\x1b[31mred", "GET /ping", "by a thread", "shop.main:app at http://"):
        assert words in said


def test_a_response_with_nothing_after_it_comes_after_the_end_of_its_task_and_the_application_is_let_end(
    folder: Path,
) -> None:
    done = taskdemo("fire", "--app", "shop.main:polite", "--path", "/health", "--count", "3", "--json", cwd=folder)
    run = json.loads(done.stdout)
    assert run["summary"]["tasks"]["answered_after_end"] == 3
    assert run["summary"]["requests"]["ok"] == 3
    assert (folder / "goodbye").read_text() == "in order"


def test_an_application_behind_a_proxy_learns_from_its_headers_what_was_asked_for(folder: Path) -> None:
    given = ("--app", "shop.main:behind_proxy", "--path", "/health", "--json")
    refused = json.loads(taskdemo("fire", *given, cwd=folder).stdout)
    assert "Type -H 'X-Forwarded-Proto: https'" in refused["verdict"]
    done = taskdemo("fire", *given, "-H", "X-Forwarded-Proto: https", cwd=folder)
    assert json.loads(done.stdout)["summary"]["requests"]["statuses"] == {"200": 1}


def test_a_shutdown_that_takes_too_long_is_cut_off_and_told_with_its_line(folder: Path) -> None:
    done = taskdemo("fire", "--app", "shop.main:lingering", "--json", cwd=folder)
    assert re.search(
        r"^taskdemo: shop.main:lingering: its shutdown was cut off after 2 s: still at shop/main.py:\d+"
        " in lingers: asyncio.sleep$",
        done.stderr,
        re.MULTILINE,
    ), done.stderr


def test_an_application_that_cannot_be_served_is_one_sentence(folder: Path) -> None:
    done = taskdemo("fire", "--app", "shop.main:broken", cwd=folder)
    assert done.returncode == 2
    assert "startup failed with RuntimeError: there is no database" in done.stderr
    assert done.stderr.count("\n") == 1
