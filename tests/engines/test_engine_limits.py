"""What `taskdemo limits` finds out about each engine, on private brokers; over real ones in test_celery.py.

Every other engine is asked here, and the rest in test_more_engine_limits.py: files run beside each other.
"""

from pathlib import Path
from types import SimpleNamespace

import pytest

from engines.stage import EVERY_ENGINE
from limits_runs import run, verdicts
from taskdemo_cli import limits
from taskdemo_cli.documents.limits import LimitsDocument
from taskdemo_cli.limits import trial
from taskdemo_server.contract.modes import Mode


@pytest.fixture(scope="module", params=EVERY_ENGINE[0::2])
def matrix(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Mode, LimitsDocument]:
    return request.param, run(tmp_path_factory.mktemp("limits"), [request.param.name])


NO_MATTER_OF_ENGINES = {"neighbours", "session", "context"}
"""A wait, which a busy machine makes longer, and what no worker has of a request."""


def test_an_engine_has_the_limits_that_the_registry_says_and_no_other(matrix: tuple[Mode, LimitsDocument]) -> None:
    mode, document = matrix
    found = verdicts(document)[mode.name]
    assert set(found) == set(limits.LIMITS)
    given_up = {limit: document.modes[mode.name][limit].text for limit, verdict in found.items() if verdict != "yes"}
    assert given_up.keys() - NO_MATTER_OF_ENGINES == mode.gives_up.keys() & set(limits.LIMITS), given_up
    assert (found["session"], found["context"]) == ("no", "no")
    assert document.modes[mode.name]["retry"].measured["attempts"] == 3


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


@pytest.mark.parametrize("mode", EVERY_ENGINE[:1])
def test_where_nothing_is_begun_there_is_no_cell_at_all(
    mode: Mode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_worker = SimpleNamespace(await_ready=lambda _wait: None, end=lambda: None)
    monkeypatch.setattr(trial, "Worker", lambda *_: no_worker)
    monkeypatch.setattr(trial, "BEGIN_S", 1.0)
    document = run(tmp_path, [mode.name])
    assert document.modes == {mode.name: {}}
    assert {failed.limit for failed in document.failed or []} == set(limits.LIMITS)
    assert {failed.why for failed in document.failed or []} == {"nothing was begun within 1 s, so nothing was seen"}
