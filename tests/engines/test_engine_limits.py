"""What `taskdemo limits` finds out about each engine, on private brokers; over real ones in test_celery.py."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from engines.stage import EVERY_ENGINE
from limits_runs import run, verdicts
from parts import THERE
from taskdemo_cli.documents.limits import LIMITS, LimitsDocument
from taskdemo_cli.limits import trial
from taskdemo_server.contract.modes import Mode

pytestmark = pytest.mark.timeout(900)

OF_ENGINES = (
    *("track", "cancel", "retry", "orchestrate", "distribute", "failure"),
    *("survive_restart", "survive_server_kill", "survive_worker_kill"),
)
"""The others are matters of the endpoint, and of being elsewhere: one engine stands for all."""


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LimitsDocument]:
    """What is found of each, three at a time: their experiments mostly wait, but more are too many for two cores."""
    found: dict[str, LimitsDocument] = {}
    for at in range(0, len(THERE), 3):
        names = [mode.name for mode in THERE[at : at + 3]]
        found |= dict.fromkeys(names, run(tmp_path_factory.mktemp("limits"), names, OF_ENGINES))
    return found


@pytest.fixture
def document(mode: Mode, documents: dict[str, LimitsDocument]) -> LimitsDocument:
    return documents[mode.name]


@pytest.mark.parametrize("mode", EVERY_ENGINE)
def test_an_engine_has_the_limits_that_the_registry_says_and_no_other(mode: Mode, document: LimitsDocument) -> None:
    found = verdicts(document)[mode.name]
    assert set(found) == set(OF_ENGINES)
    given_up = {limit for limit, verdict in found.items() if verdict != "yes"}
    said = "\n".join(f"{limit}: {document.modes[mode.name][limit].text}" for limit in given_up)
    assert given_up == mode.gives_up.keys() & set(OF_ENGINES), said
    assert document.modes[mode.name]["retry"].measured["attempts"] == 3


@pytest.mark.parametrize("mode", EVERY_ENGINE)
def test_a_task_is_cancelled_where_the_engine_can_and_else_the_answer_says_why_not(
    mode: Mode, document: LimitsDocument
) -> None:
    running = document.modes[mode.name]["cancel"].measured["running"]
    if "cancel" in mode.gives_up:
        assert (running["status"], running["said"], running["ended_as"]) == (409, mode.cannot_cancel, "finished")
    else:
        assert (running["status"], running["ended_as"]) == (200, "cancelled")


@pytest.mark.parametrize("mode", EVERY_ENGINE[:1])
def test_an_endpoint_that_sends_tasks_gives_up_what_no_worker_has_of_a_request(mode: Mode, tmp_path: Path) -> None:
    others = [limit for limit in LIMITS if limit not in OF_ENGINES]
    found = verdicts(run(tmp_path / "limits", [mode.name], others))[mode.name]
    assert set(found) == set(others)
    del found["neighbours"]  # a wait, which a busy machine makes longer
    assert {limit for limit, verdict in found.items() if verdict == "no"} == {"session", "context"}
    assert {limit for limit, verdict in found.items() if verdict != "yes"} - {"session", "context"} == (
        mode.gives_up.keys() & set(others)
    )


@pytest.mark.parametrize("mode", EVERY_ENGINE)
def test_no_task_is_lost_at_any_kill(mode: Mode, document: LimitsDocument) -> None:
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


@pytest.mark.parametrize("mode", EVERY_ENGINE)
def test_a_worker_that_is_told_to_end_ends_what_it_has_begun_and_the_next_does_the_rest(
    mode: Mode, document: LimitsDocument
) -> None:
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
    monkeypatch.setattr(trial, "BEGIN_TIMEOUT_S", 1.0)
    document = run(tmp_path, [mode.name])
    assert document.modes == {mode.name: {}}
    assert {failed.limit for failed in document.failed} == set(LIMITS)
    assert {failed.why for failed in document.failed} == {"nothing was begun within 1 s, so nothing was seen"}
