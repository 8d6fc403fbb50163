"""What the limits' experiments read, line by line, and what they make of it: no servers here."""

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest

from taskdemo_cli.errors import UserError
from taskdemo_cli.limits import survive
from taskdemo_cli.limits.cancel import _cell as cancel_cell
from taskdemo_cli.limits.distribute import _cell as distribute_cell
from taskdemo_cli.limits.distribute import distribute
from taskdemo_cli.limits.evidence import read_journal, read_steps
from taskdemo_cli.limits.offload import compute_beside_a_bystander
from taskdemo_cli.limits.survive import Fate, fate_cell
from taskdemo_cli.limits.track import track
from taskdemo_cli.limits.trial import Answer
from taskdemo_server.contract.events import TaskEvent, TaskState


def event(task: str, state: TaskState, clock: float, pid: int = 7) -> bytes:
    return TaskEvent(task, state, 0.0, clock, "background", "host", pid, "worker").to_line()


def test_torn_lines_foreign_tasks_and_files_that_are_not_there_yet_are_passed_over(tmp_path: Path) -> None:
    assert (read_journal(tmp_path / "journal"), read_steps(tmp_path / "step_log")) == ([], [])
    journal = tmp_path / "journal"
    journal.write_bytes(event("a", "accepted", 1.0) + event("b", "started", 2.0) + b'{"id":"c","sta')
    assert [task.id for task in read_journal(journal)] == ["a"]
    step_log = tmp_path / "step_log"
    step_log.write_bytes(b'{"key":"k","step":"first","state":"started","clock":1.0,"pid":3}\n{"key":"k","st')
    (note,) = read_steps(step_log)
    assert (note.step, note.state, note.given) == ("first", "started", None)


def killed(**counts: int) -> Fate:
    rest: dict[str, Any] = {"ran_twice": 0, "called_failed": 0, "unanswered": 0, "works_again": True, "took_s": 2.5}
    return Fate("the server was killed", **rest | counts)


@pytest.mark.parametrize(("ended", "verdict"), [(0, "no"), (2, "partly"), (4, "yes")])
def test_survival_is_judged_by_how_many_unfinished_tasks_ended(ended: int, verdict: str) -> None:
    fate = killed(accepted=5, unfinished=4, ended=ended, ran_twice=1)
    cell = fate_cell({"server": fate})
    assert cell.verdict == verdict
    assert cell.measured["figure"] == f"{ended} of 4"
    assert cell.measured["lost"] == 4 - ended
    assert "1 begun twice" in cell.text


def test_a_task_that_its_engine_calls_failed_is_one_of_the_lost_and_not_one_more() -> None:
    cell = fate_cell({"server": killed(accepted=8, unfinished=8, ended=6, called_failed=1)})
    assert "had not ended: 6 ended within 2.50 s, 2 lost (1 reported as failed by the engine)." in cell.text


def test_where_nothing_was_seen_there_is_no_cell() -> None:
    with pytest.raises(UserError, match="every task had ended before it could be cancelled"):
        cancel_cell({"waiting": None, "running": None}, None)
    with pytest.raises(UserError, match="where 2 of 6 tasks ran was not seen, because the process had ended"):
        distribute_cell(Counter({"machine-a": 4, "elsewhere": 2}), "Two workers ran")


def test_a_process_that_had_ended_before_it_was_looked_at_is_no_second_machine() -> None:
    cell = distribute_cell(Counter({"machine-a": 3, "machine-b": 2, "elsewhere": 1}), "Two workers ran")
    assert (cell.verdict, cell.measured["figure"]) == ("yes", "2 of 2")


SEEN = killed(accepted=5, unfinished=4, ended=0)
MISSED = killed(accepted=5, unfinished=0, ended=0)


@pytest.mark.parametrize("fates", [[SEEN], [None, SEEN], [MISSED, SEEN], [None, MISSED, None, None, SEEN]])
def test_more_tasks_are_sent_while_none_was_seen_unfinished(
    fates: list[Fate | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    monkeypatch.setattr(survive, "_keep_busy", lambda _trial, _workers, waiting: sent.append(waiting))
    assert survive._strike(MagicMock(workers=[]), MagicMock(side_effect=fates)) is SEEN
    assert sent == [4, 8, 16, 32, 64][: len(fates)]


def test_tasks_that_never_wait_at_the_kill_are_no_observation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survive, "_keep_busy", MagicMock())
    unseen = "every task had begun before a process could be ended, so nothing was seen; run it again"
    with pytest.raises(UserError, match=unseen):
        survive._strike(MagicMock(workers=[]), lambda _: None)


@pytest.mark.parametrize("workers", [["worker"], []])
def test_workers_are_struck_only_while_tasks_wait(workers: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    tries = [MagicMock(waits=MagicMock(return_value=waits)) for waits in (False, True)]
    monkeypatch.setattr(survive, "_keep_busy", MagicMock(side_effect=tries))
    struck = MagicMock(return_value=SEEN)
    survive._strike(MagicMock(workers=workers), struck)
    struck.assert_called_once_with(tries[1 if workers else 0])


@pytest.mark.parametrize(("found", "waits"), [(False, True), (True, False)])
@pytest.mark.parametrize("strike", [survive._kill_what_runs, survive._kill_worker])
def test_a_process_that_runs_nothing_or_beside_which_nothing_waits_tells_nothing(
    strike: Callable[[Any], Fate | None], found: bool, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = [SimpleNamespace(id="a", starts=[SimpleNamespace(pid=1)], done=False)]
    busy = MagicMock(waits=lambda: waits, running=lambda: running, tasks=lambda: running)
    busy.trial.wait = lambda until, _s: until()
    busy.trial.kill_child = lambda _pid: found
    monkeypatch.setattr(survive, "family", lambda _pid: [1] if found else [])
    assert strike(busy) is None
    busy.fate.assert_not_called()


def test_a_task_that_was_begun_again_and_has_ended_before_anybody_looked_was_killed_all_the_same() -> None:
    tasks = [SimpleNamespace(id=name, state="finished", done=True, starts=[1, 2]) for name in ("killed", "other")]
    trial = MagicMock(tasks=lambda: tasks, restarts=0, wait_for_quiet=lambda *_: True)
    busy = survive._Busy(trial, [], frozenset())
    fate = busy.fate("a process that ran a task was killed", hit="killed")
    assert (fate.unfinished, fate.ended, fate.ran_twice) == (1, 1, 1)


@pytest.mark.parametrize(("late", "sent", "verdict"), [(0, [6], "yes"), (1, [6, 12], "yes"), (9, [6, 12, 24], "no")])
def test_while_one_of_two_workers_ran_all_more_tasks_are_given(
    late: int, sent: list[int], verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second worker of a busy machine begins `late` bursts after the first one."""
    monkeypatch.setitem(distribute.__globals__, "family", lambda main: [main])
    given: list[int] = []
    tasks: list[Any] = []

    def send_tasks(count: int) -> list[Any]:
        given.append(count)
        pids = [1, 2 if len(given) > late else 1]
        tasks.extend(SimpleNamespace(starts=[SimpleNamespace(pid=pid)], done=True) for pid in pids)
        return []

    workers = [SimpleNamespace(name=f"machine-{pid}", child=SimpleNamespace(pid=pid)) for pid in (1, 2)]
    trial = MagicMock(mode="huey", workers=workers, send_tasks=send_tasks, tasks=lambda: tasks)
    trial.follow = lambda _do, over, _timeout: over()
    assert (distribute(trial).verdict, given) == (verdict, sent)


def test_a_bystander_that_asked_before_the_work_began_and_waited_for_its_end_was_held_up() -> None:
    """Asked late, on a busy machine: it is the only one, for nobody asks once the tasks have ended."""
    answer = Answer(200, None, time.monotonic(), time.monotonic() + 1.5)
    trial = MagicMock(serve=lambda **_: MagicMock(pid=1, poll=lambda: None), tasks=list)
    trial.pause = lambda _: time.sleep(0.1)
    trial.send_in_turn = lambda _: MagicMock(result=lambda: [answer])
    assert compute_beside_a_bystander(trial).longest_s > 1


class Passing:
    """A trial whose first task has ended before anybody can ask; of others the engine tells in which state they are."""

    workers = ("worker",)
    enough = 1

    def __init__(self) -> None:
        self.state = "accepted"
        self.wait_for_answers = self.pause = lambda _: None

    def send(self, path: str) -> None:
        self.state = "ended" if path.endswith("key=0.0") else "accepted"

    def wait_for_begin(self, key: str) -> None:
        self.state = "ended" if key == "0.0" else "started"

    def wait(self, _until: object, _timeout: float) -> None:
        self.state = "ended"

    def notes(self, _key: str) -> list[Any]:
        return [SimpleNamespace(state=self.state)] if self.state != "accepted" else []

    def ask(self, _path: str) -> Answer:
        return Answer(200, {"asked": "Job", "state": self.state}, 0.0, 0.0)


def test_an_engine_is_asked_again_where_the_task_had_ended_before_the_question() -> None:
    cell = track(Passing())  # type: ignore[arg-type]
    assert cell.verdict == "yes"
    assert cell.text == "Its Job said 'accepted' while it waited, 'started' while it ran, 'ended' after its end."
