"""Limit `cancel`: whether a waiting and a running task stop when cancelled, and the running one frees its place.

`yes`: neither ran to its end, and another task took the running one's place before it would have ended. `partly`: only
one of them stopped, or the place stayed taken. `no`: every task that could be tried ran to its end.
"""

import time
from typing import Any, TypeAlias

from taskdemo_cli.documents.limits import Cell
from taskdemo_cli.errors import UserError
from taskdemo_cli.limits.trial import Answer, Trial
from taskdemo_cli.units import format_seconds
from taskdemo_server.contract.events import TaskRecord

_WORK_S = 1.2
_WORKER_WORK_S = 8.0
"""With workers: one replaces a process that it killed at once or, if it missed the exit, at its next check.

Some check every 5 s.
"""
_SOON_S = 0.8
"""A place was freed early if another task took it within this share of the work's duration."""

_Tried: TypeAlias = tuple[TaskRecord, Answer]
"""A task as it was just before the attempt to cancel it, and the server's answer."""


def cancel(trial: Trial) -> Cell:
    """Start more tasks than run at once; cancel the last waiting and the first running one."""
    work_s = _WORKER_WORK_S if trial.has_workers else _WORK_S
    trial.serve(duration=work_s)
    at_once = trial.at_once or 1
    # One task waits, and one takes the freed place: a worker takes no more tasks than it runs.
    trial.wait_for_answers(trial.send_tasks(at_once + 2 if trial.has_workers else trial.enough))
    trial.wait_for_begin()
    trial.wait(lambda: sum(task.state == "started" for task in trial.tasks()) >= at_once, work_s / 2)
    tasks = trial.tasks()
    tried = {
        "waiting": _try(trial, [task for task in reversed(tasks) if task.state == "accepted"]),
        "running": _try(trial, [task for task in tasks if task.state == "started"]),
    }
    running = tried["running"]
    soon = running[0].starts[-1].clock + _SOON_S * work_s if running else 0.0

    def after(one: _Tried) -> TaskRecord:
        return next(task for task in trial.tasks() if task.id == one[0].id)

    def freed_after() -> float | None:
        """Return the seconds from the cancellation to the next begin; None if that is late, or tasks need no place."""
        asked = running[1].asked if running and trial.at_once else soon
        begun = [task.starts[0].clock for task in trial.tasks() if task.starts]
        return min((clock - asked for clock in begun if asked < clock < soon), default=None)

    def over() -> bool:
        is_known = freed_after() is not None or time.monotonic() > soon
        return is_known and all(after(one).end for one in tried.values() if one)

    trial.wait_for_quiet(over, work_s + 1.0)
    outcomes = {which: _outcome(one[1], after(one)) if one else None for which, one in tried.items()}
    return _cell(outcomes, freed_after())


def _try(trial: Trial, candidates: list[TaskRecord]) -> _Tried | None:
    """Cancel the first candidate; return None if there is none."""
    if not candidates:
        return None
    return candidates[0], trial.ask(f"/tasks/{candidates[0].id}", "DELETE")


def _outcome(answer: Answer, after: TaskRecord) -> dict[str, Any]:
    """Return the outcome of a cancellation; a task counts as stopped only if its work did not run to its end."""
    detail = answer.body.get("detail") if isinstance(answer.body, dict) else None
    return {"status": answer.status, "said": detail, "ended_as": after.state, "stopped": not after.done}


def _cell(tried: dict[str, dict[str, Any] | None], freed_after: float | None) -> Cell:
    stopped = [one["stopped"] for one in tried.values() if one is not None]
    if not stopped:
        raise UserError("every task had ended before it could be cancelled, so nothing was seen; run it again")
    sentences = [_words(which, one) for which, one in tried.items()]
    is_kept = False
    if (running := tried["running"]) and running["stopped"]:
        if freed_after is not None:
            sentences.append(f"The next task took its slot {format_seconds(freed_after)} later.")
        else:
            is_kept = True
            sentences.append("Its slot stayed taken until its work would have ended.")
    return Cell(
        verdict="yes" if all(stopped) and not is_kept else "partly" if any(stopped) else "no",
        measured={"figure": f"{sum(stopped)} of {len(stopped)}", **tried, "freed_after_s": freed_after},
        text=" ".join(sentences),
    )


def _words(which: str, tried: dict[str, Any] | None) -> str:
    if tried is None:
        return f"No task was seen {which}."
    if tried["stopped"]:
        return f"A {which} task was cancelled and did not complete."
    return f"A {which} task could not be cancelled (HTTP {tried['status']}) and ran to completion."
