"""Limits `survive_server_kill` and `survive_worker_kill`: what becomes of accepted tasks when a process is killed.

SIGKILL, while tasks run and wait; a server that was killed is started again on its journal. `yes`: every task that
was accepted and had not ended did end. `partly`: some did. `no`: none did. One that was begun twice is counted.
"""

import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from typing import Literal

from taskdemo_cli.documents.types import Cell
from taskdemo_cli.limits.backing import family
from taskdemo_cli.limits.trial import Answer, Trial
from taskdemo_cli.processes import servers
from taskdemo_cli.units import format_count, format_seconds
from taskdemo_server.contract.events import TaskRecord

_WORK_S = 0.5
_WAITING = 4
"""Tasks beyond those that run at once."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of the tasks that were unfinished at a kill."""

    killed: str
    """What was killed, in words."""
    accepted: int
    unfinished: int
    ended: int
    ran_twice: int
    called_failed: int
    """Of those that did not end, the ones that the engine knows of and calls failed."""
    unanswered: int
    """Requests that got no answer."""
    works_again: bool
    """Whether a task that was sent afterwards did end."""
    took_s: float
    """Seconds from the kill until the last of them had ended, or until nothing more was expected."""
    restarts: int = 0
    """How often a worker had to be started again, which ended with a process of it."""


def survive_server_kill(trial: Trial) -> Cell:
    """Kill the server, and start it again."""
    server, pending = _busy(trial)
    return fate_cell({"server": _kill_server(trial, server, pending)})


def survive_worker_kill(trial: Trial) -> Cell:
    """Kill the process that runs a task: often that is the server itself, which then is started again.

    Where the mode has workers of its own, one of these as a whole is killed too, in a second go, beside another.
    """
    server, pending = _busy(trial)
    trial.wait(lambda: bool(_running(trial, server)), 5)
    pid = _running(trial, server)[0].starts[-1].pid
    if pid == server.pid:
        return fate_cell({"server": _kill_server(trial, server, pending)})
    killed = "a process that ran a task" if trial.kill_child(server, pid) else "nothing"
    fates = {"process": _see(trial, server, pending, killed)}
    if trial.workers:
        server, pending = _busy(trial, workers=("machine-a", "machine-b"))
        victim = next(worker for worker in trial.workers if worker.name == "machine-a")
        pids = family(victim.child.pid)
        trial.wait(lambda: any(task.starts[-1].pid in pids for task in _running(trial, server)), 5)
        victim.kill()
        fates["worker"] = _see(trial, server, pending, "one of two whole workers")
    return fate_cell(fates)


def _running(trial: Trial, server: servers.Server) -> list[TaskRecord]:
    return [task for task in trial.tasks(server) if task.running]


def _busy(trial: Trial, workers: Sequence[str] = ("worker",)) -> "tuple[servers.Server, list[Future[Answer]]]":
    """Return a server with tasks that run and tasks that wait, and the answers to their callers."""
    server = trial.serve(duration=_WORK_S, workers=workers)
    pending = trial.send_tasks(server, (trial.at_once(server) or 0) * len(workers) + _WAITING)
    trial.wait(lambda: bool(_running(trial, server)), 30)
    trial.wait_for_answers(pending)
    return server, pending


def _kill_server(trial: Trial, server: servers.Server, pending: "list[Future[Answer]]") -> Fate:
    server.kill()
    killed = "the server, in which the tasks ran," if _ran_in(trial, server, server.pid) else "the server"
    return _see(trial, server, pending, killed, restart=True)


def _see(
    trial: Trial, server: servers.Server, pending: "list[Future[Answer]]", killed: str, *, restart: bool = False
) -> Fate:
    """See what becomes of the tasks that have not ended now, just after the kill."""
    killed_at, restarts = time.monotonic(), trial.restarts
    tasks = trial.tasks(server)
    open_ = {task.id for task in tasks if task.state != "finished"}
    if restart:
        server = trial.restart(server)

    def affected() -> list[TaskRecord]:
        return [task for task in trial.tasks(server) if task.id in open_]

    def settled() -> bool:
        return all(task.done for task in affected())

    known = restarts
    while not trial.wait_for_quiet(server, settled, trial.patience(_WORK_S)) and trial.restarts > known:
        known = trial.restarts
        trial.await_workers()
    took = time.monotonic() - killed_at
    return Fate(
        killed=killed,
        accepted=len(tasks),
        unfinished=len(open_),
        ended=sum(task.state == "finished" for task in affected()),
        ran_twice=sum(len(task.starts) > 1 for task in affected()),
        called_failed=sum(task.state == "failed" for task in affected()),
        unanswered=sum(one.done() and one.result().status is None for one in pending),
        works_again=_works(trial, server),
        took_s=took,
        restarts=trial.restarts - restarts,
    )


def _ran_in(trial: Trial, server: servers.Server, pid: int) -> bool:
    return any(task.starts[-1].pid == pid for task in trial.tasks(server) if task.starts)


def _works(trial: Trial, server: servers.Server) -> bool:
    """Tell whether a new task comes to its end."""
    known = {task.id for task in trial.tasks(server)}
    trial.send(server, "/?message=afterwards")
    return trial.wait(lambda: any(task.done for task in trial.tasks(server) if task.id not in known), 5)


def fate_cell(fates: dict[str, Fate]) -> Cell:
    """Return the cell for what became of the tasks at each kill, by what was killed."""
    unfinished, ended = (sum(getattr(fate, name) for fate in fates.values()) for name in ("unfinished", "ended"))
    verdict: Literal["yes", "no", "partly"] = "partly"
    if not ended:
        verdict = "no"
    elif ended == unfinished:
        verdict = "yes"
    return Cell(
        verdict=verdict,
        measured={
            "figure": f"{ended} of {unfinished}",
            "unfinished": unfinished,
            "ended": ended,
            "lost": unfinished - ended,
            "ran_twice": sum(fate.ran_twice for fate in fates.values()),
            "killed": {name: asdict(fate) for name, fate in fates.items()},
        },
        text=" ".join(_words(fate) for fate in fates.values()),
    )


def _words(fate: Fate) -> str:
    lost = fate.unfinished - fate.ended
    whole = fate.unfinished == fate.accepted == 1
    tasks = "the one accepted task" if whole else f"{fate.unfinished} of {format_count(fate.accepted, 'accepted task')}"
    text = f"When {fate.killed} was killed, {tasks} had not ended"
    within = f"within {format_seconds(fate.took_s)}"
    if not fate.ended:
        text += f"; {'it was' if lost == 1 else 'all were'} lost"
    elif lost:
        text += f"; {fate.ended} did afterwards, {within}, and {lost} {'was' if lost == 1 else 'were'} lost"
    else:
        text += f"; {'it' if fate.ended == 1 else 'all'} did afterwards, {within}"
    if fate.called_failed:
        text += f"; the engine says of {fate.called_failed} that it failed"
    if fate.ran_twice:
        text += f"; {fate.ran_twice} {'was' if fate.ran_twice == 1 else 'were'} begun twice"
    text += "."
    if fate.restarts:
        text += " The worker ended with it, and was started again, as whatever looks after it elsewhere would do."
    if fate.unanswered:
        text += f" {format_count(fate.unanswered, 'caller')} got no answer."
    if not fate.works_again:
        text += " A task sent afterwards did not end within 5 s."
    return text
