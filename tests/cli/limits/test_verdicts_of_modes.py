"""The matrix of limits on real servers: the cells that are facts, and what one may rely on in every cell."""

from pathlib import Path

import pytest

from commands import taskdemo
from limits_runs import Remembering, run, verdicts
from taskdemo_cli import limits
from taskdemo_cli.documents import limits as documents
from taskdemo_cli.documents.limits import LimitsDocument
from taskdemo_cli.documents.run import Skipped
from taskdemo_server.contract.modes import MODE_BY_NAME

CORE = ["blocking", "async", "threadpool", "background", "background-async", "process"]
LIMITS_OF_KILLS = ("survive_server_kill", "survive_worker_kill")


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> LimitsDocument:
    return run(tmp_path_factory.mktemp("limits"), CORE)


def test_the_documents_know_the_limits_in_the_order_of_their_experiments() -> None:
    assert documents.LIMITS == limits.LIMITS


def test_every_cell_has_a_verdict_a_figure_and_a_sentence(matrix: LimitsDocument) -> None:
    assert list(matrix.modes) == CORE
    for mode, cells in verdicts(matrix).items():
        assert tuple(cells) == limits.LIMITS
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
    assert found - NO_LIMIT == set(MODE_BY_NAME[mode].gives_up) & set(limits.LIMITS)


def test_only_what_is_in_a_pool_can_be_tracked_through_all_its_states(matrix: LimitsDocument) -> None:
    assert {mode: cells["track"] for mode, cells in verdicts(matrix).items()} == {
        "blocking": "no",
        "async": "partly",
        "threadpool": "no",
        "background": "no",
        "background-async": "no",
        "process": "yes",
    }


def test_background_cannot_cancel_and_a_pool_can_only_take_back_what_waits(matrix: LimitsDocument) -> None:
    for mode in CORE[:-1]:
        assert verdicts(matrix)[mode]["cancel"] == "no"
    background = matrix.modes["background"]["cancel"].measured
    assert (background["waiting"]["status"], background["waiting"]["ended_as"]) == (409, "finished")
    assert (background["running"]["status"], background["running"]["ended_as"]) == (409, "finished")
    process = matrix.modes["process"]["cancel"]
    assert process.verdict == "partly"
    assert process.measured["waiting"]["ended_as"] == "cancelled"
    assert process.measured["running"]["ended_as"] == "finished"


def test_no_core_mode_runs_failed_work_again(matrix: LimitsDocument) -> None:
    for mode in CORE:
        cell = matrix.modes[mode]["retry"]
        assert cell.verdict == "no"
        assert cell.measured["attempts"] == 1


def test_background_tasks_keep_their_order_and_hand_no_result_on(matrix: LimitsDocument) -> None:
    for mode in ("background", "background-async"):
        measured = matrix.modes[mode]["orchestrate"].measured
        assert measured["chain_in_order"]
        assert measured["group_in_order"]
        assert not measured["chain_results_passed"]
        assert not measured["group_results_passed"]
        assert matrix.modes[mode]["orchestrate"].verdict == "partly"


def test_awaited_steps_run_side_by_side_and_their_caller_waits(matrix: LimitsDocument) -> None:
    cell = matrix.modes["async"]["orchestrate"]
    assert cell.verdict == "yes"
    assert cell.measured["parts_at_once"] == 3
    assert cell.measured["caller_waited_s"] >= 0.59  # two steps of 0.3 s, whose timers may end early


def test_a_pool_calls_back_for_one_future_and_cannot_wait_for_three(matrix: LimitsDocument) -> None:
    measured = matrix.modes["process"]["orchestrate"].measured
    assert measured["chain_in_order"]
    assert measured["chain_results_passed"]
    assert not measured["group_results_passed"]


def test_only_process_leaves_the_servers_process(matrix: LimitsDocument) -> None:
    for mode in CORE:
        measured = matrix.modes[mode]["offload"].measured
        assert measured["left"] == (mode == "process")
        assert (measured["server_pid"] in measured["work_pids"]) == (mode != "process")
        assert matrix.modes[mode]["offload"].measured["figure"] == ("5 of 5" if mode == "process" else "0 of 5")


def test_whether_neighbours_are_held_up_follows_in_every_mode_from_the_one_wait_that_is_shown(
    matrix: LimitsDocument,
) -> None:
    order = ["yes", "partly", "no"]
    cells = sorted(
        (cells["neighbours"] for cells in matrix.modes.values()), key=lambda cell: cell.measured["ping_max_s"]
    )
    assert [order.index(cell.verdict) for cell in cells] == sorted(order.index(cell.verdict) for cell in cells)
    assert len({(cell.measured["yes_below_s"], cell.measured["no_from_s"]) for cell in cells}) == 1
    # Work on the event loop makes everybody wait for all of it.
    for mode in ("blocking", "async", "background-async"):
        assert matrix.modes[mode]["neighbours"].verdict == "no"
        assert matrix.modes[mode]["neighbours"].measured["ping_max_s"] >= 0.5


def test_no_core_mode_spreads_over_servers(matrix: LimitsDocument) -> None:
    for mode in CORE:
        cell = matrix.modes[mode]["distribute"]
        assert cell.verdict == "no"
        assert cell.measured["by_place"] == {"first": 6}


@pytest.mark.parametrize("limit", LIMITS_OF_KILLS)
def test_no_core_mode_keeps_an_unfinished_task_over_a_kill(matrix: LimitsDocument, limit: str) -> None:
    for mode in CORE:
        cell = matrix.modes[mode][limit]
        assert cell.verdict == "no"
        assert cell.measured["unfinished"] == cell.measured["lost"] >= 1
        assert cell.measured["ended"] == cell.measured["ran_twice"] == 0
        # One process that dies breaks a ProcessPoolExecutor for good.
        broken = mode == "process" and limit == "survive_worker_kill"
        assert [fate["works_again"] for fate in cell.measured["killed"].values()] == [not broken]
    assert "process" in matrix.modes["process"]["survive_worker_kill"].measured["killed"]


def test_where_the_server_runs_the_tasks_its_kill_is_told_once(matrix: LimitsDocument) -> None:
    texts = {matrix.modes[mode]["survive_worker_kill"].text for mode in CORE[:-1]}
    assert texts == {"The server itself runs the tasks: to kill what runs them is to kill the server, as above."}
    for mode in CORE[:-1]:
        server, worker = (matrix.modes[mode][limit].measured for limit in LIMITS_OF_KILLS)
        assert worker == {**server, "figure": "same"}


def test_a_normal_restart_waits_for_the_tasks_of_every_core_mode(matrix: LimitsDocument) -> None:
    for mode in CORE:
        cell = matrix.modes[mode]["survive_restart"]
        assert cell.verdict == "yes"
        assert list(cell.measured["killed"]) == ["SIGTERM", "SIGINT"]
        for fate in cell.measured["killed"].values():
            assert (fate["end_s"] is not None, fate["open_at_end"], fate["works_again"]) == (True, 0, True)


def test_a_failed_background_task_is_hidden_from_its_caller_and_hurts_its_neighbours(matrix: LimitsDocument) -> None:
    for mode in ("background", "background-async"):
        cell = matrix.modes[mode]["failure"]
        assert cell.verdict == "no"
        assert cell.measured["caller_status"] == 200
        assert not cell.measured["next_task_ran"]
        assert cell.measured["neighbour_status"] is None
        assert cell.measured["in_stderr"]
    assert matrix.modes["threadpool"]["failure"].measured["caller_status"] == 500


def test_a_failed_task_in_a_pool_hurts_nobody_and_its_future_knows(matrix: LimitsDocument) -> None:
    cell = matrix.modes["process"]["failure"]
    assert cell.verdict == "yes"
    assert "OnPurposeError" in cell.measured["in_engine"]
    assert cell.measured["neighbour_status"] == 200


def test_background_tasks_are_dropped_where_the_endpoint_raises_after_adding_them(matrix: LimitsDocument) -> None:
    for mode in CORE:
        cell = matrix.modes[mode]["late_error"]
        assert cell.verdict == ("no" if mode.startswith("background") else "yes")
        assert cell.measured["statuses"] == {"HTTPException": 409, "RuntimeError": 500}


def test_nobody_who_hangs_up_stops_the_work_not_even_behind_a_middleware(matrix: LimitsDocument) -> None:
    for mode in CORE:
        assert matrix.modes[mode]["hang_up"].verdict == "yes"
        cell = matrix.modes[mode]["middleware"]
        assert cell.verdict == "yes"
        assert cell.measured["behind"]["outlives_caller"]
        assert cell.measured["behind"]["answer_first"] == (mode in {"background", "background-async", "process"})


def test_a_session_is_held_for_a_background_task_unless_it_is_the_functions_own(matrix: LimitsDocument) -> None:
    for mode in ("background", "background-async"):
        assert matrix.modes[mode]["session"].measured["closed"] == {
            "request": "after the task had ended",
            "function": "before the task began",
        }
    for mode in ("blocking", "async", "threadpool"):
        assert matrix.modes[mode]["session"].verdict == "yes"
    assert matrix.modes["process"]["session"].verdict == "no"


def test_work_in_this_process_sees_the_context_but_for_what_a_plain_dependency_sets(matrix: LimitsDocument) -> None:
    for mode in CORE[:-1]:
        assert matrix.modes[mode]["context"].measured["unseen"] == ["a `def` dependency"]
    assert matrix.modes["process"]["context"].measured["seen"] == []


def test_a_mode_whose_server_does_not_start_is_skipped_with_its_reason(tmp_path: Path) -> None:
    screen = Remembering()
    document = run(tmp_path, ["celery", "async"], ["track"], screen, broker="redis://127.0.0.1:1/0")
    assert document.skipped == [Skipped(mode="celery", why=screen.skipped["celery"])]
    assert "cannot be used" in screen.skipped["celery"]
    assert list(document.modes) == ["async"]


def test_where_no_mode_can_be_run_there_is_no_table_but_the_reason() -> None:
    done = taskdemo("limits", "--modes", "celery", "--broker", "memory://", "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith("taskdemo: 'memory://' is not a broker for celery")
