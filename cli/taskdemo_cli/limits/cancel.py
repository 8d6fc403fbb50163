"""Limit `cancel`: whether a waiting and a running task stop when cancelled, and the place is free again.

`yes`: neither came to its end, and the running one's place was taken over before it would have ended. `partly`: one
of them was stopped, or its place stayed taken. `no`: whatever could be tried, the tasks came to their end.
"""

from typing import Any, TypeAlias

from taskdemo_cli.documents.limits import Cell
from taskdemo_cli.errors import UserError
from taskdemo_cli.limits.trial import Answer, Trial
from taskdemo_cli.processes import servers
from taskdemo_cli.units import format_seconds
from taskdemo_server.contract.events import TaskRecord
from taskdemo_server.contract.modes import MODE_BY_NAME

_WORK_S = 1.2
_WORKER_WORK_S = 8.0
"""Where a worker replaces the process that it had to kill: at once or, where it missed its end, when it looks again.

Some look every 5 s.
"""
_SOON_S = 0.8
"""A place is free again if it was taken within this share of the work's time that was left."""


_Tried: TypeAlias = tuple[TaskRecord, Answer]
"""A task as it was when its cancelling was tried, and what was answered."""


def cancel(trial: Trial) -> Cell:
    """Start more tasks than run at once; cancel the last, which waits, and the first, which runs."""
    work_s = _WORKER_WORK_S if MODE_BY_NAME[trial.mode].engine is not None else _WORK_S
    server = trial.serve(duration=work_s)
    at_once = trial.at_once(server)
    count = trial.enough(server)
    trial.wait_for_answers(trial.send_tasks(server, count))
    trial.wait_for_begin(server)
    tasks = trial.tasks(server)
    waiting = _try(trial, server, [task for task in reversed(tasks) if task.state == "accepted"])
    running = _try(trial, server, [task for task in tasks if task.state == "started"])
    trial.wait_for_quiet(server, lambda: _all_over(trial.tasks(server), count), work_s + 1.0)
    after = {task.id: task for task in trial.tasks(server)}
    return _cell(
        waiting=_outcome(waiting[1], after[waiting[0].id]) if waiting else None,
        running=_outcome(running[1], after[running[0].id]) if running else None,
        freed_after=_freed_after(running, list(after.values()), work_s) if running and at_once else None,
    )


def _try(trial: Trial, server: servers.Server, candidates: list[TaskRecord]) -> _Tried | None:
    """Cancel the first of the candidates; None where there is none."""
    if not candidates:
        return None
    return candidates[0], trial.ask(server, f"/tasks/{candidates[0].id}", "DELETE")


def _all_over(tasks: list[TaskRecord], count: int) -> bool:
    return len(tasks) == count and all(task.end for task in tasks)


def _outcome(answer: Answer, after: TaskRecord) -> dict[str, Any]:
    """Return what cancelling came to; a task counts as stopped only if its work never came to its end."""
    detail = answer.body.get("detail") if isinstance(answer.body, dict) else None
    # An answer that came when the task had ended anyway is none.
    in_time = after.end is None or answer.answered < after.end.clock or after.state == "cancelled"
    return {
        "status": answer.status,
        "said": detail,
        "answered_in_time": in_time,
        "answer_s": answer.took,
        "ended_as": after.state,
        "stopped": not after.done,
    }


def _freed_after(running: _Tried, tasks: list[TaskRecord], work_s: float) -> float | None:
    """Return how soon after the cancelling another task was begun, if that was before the work would have ended."""
    task, answer = running
    natural_end = task.starts[-1].clock + work_s
    began = [other.starts[0].clock for other in tasks if other.starts and other.starts[0].clock > answer.asked]
    soon = answer.asked + _SOON_S * (natural_end - answer.asked)
    return min(began) - answer.asked if began and min(began) < soon else None


def _cell(*, waiting: dict[str, Any] | None, running: dict[str, Any] | None, freed_after: float | None) -> Cell:
    if waiting is None and running is None:
        raise UserError("every task had ended before it could be cancelled, so nothing was seen; run it again")
    stopped = [tried["stopped"] for tried in (waiting, running) if tried is not None]
    took_place = running is None or not running["stopped"] or freed_after is not None or waiting is None
    everything = bool(stopped) and all(stopped) and took_place
    sentences = [_words("waiting", waiting), _words("running", running)]
    if running and running["stopped"]:
        if freed_after is not None:
            sentences.append(f"Its place was taken by the next task {format_seconds(freed_after)} later.")
        elif waiting is not None:
            sentences.append("Its place stayed taken until its work would have ended.")
    return Cell(
        verdict="yes" if everything else "partly" if any(stopped) else "no",
        measured={
            "figure": f"{sum(map(bool, stopped))} of {len(stopped)}",
            "waiting": waiting,
            "running": running,
            "freed_after_s": freed_after,
        },
        text=" ".join(filter(None, sentences)),
    )


def _words(which: str, tried: dict[str, Any] | None) -> str:
    if tried is None:
        return "No task ever waited." if which == "waiting" else "No task was seen running."
    if tried["stopped"]:
        return f"A {which} task was cancelled and never came to its end."
    if not tried["answered_in_time"]:
        took = format_seconds(tried["answer_s"])
        return f"The request to cancel a {which} task was answered after {took}, when it had ended."
    why = "no answer" if tried["status"] is None else f"HTTP {tried['status']}"
    return f"A {which} task could not be cancelled ({why}) and went on to its end."
