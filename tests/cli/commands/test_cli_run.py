"""What a user sees of serve, fire and compare, on real servers."""

from pathlib import Path

import pytest

from commands import as_json
from samples import T0, events_of, sample
from taskdemo_cli.loadgen.protocol import Batch, Plan, Started
from taskdemo_cli.processes.signals import StopRequest
from taskdemo_cli.runner import rig
from taskdemo_cli.runner.rig import WARM_UP_TIMEOUT_S, Rig
from taskdemo_cli.runner.target import Health, Target

D = 0.4
"""Seconds of work: long beside what a loaded machine adds, short beside a test's patience."""
EARLY = 0.002
"""uvloop's timers are whole milliseconds of a clock that it reads once a turn."""


def test_compare_shows_who_waits_in_each_mode() -> None:
    modes = "blocking,async,threadpool,background,background-async,process"
    document = as_json("compare", "--count", "3", "--duration", str(D), "--modes", modes)
    assert document["kind"] == "comparison"
    assert document["reference"] == "blocking"
    runs = {run["mode"]: run for run in document["runs"]}
    assert list(runs) == modes.split(",")
    assert [verdict["mode"] for verdict in document["verdicts"]] == list(runs)
    for run in runs.values():
        assert run["summary"]["requests"] == {
            "ok": 3, "failed": 0, "errors": {}, "statuses": {"200": 3}, "bytes": 3 * len('{"message":"Hello World!"}')
        }  # fmt: skip
        assert run["warm_up"] == 3
        assert 0 <= run["others_share"] <= 1
        assert run["summary"]["tasks"]["finished"] == 3
        assert (run["work"], run["duration_s"], run["count"], run["concurrency"]) == ("sleep", D, 3, 3)
    slowest = {mode: run["summary"]["response_s"]["max"] for mode, run in runs.items()}
    assert slowest["blocking"] >= 2.5 * D
    for mode in ("async", "threadpool"):
        assert slowest[mode] >= D - EARLY
    for mode in ("background", "background-async", "process"):
        assert runs[mode]["summary"]["tasks"]["answered_before_end"] == 3
        assert runs[mode]["summary"]["completion_s"]["min"] >= D - EARLY
    parallel = {mode: run["summary"]["tasks"]["max_parallel"] for mode, run in runs.items()}
    assert parallel["blocking"] == 1
    assert parallel["async"] == parallel["threadpool"] == parallel["background"] == parallel["background-async"] == 3
    held_up = {mode: run["summary"]["bystander_s"]["max"] for mode, run in runs.items()}
    assert held_up["blocking"] > 1.2 * D
    assert held_up["background"] < held_up["blocking"]


def test_every_round_counts_its_own_tasks_alone() -> None:
    document = as_json("compare", "--modes", "background,process", "--count", "2", "--duration", "0.1", "--rounds", "2")
    assert [(run["round"], len(run["tasks"])) for run in document["runs"]] == [(n, 2) for n in (1, 1, 2, 2)]
    assert {task["task_id"] for run in document["runs"] for task in run["requests"]} == {
        task["id"] for run in document["runs"] for task in run["tasks"]
    }


def test_a_warm_up_starts_the_processes_calls_no_work_and_is_counted_nowhere(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text("import os\n\ndef call(message):\n    print(message, os.getpid())\n")
    command = ["fire", "--mode", "process", "--processes", "2", "--work", "shop:call", "--count", "4", "--message={n}"]
    warm = as_json(*command, cwd=tmp_path)
    assert (warm["warm_up"], warm["slots"]) == (4, 2)
    assert sorted(task["output"].split()[0] for task in warm["tasks"]) == ["1", "2", "3", "4"]
    cold = as_json(*command, "--cold", cwd=tmp_path)
    assert "warm_up" not in cold
    # Only the cold one waits until its first process has been started.
    assert warm["summary"]["queue_s"]["min"] < cold["summary"]["queue_s"]["min"]


def test_a_warm_up_is_waited_for_however_little_time_each_request_of_the_run_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plans: list[Plan] = []

    class Noted:
        server = "well"

        def __init__(self, rig: Rig, target: Target, plan: Plan) -> None:
            plans.append(plan)

        def conduct(self, **more: object) -> None: ...

    monkeypatch.setattr("taskdemo_cli.runner.rig._Run", Noted)
    plan = Plan(url="http://127.0.0.1:9/", count=3, request_timeout_s=0.05)
    Rig(StopRequest()).warmed_up(Target("http://127.0.0.1:9"), plan)
    assert [(one.count, one.timeout_s, one.request_timeout_s) for one in plans] == [(3, WARM_UP_TIMEOUT_S, None)]


def test_fire_without_waiting_leaves_the_tasks_unfinished() -> None:
    document = as_json("fire", "--mode", "background", "--count", "2", "--duration", "60", "--no-wait")
    assert document["summary"]["tasks"]["unfinished"] == 2
    assert document["summary"]["tasks"]["lost"] == 0


def test_of_a_server_that_runs_already_the_tasks_of_others_are_not_counted() -> None:
    target = Target("http://x", health=Health(server="taskdemo", journal_offset=0, clock=0.0, mode="background"))
    run = rig._Run(Rig(StopRequest()), target, Plan(url=target.url, count=1))
    run.recorder.load(Started(T0))
    for event in [*events_of("ours", 0.0, 0.1, 1.0), *events_of("another's", 0.0, 0.1, 1.0)]:
        run.recorder.event(event)
    run.recorder.load(Batch([sample(1, 0.01, task="ours")]))
    document = run.recorder.finish(run.header)
    assert (document.mode, [task.id for task in document.tasks]) == ("background", ["ours"])
