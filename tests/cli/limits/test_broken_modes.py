"""Modes and engines that were broken, or mended, on purpose: the cell must show it, because it holds what was seen."""

from pathlib import Path

import pytest

from limits_runs import run, verdicts

# The servers are other processes: what is done to them is done by the module that Python imports at every start.
AFFECT = "sitecustomize.py"
PRETENDS = """
import dataclasses
from taskdemo_server.contract.modes import MODE_BY_NAME

for mode, page in (("background", "process"), ("process", "threadpool")):
    pretended = MODE_BY_NAME[page]
    MODE_BY_NAME[mode] = dataclasses.replace(MODE_BY_NAME[mode], page=pretended.page, runs=pretended.runs)
"""


def affect(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    (folder / AFFECT).write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder))


def test_where_the_work_runs_is_seen_whatever_the_mode_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    affect(tmp_path, monkeypatch, PRETENDS)
    document = run(tmp_path / "limits", ["background", "process"], ["offload"])
    assert {mode: cells["offload"] for mode, cells in verdicts(document).items()} == {
        "background": "yes",
        "process": "no",
    }
    assert not document.modes["process"]["offload"].measured["left"]


DROPS_RESULTS = """
from taskdemo_server.limits import async_

whole = async_.step_async

async def step_async(step_log, key, name, given=None):
    return await whole(step_log, key, name)

async_.step_async = step_async
"""


def test_an_engine_that_drops_results_is_seen_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    affect(tmp_path, monkeypatch, DROPS_RESULTS)
    document = run(tmp_path / "limits", ["async"], ["orchestrate"])
    assert verdicts(document)["async"]["orchestrate"] == "partly"
    assert document.modes["async"]["orchestrate"].measured["figure"] == "2 of 4"


REPEATS = """
from taskdemo_server.limits import threadpool

once = threadpool.step

def step(step_log, key, name, given=None):
    for _ in range(2):
        try:
            return once(step_log, key, name, given)
        except Exception:
            pass
    return once(step_log, key, name, given)

threadpool.step = step
"""


def test_an_engine_that_repeats_failed_work_is_seen_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    affect(tmp_path, monkeypatch, REPEATS)
    document = run(tmp_path / "limits", ["threadpool"], ["retry"])
    assert verdicts(document)["threadpool"]["retry"] == "yes"
    assert document.modes["threadpool"]["retry"].measured["attempts"] == 3


FORGETS = """
from taskdemo_server.limits import process

make = process.steps

def steps(*given):
    import dataclasses
    made = make(*given)
    return dataclasses.replace(made, ask=lambda future: (made.ask(future)[0], None))

process.steps = steps
"""


def test_an_engine_that_forgets_errors_is_seen_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    affect(tmp_path, monkeypatch, FORGETS)
    document = run(tmp_path / "limits", ["process"], ["failure"])
    assert verdicts(document)["process"]["failure"] == "partly"
    assert not document.modes["process"]["failure"].measured["error_told"]


WAITS_FOR_TASKS = """
from taskdemo_server.limits.surprises import PassOn

async def call(self, scope, receive, send):
    messages = []

    async def keep(message):
        messages.append(message)

    await self.app(scope, receive, keep)
    for message in messages:
        await send(message)

PassOn.__call__ = call
"""


def test_a_middleware_that_holds_the_answer_back_is_seen_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    affect(tmp_path, monkeypatch, WAITS_FOR_TASKS)
    cell = run(tmp_path / "limits", ["background"], ["middleware"]).modes["background"]["middleware"]
    assert (cell.verdict, cell.measured["figure"]) == ("partly", "1 of 3")
    assert cell.text.endswith(
        "Without one, the answer came before the work's end and "
        "the next request on its connection was answered before that."
    )
