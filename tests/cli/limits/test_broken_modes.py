"""Modes and engines that were broken, or mended, on purpose: the cell must show it, because it holds what was seen."""

from pathlib import Path
from typing import Any

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
DROPS_RESULTS = """
from taskdemo_server.limits import async_

whole = async_.step_async

async def step_async(key, name, given=None):
    return await whole(key, name)

async_.step_async = step_async
"""
REPEATS = """
from taskdemo_server.limits import threadpool

once = threadpool.step

def step(key, name, given=None):
    for _ in range(2):
        try:
            return once(key, name, given)
        except Exception:
            pass
    return once(key, name, given)

threadpool.step = step
"""
FORGETS = """
from taskdemo_server.limits import process

make = process.steps

def steps():
    import dataclasses
    made = make()
    return dataclasses.replace(made, ask=lambda future: (made.ask(future)[0], None))

process.steps = steps
"""
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


def affect(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    (folder / AFFECT).write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder))


def test_where_the_work_runs_is_seen_whatever_the_mode_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    affect(tmp_path, monkeypatch, PRETENDS)
    document = run(tmp_path / "limits", ["background", "process"], ["offload"])
    assert verdicts(document) == {"background": {"offload": "yes"}, "process": {"offload": "no"}}


@pytest.mark.parametrize(
    ("broken", "mode", "limit", "verdict", "facts", "end"),
    [
        (DROPS_RESULTS, "async", "orchestrate", "partly", {"figure": "2 of 4"}, ""),
        (REPEATS, "threadpool", "retry", "yes", {"attempts": 3}, ""),
        (FORGETS, "process", "failure", "partly", {"error_told": False}, ""),
        (WAITS_FOR_TASKS, "background", "middleware", "partly", {"figure": "1 of 3"}, "was answered before that."),
    ],
    ids=["drops results", "repeats failed work", "forgets errors", "holds the answer back"],
)
def test_what_a_broken_engine_or_middleware_does_is_seen(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
    mode: str,
    limit: str,
    verdict: str,
    facts: dict[str, Any],
    end: str,
) -> None:
    affect(tmp_path, monkeypatch, broken)
    cell = run(tmp_path / "limits", [mode], [limit]).modes[mode][limit]
    assert cell.verdict == verdict
    assert {name: cell.measured[name] for name in facts} == facts
    assert cell.text.endswith(end)
