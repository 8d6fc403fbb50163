"""The matrix of limits on real servers: the cells that are facts, and what one may rely on in every cell."""

from pathlib import Path
from typing import Any

import pytest

from limits_runs import COMPUTES_S, Remembering, run, verdicts
from taskdemo_cli import limits
from taskdemo_cli.documents.limits import LIMITS, LimitsDocument
from taskdemo_cli.documents.run import Skipped
from taskdemo_server.contract.modes import MODE_BY_NAME

pytestmark = pytest.mark.timeout(600)

CORE = ["blocking", "async", "threadpool", "background", "background-async", "process"]
LIMITS_OF_KILLS = ("survive_server_kill", "survive_worker_kill")


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> LimitsDocument:
    return run(tmp_path_factory.mktemp("limits"), CORE)


def test_the_documents_know_the_limits_of_all_experiments() -> None:
    assert set(LIMITS) == limits.EXPERIMENTS.keys()


def test_every_cell_has_a_verdict_a_figure_and_a_sentence(matrix: LimitsDocument) -> None:
    assert list(matrix.modes) == CORE
    for mode, cells in verdicts(matrix).items():
        assert tuple(cells) == LIMITS
        for limit, verdict in cells.items():
            cell = matrix.modes[mode][limit]
            assert verdict in {"yes", "no", "partly"}
            assert 0 < len(cell.measured["figure"]) <= 8
            assert cell.text.endswith(".")


NO_LIMIT = {"neighbours", "session", "context"}
"""A wait, which a busy machine makes longer, and how FastAPI is made, whatever the mode."""


@pytest.mark.parametrize("mode", CORE)
def test_a_mode_has_the_limits_that_the_registry_says_and_no_other(matrix: LimitsDocument, mode: str) -> None:
    cells = matrix.modes[mode]
    found = {limit for limit, cell in cells.items() if cell.verdict != "yes"}
    assert found - NO_LIMIT == set(MODE_BY_NAME[mode].gives_up) & set(LIMITS)


VERDICTS = {
    "track": "no partly no no no yes",
    "cancel": "no no no no no partly",
    "retry": "no no no no no no",
    "orchestrate": "yes yes yes partly partly partly",
    "offload": "no no no no no yes",
    "distribute": "no no no no no no",
    "survive_restart": "yes yes yes yes yes yes",
    "survive_server_kill": "no no no no no no",
    "survive_worker_kill": "no no no no no no",
    "failure": "partly partly partly no no yes",
    "late_error": "yes yes yes no no yes",
    "hang_up": "yes yes yes yes yes yes",
    "middleware": "yes yes yes yes yes yes",
    "session": "yes yes yes partly partly no",
    "context": "partly partly partly partly partly no",
}
"""Every limit but the one that a busy machine makes longer, in the order of CORE."""


@pytest.mark.parametrize("limit", VERDICTS)
def test_the_verdicts_are_those_that_the_modes_are_known_for(matrix: LimitsDocument, limit: str) -> None:
    found = verdicts(matrix)
    assert " ".join(found[mode][limit] for mode in CORE) == VERDICTS[limit]


AFTERWARDS = ["background", "background-async"]
FACTS: list[tuple[list[str], str, dict[str, Any]]] = [
    (CORE, "retry", {"attempts": 1}),
    (["async"], "orchestrate", {"parts_at_once": 3}),
    (AFTERWARDS, "orchestrate", {"chain_in_order": True, "group_in_order": True}),
    (AFTERWARDS, "orchestrate", {"chain_results_passed": False, "group_results_passed": False}),
    (["process"], "orchestrate", {"chain_in_order": True, "chain_results_passed": True, "group_results_passed": False}),
    (CORE[:-1], "offload", {"figure": "0 of 5"}),
    (["process"], "offload", {"figure": "5 of 5"}),
    (CORE, "distribute", {"by_place": {"first": 6}}),
    (AFTERWARDS, "failure", {"caller_status": 200, "in_stderr": True}),
    (AFTERWARDS, "failure", {"next_task_ran": False, "neighbour_status": None}),
    (["threadpool"], "failure", {"caller_status": 500}),
    (["process"], "failure", {"neighbour_status": 200}),
    (CORE, "late_error", {"statuses": {"HTTPException": 409, "RuntimeError": 500}}),
    (
        AFTERWARDS,
        "session",
        {"closed": {"request": "after the task had ended", "function": "before the task began"}},
    ),
    (CORE[:-1], "context", {"unseen": ["a `def` dependency"]}),
    (["process"], "context", {"seen": []}),
]


@pytest.mark.parametrize(("modes", "limit", "facts"), FACTS)
def test_a_cell_has_the_facts_that_its_verdict_rests_on(
    matrix: LimitsDocument, modes: list[str], limit: str, facts: dict[str, Any]
) -> None:
    for mode in modes:
        measured = matrix.modes[mode][limit].measured
        assert {name: measured[name] for name in facts} == facts, mode


def test_the_caller_of_awaited_steps_waits_for_them(matrix: LimitsDocument) -> None:
    # Two steps of 0.3 s, whose timers may end early.
    assert matrix.modes["async"]["orchestrate"].measured["caller_waited_s"] >= 0.59


def test_whether_neighbours_are_held_up_follows_in_every_mode_from_the_one_wait_that_is_shown(
    matrix: LimitsDocument,
) -> None:
    order = ["yes", "partly", "no"]
    cells = sorted(
        (cells["neighbours"] for cells in matrix.modes.values()), key=lambda cell: cell.measured["ping_max_s"]
    )
    assert [order.index(cell.verdict) for cell in cells] == sorted(order.index(cell.verdict) for cell in cells)
    # Work on the event loop makes everybody wait for all of it.
    for mode in ("blocking", "async", "background-async"):
        assert matrix.modes[mode]["neighbours"].verdict == "no"
        assert matrix.modes[mode]["neighbours"].measured["ping_max_s"] >= 5 / 3 * COMPUTES_S


@pytest.mark.parametrize("limit", LIMITS_OF_KILLS)
def test_no_core_mode_keeps_an_unfinished_task_over_a_kill(matrix: LimitsDocument, limit: str) -> None:
    for mode in CORE:
        cell = matrix.modes[mode][limit]
        assert cell.measured["unfinished"] == cell.measured["lost"] >= 1
        assert cell.measured["ended"] == cell.measured["ran_twice"] == 0
        # One process that dies breaks a ProcessPoolExecutor for good.
        broken = mode == "process" and limit == "survive_worker_kill"
        assert [fate["works_again"] for fate in cell.measured["killed"].values()] == [not broken]
    assert "process" in matrix.modes["process"]["survive_worker_kill"].measured["killed"]


def test_where_the_server_runs_the_tasks_its_kill_is_told_once(matrix: LimitsDocument) -> None:
    texts = {matrix.modes[mode]["survive_worker_kill"].text for mode in CORE[:-1]}
    assert texts == {"The server itself runs the tasks, so this is the server kill above."}
    for mode in CORE[:-1]:
        server, worker = (matrix.modes[mode][limit].measured for limit in LIMITS_OF_KILLS)
        assert worker == {**server, "figure": "same"}


def test_a_normal_restart_waits_for_the_tasks_of_every_core_mode(matrix: LimitsDocument) -> None:
    for mode in CORE:
        cell = matrix.modes[mode]["survive_restart"]
        assert list(cell.measured["killed"]) == ["SIGTERM", "SIGINT"]
        for fate in cell.measured["killed"].values():
            assert (fate["end_s"] is not None, fate["works_again"]) == (True, True)


def test_the_future_of_a_failed_task_knows_its_error(matrix: LimitsDocument) -> None:
    assert "OnPurposeError" in matrix.modes["process"]["failure"].measured["in_engine"]


def test_behind_a_middleware_the_work_outlives_its_caller_and_the_answer_is_no_later(matrix: LimitsDocument) -> None:
    for mode in CORE:
        behind = matrix.modes[mode]["middleware"].measured["behind"]
        assert behind["outlives_caller"]
        assert behind["answer_first"] == (mode in {"background", "background-async", "process"})


def test_a_mode_whose_server_does_not_start_is_skipped_with_its_reason(tmp_path: Path) -> None:
    screen = Remembering()
    document = run(tmp_path, ["celery", "async"], ["track"], screen, broker="redis://127.0.0.1:1/0")
    assert document.skipped == [Skipped(mode="celery", why=screen.skipped["celery"])]
    assert "cannot be used" in screen.skipped["celery"]
    assert list(document.modes) == ["async"]
