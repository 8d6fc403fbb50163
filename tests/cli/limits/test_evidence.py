"""What the limits' experiments read, line by line, and what they make of it: no servers here."""

from collections import Counter
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from taskdemo_cli.errors import UserError
from taskdemo_cli.limits import survive
from taskdemo_cli.limits.cancel import _cell as cancel_cell
from taskdemo_cli.limits.distribute import _cell as distribute_cell
from taskdemo_cli.limits.evidence import read_journal, read_steps
from taskdemo_cli.limits.survive import Fate, fate_cell
from taskdemo_cli.limits.track import _cell as track_cell
from taskdemo_cli.limits.track import _Said
from taskdemo_server.contract.events import TaskEvent, TaskState


def event(task: str, state: TaskState, clock: float, pid: int = 7) -> bytes:
    return TaskEvent(task, state, 0.0, clock, "background", "host", pid, "worker").to_line()


def test_a_task_that_was_begun_twice_has_two_starts_and_its_last_place(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.write_bytes(
        event("a", "accepted", 1.0)
        + event("a", "started", 2.0)
        + event("a", "started", 3.0, pid=8)
        + event("a", "finished", 4.0)
    )
    (task,) = read_journal(journal)
    assert [(start.clock, start.pid) for start in task.starts] == [(2.0, 7), (3.0, 8)]
    assert task.state == "finished"


def test_torn_lines_and_foreign_tasks_are_passed_over(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.write_bytes(event("a", "accepted", 1.0) + event("b", "started", 2.0) + b'{"id":"c","sta')
    assert [task.id for task in read_journal(journal)] == ["a"]
    step_log = tmp_path / "step_log"
    step_log.write_bytes(b'{"key":"k","step":"first","state":"started","clock":1.0,"pid":3}\n{"key":"k","st')
    (note,) = read_steps(step_log, "k")
    assert (note.step, note.state, note.given) == ("first", "started", None)


def test_files_that_are_not_there_yet_tell_nothing(tmp_path: Path) -> None:
    assert read_journal(tmp_path / "journal") == []
    assert read_steps(tmp_path / "step_log", "k") == []


def killed(*, accepted: int, unfinished: int, ended: int, ran_twice: int = 0) -> Fate:
    return Fate(
        "the server was killed",
        accepted=accepted,
        unfinished=unfinished,
        ended=ended,
        ran_twice=ran_twice,
        called_failed=0,
        unanswered=0,
        works_again=True,
        took_s=2.5,
    )


@pytest.mark.parametrize(("ended", "verdict"), [(0, "no"), (2, "partly"), (4, "yes")])
def test_survival_is_judged_by_how_many_unfinished_tasks_ended(ended: int, verdict: str) -> None:
    fate = killed(accepted=5, unfinished=4, ended=ended, ran_twice=1)
    cell = fate_cell({"server": fate})
    assert cell.verdict == verdict
    assert cell.measured["figure"] == f"{ended} of 4"
    assert cell.measured["lost"] == 4 - ended
    assert "1 was begun twice" in cell.text


def test_a_single_task_is_not_told_as_one_of_one() -> None:
    fate = killed(accepted=1, unfinished=1, ended=0)
    text = fate_cell({"server": fate}).text
    assert text == "When the server was killed, the one accepted task had not ended; it was lost."


def test_a_kill_that_found_no_unfinished_task_makes_no_cell() -> None:
    fates = {"server": killed(accepted=4, unfinished=2, ended=0), "worker": killed(accepted=4, unfinished=0, ended=0)}
    with pytest.raises(UserError, match="every task had ended before the server was killed, so nothing was seen"):
        fate_cell(fates)


def test_what_could_not_be_killed_makes_no_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survive, "_busy", MagicMock())
    trial = MagicMock(once=lambda _: (killed(accepted=1, unfinished=1, ended=1), False), wait=lambda *_: False)
    with pytest.raises(UserError, match="no process was seen running a task, so none could be killed; run it again"):
        survive.survive_worker_kill(trial)


def test_where_no_task_was_left_to_cancel_there_is_no_cell() -> None:
    with pytest.raises(UserError, match="every task had ended before it could be cancelled"):
        cancel_cell(waiting=None, running=None, freed_after=None)


def test_a_request_to_cancel_that_got_no_answer_is_told_as_one() -> None:
    tried = {"status": None, "stopped": False, "answered_in_time": True}
    text = cancel_cell(waiting=None, running=tried, freed_after=None).text
    assert text.endswith("A running task could not be cancelled (no answer) and went on to its end.")


def test_a_process_that_had_ended_before_it_was_looked_at_is_no_second_machine() -> None:
    with pytest.raises(UserError, match="where 2 of 6 tasks ran was not seen, because the process had ended"):
        distribute_cell(Counter({"machine-a": 4, "elsewhere": 2}), "Two workers ran")
    cell = distribute_cell(Counter({"machine-a": 3, "machine-b": 2, "elsewhere": 1}), "Two workers ran")
    assert (cell.verdict, cell.measured["figure"]) == ("yes", "2 of 2")


def test_a_task_that_is_called_running_before_its_work_begins_is_explained_beside_the_verdict() -> None:
    states = {"waiting": "PENDING", "running": "RUNNING", "ended": "FINISHED"}
    said = {moment: _Said("Future", state) for moment, state in states.items()}
    cell = track_cell(said, wrong=3)
    assert cell.verdict == "yes"
    assert "It also said 'RUNNING' of 3 whose work had not begun: it says so from the hand-over on." in cell.text


def test_a_question_whose_answer_came_too_late_is_told_only_where_the_task_had_ended_by_then() -> None:
    said = {"running": _Said("AsyncResult", "STARTED"), "ended": _Said("AsyncResult", "SUCCESS")}
    cell = track_cell({"waiting": _Said(late="running"), **said}, wrong=0)
    assert cell.text == "Its AsyncResult said 'STARTED' while it ran, 'SUCCESS' after its end."
    assert "it never had to wait." in track_cell({"waiting": _Said(), **said}, wrong=0).text
    cell = track_cell({"waiting": _Said(late="ended"), "running": _Said(), "ended": _Said()}, wrong=0)
    assert cell.text.endswith("While it ran, the question was not even answered.")
