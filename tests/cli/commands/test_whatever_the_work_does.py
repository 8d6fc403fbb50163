"""A comparison ends, and tells how often work was begun, in every mode of the server's own, whatever the work does.

The queue engines, which may begin a task again, have their own in tests/engines/test_contract.py.
"""

import functools
from typing import Any

import pytest

from commands import as_json
from taskdemo_server.contract.modes import MODES

OWN = {mode.name: mode for mode in MODES if mode.engine is None}
WORK = """
import os, threading, time

def raises(message):
    class CannotBePickled(Exception): pass
    with open("begun", "ab", buffering=0) as begun:
        begun.write(b".")
        kind = begun.tell() % 3  # another one each time, in whatever process
    raise (SystemExit("config missing"), KeyboardInterrupt(), CannotBePickled("no", threading.Lock()))[kind]

def dies(message):
    os._exit(7)

def hangs(message):
    time.sleep(1000)
"""
RAISED = {"SystemExit: config missing", "KeyboardInterrupt", "CannotBePickled"}
COUNT = 3


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a function that has such work compared in all these modes, once, and returns the run of each."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "mine.py").write_text(WORK)

    @functools.cache
    def compare(work: str) -> dict[str, Any]:
        options = ["--modes", ",".join(OWN), "--work", f"mine:{work}", "--count", str(COUNT)]
        options += ["--timeout", "1" if work == "hangs" else "30"]
        return {run["mode"]: run for run in as_json("compare", *options, cwd=folder)["runs"]}

    return compare


@pytest.mark.parametrize("mode", OWN)
@pytest.mark.parametrize("work", ["raises", "dies", "hangs"])
def test_it_ends_and_tells_of_every_request_and_task(compared: Any, work: str, mode: str) -> None:
    run = compared(work)[mode]
    requests, tasks = run["summary"]["requests"], run["summary"]["tasks"]
    assert requests["ok"] + requests["failed"] == COUNT
    assert all(task["runs"] <= 1 for task in run["tasks"])
    assert tasks["begun"] == sum(task["runs"] for task in run["tasks"])
    assert run["timed_out"] == (work == "hangs")
    if work == "raises":
        assert (tasks["failed"], tasks["begun"]) == (COUNT, COUNT)
        assert {task["error"].partition(": (")[0] for task in run["tasks"]} == RAISED
        assert requests["errors"] == ({} if OWN[mode].answers_first else {"HTTP 500": COUNT})
        assert run["ended_because"] is None
        return
    # A server that dies or is blocked by one task may not even have taken the others.
    assert 1 <= tasks["begun"] <= tasks["accepted"] <= COUNT
    if work == "hangs":
        assert tasks["unfinished"] == tasks["accepted"]
        assert run["ended_because"] is None
        return
    assert tasks["lost"] == tasks["accepted"]
    (why,) = {task["error"].partition(":")[0] for task in run["tasks"]}
    if mode == "process":
        assert (why, run["ended_because"]) == ("BrokenProcessPool", None)
    else:
        assert why == run["ended_because"] == f"the {mode} server ended (exit 7) during the run"
