"""`taskdemo capacity` with real servers: few runs, and short ones."""

import json
import signal
from operator import itemgetter
from pathlib import Path
from unittest.mock import MagicMock

import httpx
import pytest

import samples
from commands import as_json, family_of, in_process, one_sentence, running, serving, taskdemo
from talks import Scripted, hang, stranger
from taskdemo_cli.commands import capacity
from taskdemo_cli.errors import UserError
from waiting import gone, until

SHOP = """
import os

from fastapi import FastAPI

app = FastAPI()
calls = 0


@app.get("/dies")
async def dies():
    global calls
    calls += 1
    if calls > 60:
        os._exit(3)
    return {}

"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(SHOP)
    return tmp_path


def test_four_threads_take_forty_tasks_of_a_tenth_of_a_second_and_more_threads_take_more() -> None:
    document = as_json("capacity", "--modes", "background", "--threads", "4", "--step", "1s")
    found = document["modes"]["background"]
    assert document["kind"] == "capacity"
    assert found["expected_per_s"] == pytest.approx(40)
    assert found["cause"] == "threads"
    assert found["sustained_per_s"] < 42, "four threads cannot do more"
    assert found["sustained_per_s"] < found["failed_at_per_s"]
    hopeless = max(found["steps"], key=itemgetter("rate"))
    assert not hopeless["sustained"]
    assert hopeless["max_parallel"] == 4
    assert hopeless["backlog_growth_per_s"] > 0  # on a busy machine the last step asks for hardly more than they do
    assert hopeless["response_s"]["p50"] < hopeless["completion_s"]["p50"], "callers do not see the backlog"
    assert found["confirmed"]["option"] == "--threads 8"
    assert found["confirmed"]["step"]["max_parallel"] > 4


def test_a_server_that_dies_at_the_limit_is_replaced_and_said_to_have_ended(shop: Path) -> None:
    done = taskdemo(
        *("capacity", "--app", "shop:app", "--path", "/dies", "--from", "20", "--step", "1s"),
        *("--while", "response.p95 < 30s", "--fail-if", "sustained < 1000", "--save", "found.json"),
        cwd=shop,
    )
    found = json.loads((shop / "found.json").read_text("utf-8"))["modes"]["shop:app"]
    assert done.returncode == 99, done.stderr
    assert "server ended (exit 3)" in found["text"]
    assert found["cause"] == "refused"
    assert found["sustained_per_s"] >= 20
    assert "sustained was" in done.stdout


def test_ctrl_c_leaves_the_steps_so_far_and_no_process(tmp_path: Path) -> None:
    with running(
        "capacity", "--modes", "blocking,async", "--step", "1s", "--save", str(tmp_path / "found.json")
    ) as process:
        assert process.stdout is not None
        assert "How much 2 modes" in process.stdout.readline()
        first = process.stdout.readline()
        assert "blocking 9.5/s" in first
        family = family_of(process.pid)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Interrupted: this is what was found by then." in out
    document = json.loads((tmp_path / "found.json").read_text("utf-8"))
    assert document["interrupted"] is True
    assert list(document["modes"]) == ["blocking"]
    assert document["modes"]["blocking"]["steps"][0]["rate"] == 9.5
    until(lambda: gone(family), 30)


def test_a_server_that_runs_already_is_measured_and_left_when_it_has_done_all(tmp_path: Path) -> None:
    with serving("--mode", "background", "--threads", "1", "--duration", "50ms") as (_, port):
        url = f"http://127.0.0.1:{port}"
        done = taskdemo(
            "capacity", "--url", url, "--from", "8", "--to", "32", "--step", "1s", "--save", str(tmp_path / "f.json")
        )
        tasks = httpx.get(f"{url}/tasks").json()
    assert done.returncode == 0, done.stderr
    (found,) = json.loads((tmp_path / "f.json").read_text("utf-8"))["modes"].values()
    assert found["sustained_per_s"] < 21, "one thread cannot do more"
    assert {task["state"] for task in tasks} == {"finished"}


def test_a_search_that_breaks_off_ends_with_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    found = samples.capacity_document().modes["background"]
    searched = MagicMock(return_value=MagicMock(broke_off=True, search=MagicMock(return_value=found)))
    for name in ("Rig", "Searcher", "servers"):
        monkeypatch.setattr(capacity, name, searched if name == "Searcher" else MagicMock())
    assert in_process("capacity", "--modes", "background").returncode == 1
    searched.return_value.broke_off = False
    assert in_process("capacity", "--modes", "background").returncode == 0


def test_each_request_is_sent_as_it_was_asked_for(monkeypatch: pytest.MonkeyPatch, shop: Path) -> None:
    monkeypatch.chdir(shop)
    searched = MagicMock(side_effect=UserError("enough"))
    for name in ("Rig", "Searcher", "servers"):
        monkeypatch.setattr(capacity, name, searched if name == "Searcher" else MagicMock())
    in_process("capacity", "--app", "shop:app", "--path", "/orders", "-H", "X-Key: secret", "--body", "{n}")
    request = searched.call_args.args[-1]
    assert (request.method, request.headers[0], request.body) == ("POST", ("X-Key", "secret"), "{n}")


def test_a_first_request_that_is_never_answered_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskdemo_cli.runner.capacity.WARM_UP_TIMEOUT_S", 0.5)
    with Scripted(stranger(hang)) as server:
        done = in_process("capacity", "--url", server.url, "--step", "1s")
    assert done.returncode == 2
    said = "even a single request fails (it did not end within 1 s), so there is no rate to find"
    assert said in done.stderr
    assert one_sentence(done.stderr)
