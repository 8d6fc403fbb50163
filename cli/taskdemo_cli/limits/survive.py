"""Limits `survive_restart`, `survive_server_kill` and `survive_worker_kill`: what becomes of accepted tasks.

The process ends while tasks run and wait: as a normal restart has it (SIGTERM, and SIGINT), or killed (SIGKILL). It
is then started again on its journal. `yes`: every task that was accepted and had not ended did end. `partly`:
some did. `no`: none did. One that was begun twice is counted.
"""

import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from functools import partial

from msgspec.structs import replace

from taskdemo_cli.documents.limits import Cell
from taskdemo_cli.errors import UserError
from taskdemo_cli.limits.backing import MACHINES, family
from taskdemo_cli.limits.evidence import counted
from taskdemo_cli.limits.trial import RESTART_PATIENCE_S, WORK_S, Answer, Trial
from taskdemo_cli.processes import servers
from taskdemo_cli.units import format_count, format_seconds
from taskdemo_server.contract.events import TaskRecord

_WAITING = 4
"""Tasks beyond those that run at once."""
_TRIES = 3
"""On a machine that has no time for it, tasks may have ended before anybody looked; then others are sent."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of the tasks that were unfinished when a process had to end."""

    killed: str
    """What had to end, and how, in words."""
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
    end_s: float | None = None
    """How long the server took to end by itself; None where it was killed, or had to be."""
    open_at_end: int = 0
    """How many of the tasks had not ended when the server had."""


def survive_restart(trial: Trial) -> Cell:
    """Tell the server to end, as whatever looks after it elsewhere and Ctrl-C do, and start it again.

    Where the mode has workers of its own, one of these is told so instead of Ctrl-C.
    """

    def see(number: signal.Signals) -> Fate:
        told = f"the server was told to end ({number.name})"
        return _see(trial, _busy(trial, ("worker",)), told, partial(trial.tell, number))

    fates = {"SIGTERM": see(signal.SIGTERM)}
    if not trial.workers:
        fates["SIGINT"] = see(signal.SIGINT)
    else:
        busy = _busy(trial, ("worker",))
        trial.workers[-1].tell(signal.SIGTERM)
        fates["worker"] = _see(trial, busy, "the worker was told to end (SIGTERM)", is_workers_end=True)
    cell = fate_cell(fates)
    return cell if cell.verdict != "yes" else replace(cell, text=_restarted(list(fates.values()), bool(trial.workers)))


def _restarted(fates: list[Fate], has_worker: bool) -> str:
    """Return in few words that nothing was lost."""
    servers = fates[:1] if has_worker else fates
    ends = [fate.end_s for fate in servers if fate.end_s is not None]
    took = f"took {format_seconds(max(ends))} at most" if len(ends) == len(servers) else "had to be killed in the end"
    waited = "did not wait" if any(fate.open_at_end for fate in servers) else "waited"
    unanswered = sum(fate.unanswered for fate in fates)
    worker = f"; its worker, told so with {fates[-1].unfinished} more, was started again" if has_worker else ""
    twice = sum(fate.ran_twice for fate in fates)
    return (
        f"Told to end, by SIGTERM{'' if has_worker else ' and by SIGINT'}, the server {waited} for its "
        f"{format_count(sum(fate.unfinished for fate in servers), 'unfinished task')} of {format_seconds(WORK_S)} and "
        f"{took}{worker}; all came to "
        f"their end{f', {twice} of them begun twice' if twice else ''}."
        + (f" {format_count(unanswered, 'caller')} got no answer." if unanswered else "")
    )


def survive_server_kill(trial: Trial) -> Cell:
    """Kill the server, and start it again."""
    return fate_cell({"server": trial.once(_kill_server)[0]})


def survive_worker_kill(trial: Trial) -> Cell:
    """Kill the process that runs a task; where that is the server itself, this has been seen.

    Where the mode has workers of its own, one of two is killed too, as a whole, in a second go.
    """
    fate, runs_tasks = trial.once(_kill_server)
    if runs_tasks:
        cell = fate_cell({"server": fate})
        text = "The server itself runs the tasks: to kill what runs them is to kill the server, as above."
        return replace(cell, measured={**cell.measured, "figure": "same"}, text=text)
    busy = _kill_what_runs(trial)
    fates = {"process": _see(trial, busy, "a process that ran a task was killed")}
    if trial.workers:
        busy = _busy(trial)
        victim = trial.workers[0]

        def works() -> bool:
            pids = family(victim.child.pid)
            return any(task.starts[-1].pid in pids for task in _running(trial, busy))

        trial.wait(works, 5)
        victim.kill()
        fates["worker"] = _see(trial, busy, "one of two whole workers was killed")
    return fate_cell(fates)


def _kill_what_runs(trial: Trial) -> "_Busy":
    """Kill a process that runs a task, and return what it was busy with; UserError where none is seen to run one."""

    def is_killed() -> bool:
        for task in _running(trial, busy):
            if trial.kill_child(busy.server, task.starts[-1].pid):
                after = next(one for one in busy.tasks(trial) if one.id == task.id)
                return not after.done or len(after.starts) > 1  # else it had ended just before
        return False

    for _ in range(_TRIES):
        busy = _busy(trial)
        if trial.wait(is_killed, 5):
            return busy
    raise UserError("no process was seen running a task, so none could be killed; run it again")


@dataclass(frozen=True, slots=True)
class _Busy:
    """A server with tasks that run and tasks that wait."""

    server: servers.Server
    answers: "list[Future[Answer]]"
    """To their callers."""
    earlier: frozenset[str]
    """Tasks of before, which do not count."""

    def tasks(self, trial: Trial) -> list[TaskRecord]:
        """Return what the journal tells of those that count."""
        return [task for task in trial.tasks(self.server) if task.id not in self.earlier]


def _running(trial: Trial, busy: _Busy) -> list[TaskRecord]:
    return [task for task in busy.tasks(trial) if task.state == "started"]


def _busy(trial: Trial, workers: Sequence[str] = MACHINES) -> _Busy:
    """Return a busy server: a fresh one or, because workers take long to start, the one that has these."""
    for _ in range(_TRIES):
        busy = _send(trial, workers)
        if any(task.state != "finished" for task in busy.tasks(trial)):
            break
    return busy


def _send(trial: Trial, workers: Sequence[str]) -> _Busy:
    server = trial.latest if trial.workers else trial.serve(duration=WORK_S, workers=workers)
    trial.await_workers()
    earlier = frozenset(task.id for task in trial.tasks(server))
    running = (trial.at_once(server) or 0) * max(len(trial.workers), 1)
    busy = _Busy(server, trial.send_tasks(server, running + _WAITING), earlier)
    trial.wait_for_begin(server, earlier=earlier)
    if trial.workers:  # What an engine does while these begin their tasks is a matter of luck, so no verdict.
        trial.wait(lambda: len(_running(trial, busy)) >= running, WORK_S)
    trial.wait_for_answers(busy.answers)
    return busy


def _kill_server(trial: Trial) -> tuple[Fate, bool]:
    """Kill a busy server, and start it again; return what became of its tasks, and whether it ran them itself."""
    busy = _busy(trial)
    runs_tasks = any(task.starts[-1].pid == busy.server.pid for task in busy.tasks(trial) if task.starts)
    killed = "the server, in which the tasks ran, was killed" if runs_tasks else "the server was killed"
    return _see(trial, busy, killed, servers.Server.kill), runs_tasks


def _see(
    trial: Trial,
    busy: _Busy,
    killed: str,
    end: Callable[[servers.Server], float | None] | None = None,
    *,
    is_workers_end: bool = False,
) -> Fate:
    """See what becomes of the tasks that have not ended now; `end` ends the server, which is then started again.

    `is_workers_end`: a worker takes its time to end, and is then started again.
    """
    killed_at, restarts, end_s, server = time.monotonic(), trial.restarts, None, busy.server
    tasks = before = busy.tasks(trial)
    if end is not None:
        end_s = end(server)
        tasks = busy.tasks(trial)
        server = trial.restart(server)
    if end_s is None:  # What ended at the last moment before a kill, has ended.
        before = tasks
    open_ = {task.id for task in before if task.state != "finished"}

    def affected() -> list[TaskRecord]:
        return [task for task in trial.tasks(server) if task.id in open_]

    def settled() -> bool:
        return all(task.done for task in affected())

    known = restarts
    if is_workers_end:
        trial.wait(lambda: trial.restarts > known, RESTART_PATIENCE_S)
    while not trial.wait_for_quiet(server, settled, trial.patience(WORK_S)) and trial.restarts > known:
        known = trial.restarts
        trial.await_workers()
    took = time.monotonic() - killed_at
    return Fate(
        killed=killed,
        accepted=len(before),
        unfinished=len(open_),
        ended=sum(task.state == "finished" for task in affected()),
        ran_twice=sum(len(task.starts) > 1 for task in affected()),
        called_failed=sum(task.state == "failed" for task in affected()),
        unanswered=sum(one.done() and one.result().status is None for one in busy.answers),
        works_again=_works(trial, server),
        took_s=took,
        restarts=trial.restarts - restarts,
        end_s=end_s,
        open_at_end=sum(task.state != "finished" for task in tasks if task.id in open_),
    )


def _works(trial: Trial, server: servers.Server) -> bool:
    """Tell whether a new task comes to its end."""
    known = {task.id for task in trial.tasks(server)}
    trial.send(server, "/?message=afterwards")
    return trial.wait(lambda: any(task.done for task in trial.tasks(server) if task.id not in known), 5)


def fate_cell(fates: dict[str, Fate]) -> Cell:
    """Return the cell for what became of the tasks at each kill, by what was killed.

    Raises UserError where a kill found no task that had not ended: then nothing was seen.
    """
    if idle := next((fate for fate in fates.values() if not fate.unfinished), None):
        raise UserError(f"every task had ended before {idle.killed}, so nothing was seen; run it again")
    unfinished, ended = (sum(getattr(fate, name) for fate in fates.values()) for name in ("unfinished", "ended"))
    return counted(
        ended,
        unfinished,
        " ".join(map(_words, fates.values())),
        unfinished=unfinished,
        ended=ended,
        lost=unfinished - ended,
        ran_twice=sum(fate.ran_twice for fate in fates.values()),
        killed={name: asdict(fate) for name, fate in fates.items()},
    )


def _words(fate: Fate) -> str:
    lost = fate.unfinished - fate.ended
    whole = fate.unfinished == fate.accepted == 1
    tasks = "the one accepted task" if whole else f"{fate.unfinished} of {format_count(fate.accepted, 'accepted task')}"
    text = f"When {fate.killed}, {tasks} had not ended"
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
    if fate.end_s is not None:
        text += f" It took {format_seconds(fate.end_s)} to end."
    if fate.restarts:
        text += " The worker ended with it, and was started again, as whatever looks after it elsewhere would do."
    if fate.unanswered:
        text += f" {format_count(fate.unanswered, 'caller')} got no answer."
    if not fate.works_again:
        text += " A task sent afterwards did not end within 5 s."
    return text
