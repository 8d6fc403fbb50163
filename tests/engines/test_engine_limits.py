"""What `taskdemo limits` finds out about each engine: on private brokers, on real ones, and broken on purpose."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from engines.stage import EVERY_ENGINE, left_with, must_listen, staging
from limits_runs import run, verdicts
from taskdemo_cli import limits
from taskdemo_cli.documents.limits import Cell, LimitsDocument
from taskdemo_cli.limits import trial
from taskdemo_cli.limits.backing import new_queue
from taskdemo_cli.limits.trial import Trial
from taskdemo_server.contract.modes import Mode
from taskdemo_server.engines import valkey

pytestmark = pytest.mark.skipif(valkey.binary() is None, reason="there is no Valkey for this platform")


@pytest.fixture(scope="module", params=EVERY_ENGINE)
def matrix(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Mode, LimitsDocument]:
    return request.param, run(tmp_path_factory.mktemp("limits"), [request.param.name])


NO_MATTER_OF_ENGINES = {"neighbours", "session", "context"}
"""A wait, which a busy machine makes longer, and what no worker has of a request."""


def test_an_engine_has_the_limits_that_the_registry_says_and_no_other(matrix: tuple[Mode, LimitsDocument]) -> None:
    mode, document = matrix
    found = verdicts(document)[mode.name]
    assert set(found) == set(limits.LIMITS)
    assert {limit for limit, verdict in found.items() if verdict != "yes"} - NO_MATTER_OF_ENGINES == set(
        mode.gives_up
    ) & set(limits.LIMITS)
    assert (found["session"], found["context"]) == ("no", "no")


def test_no_task_is_lost_at_any_kill(matrix: tuple[Mode, LimitsDocument]) -> None:
    mode, document = matrix
    server = document.modes[mode.name]["survive_server_kill"].measured
    worker = document.modes[mode.name]["survive_worker_kill"].measured
    assert "duplicates" in mode.gives_up or not worker["ran_twice"]
    for measured in (server, worker):
        if measured is worker and "survive_worker_kill" in mode.gives_up:
            assert 0 < measured["ended"] < measured["unfinished"]  # what waited was done, and what ran was not
            return
        assert measured["lost"] == 0
        assert measured["ended"] == measured["unfinished"] > 0
    assert set(worker["killed"]) == {"process", "worker"}
    assert worker["killed"]["process"]["ran_twice"] >= 1


def test_a_worker_that_is_told_to_end_ends_what_it_has_begun_and_the_next_does_the_rest(
    matrix: tuple[Mode, LimitsDocument],
) -> None:
    mode, document = matrix
    fate = document.modes[mode.name]["survive_restart"].measured["killed"]["worker"]
    assert fate["restarts"] == 1
    assert fate["ended"] == fate["unfinished"] > 0
    assert fate["ran_twice"] == 0


def test_failed_work_is_repeated_until_it_succeeds(matrix: tuple[Mode, LimitsDocument]) -> None:
    mode, document = matrix
    measured = document.modes[mode.name]["retry"].measured
    assert measured["attempts"] == 3
    assert measured["succeeded"]


def test_a_running_task_is_stopped_and_its_place_is_free(matrix: tuple[Mode, LimitsDocument]) -> None:
    mode, document = matrix
    measured = document.modes[mode.name]["cancel"].measured
    if "cancel" in mode.gives_up:
        assert measured["running"]["ended_as"] == "finished"
        return
    assert measured["running"]["ended_as"] == measured["waiting"]["ended_as"] == "cancelled"
    assert measured["freed_after_s"] is not None


def test_tasks_spread_over_two_workers(matrix: tuple[Mode, LimitsDocument]) -> None:
    mode, document = matrix
    by_place = document.modes[mode.name]["distribute"].measured["by_place"]
    assert len(by_place) == 2
    assert all(by_place.values())


def test_an_engine_in_which_nothing_runs_has_no_cell_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("celery", reason="the extra `celery` is not installed")
    monkeypatch.setattr(trial, "BEGIN_S", 2.0)
    with staging(tmp_path / "stage") as stage:
        stage.valkey(0, "--rename-command", "BRPOP", "GONE")  # by which a worker fetches tasks
        document = run(tmp_path, ["celery"], broker=stage.broker)
    assert document.modes == {"celery": {}}
    assert {failed.limit for failed in document.failed or []} == set(limits.LIMITS)
    assert {failed.why for failed in document.failed or []} == {"nothing was begun within 2 s, so nothing was seen"}


ACKNOWLEDGES_EARLY = """
import sys

if any("celery" in word for word in sys.orig_argv):
    from celery.signals import worker_init

    @worker_init.connect
    def acknowledge_early(sender, **_):
        sender.app.conf.task_acks_late = sender.app.conf.task_reject_on_worker_lost = False
        for task in sender.app.tasks.values():
            task.acks_late = task.reject_on_worker_lost = False
"""


def test_a_worker_that_acknowledges_before_it_works_is_seen_to_lose_tasks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("celery", reason="the extra `celery` is not installed")
    (tmp_path / "sitecustomize.py").write_text(ACKNOWLEDGES_EARLY)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    # What is lost when a pool process dies shows soon; a whole worker's tasks would come again only after 6 s.
    monkeypatch.setattr(Trial, "patience", lambda *_: 4.0)
    document = run(tmp_path / "limits", ["celery"], ["survive_worker_kill"])
    assert verdicts(document)["celery"]["survive_worker_kill"] == "partly"
    fate = document.modes["celery"]["survive_worker_kill"].measured["killed"]["process"]
    assert fate["ended"] < fate["unfinished"]


BROKERS = {"redis": "redis://127.0.0.1:6379/12", "rabbitmq": "amqp://guest:guest@127.0.0.1:5672//"}
LIMITS = ("survive_worker_kill", "retry", "track")


@dataclass
class Found:
    broker: str
    verdicts: dict[str, str]
    cells: dict[str, Cell]
    queues: list[str]
    """The queues that the experiments had, each one of its own."""


@pytest.fixture(scope="module", params=BROKERS)
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Found]:
    """Celery's decisive limits against the real brokers."""
    pytest.importorskip("celery", reason="the extra `celery` is not installed")
    must_listen(request.param)
    queues: list[str] = []

    def noted() -> str:
        queues.append(new_queue())
        return queues[-1]

    try:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(trial, "new_queue", noted)
            document = run(tmp_path_factory.mktemp("limits"), ["celery"], LIMITS, broker=BROKERS[request.param])
        yield Found(request.param, verdicts(document)["celery"], document.modes["celery"], queues)
    finally:
        left_with(BROKERS[request.param], queues)


@pytest.mark.broker
def test_no_task_is_lost_over_a_real_broker_when_a_process_or_a_whole_worker_dies(found: Found) -> None:
    assert found.verdicts["survive_worker_kill"] == "yes"
    measured = found.cells["survive_worker_kill"].measured
    assert measured["lost"] == 0
    assert set(measured["killed"]) == {"process", "worker"}
    # RabbitMQ sees the connection break. Redis does not know that a worker is gone: what it held comes again after the
    # visibility timeout of 6 s.
    assert (measured["killed"]["worker"]["took_s"] > 4) == (found.broker == "redis")


@pytest.mark.broker
def test_failed_work_is_run_again_over_a_real_broker(found: Found) -> None:
    assert found.verdicts["retry"] == "yes"
    assert found.cells["retry"].measured["attempts"] == 3


@pytest.mark.broker
def test_a_task_can_be_tracked_where_there_is_a_result_backend(found: Found) -> None:
    if found.broker == "redis":
        assert found.verdicts["track"] == "yes"
    else:
        assert found.verdicts["track"] == "no"
        assert "No result backend is configured" in found.cells["track"].text


@pytest.mark.broker
def test_nothing_of_the_experiments_stays_with_the_broker(found: Found) -> None:
    assert len(found.queues) == len(set(found.queues)) == len(LIMITS) + 1  # three for the kills, one for the two others
    assert left_with(BROKERS[found.broker], found.queues) == []
