"""Modes and engines that were broken, or mended, on purpose: the cell must show it, because it holds what was seen."""

from pathlib import Path

import pytest

from limits_runs import run, verdicts

# The servers are other processes: what is done to them is done by the module that Python imports at every start.
AFFECT = "sitecustomize.py"


def affect(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    (folder / AFFECT).write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder))


def test_a_background_mode_that_really_offloads_is_seen_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    affect(
        tmp_path,
        monkeypatch,
        "from taskdemo_server.modes import ENDPOINTS\nENDPOINTS['background'] = ENDPOINTS['process']\n",
    )
    found = verdicts(run(tmp_path / "limits", ["background"], ["offload"]))["background"]
    assert found["offload"] != "no"


STAYS = """
from taskdemo_server.limits.endpoints import LABS
from taskdemo_server.modes import ENDPOINTS

ENDPOINTS["process"] = ENDPOINTS["threadpool"]
LABS["process"] = LABS["threadpool"]
"""


def test_a_process_mode_that_stays_in_the_server_is_seen_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    affect(tmp_path, monkeypatch, STAYS)
    document = run(tmp_path / "limits", ["process"], ["offload"])
    assert verdicts(document)["process"]["offload"] == "no"
    assert not document["modes"]["process"]["offload"]["measured"]["left"]


DROPS_RESULTS = """
from taskdemo_server.limits import async_

whole = async_.step_async

async def step_async(notebook, key, name, given=None):
    return await whole(notebook, key, name)

async_.step_async = step_async
"""


def test_an_engine_that_drops_results_is_seen_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    affect(tmp_path, monkeypatch, DROPS_RESULTS)
    document = run(tmp_path / "limits", ["async"], ["orchestrate"])
    assert verdicts(document)["async"]["orchestrate"] == "partly"
    assert document["modes"]["async"]["orchestrate"]["measured"]["figure"] == "2 of 4"


REPEATS = """
from taskdemo_server.limits import threadpool

once = threadpool.step

def step(notebook, key, name, given=None):
    for _ in range(2):
        try:
            return once(notebook, key, name, given)
        except Exception:
            pass
    return once(notebook, key, name, given)

threadpool.step = step
"""


def test_an_engine_that_repeats_failed_work_is_seen_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    affect(tmp_path, monkeypatch, REPEATS)
    document = run(tmp_path / "limits", ["threadpool"], ["retry"])
    assert verdicts(document)["threadpool"]["retry"] == "yes"
    assert document["modes"]["threadpool"]["retry"]["measured"]["attempts"] == 3


FORGETS = """
from taskdemo_server.limits import process

async def forget(future):
    return None

make = process.lab

def lab(bench):
    import dataclasses
    return dataclasses.replace(make(bench), error=forget)

from taskdemo_server.limits.endpoints import LABS
LABS["process"] = lab
"""


def test_an_engine_that_forgets_errors_is_seen_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    affect(tmp_path, monkeypatch, FORGETS)
    document = run(tmp_path / "limits", ["process"], ["failure"])
    assert verdicts(document)["process"]["failure"] == "partly"
    assert not document["modes"]["process"]["failure"]["measured"]["error_told"]
