"""Limits `survive_restart`, `survive_server_kill` and `survive_worker_kill`: what becomes of accepted tasks.

A process ends while some tasks run and others wait, by a signal of a normal restart (SIGTERM, SIGINT) or by SIGKILL. It
is then restarted on the same journal. `yes`: every accepted task that had not ended ended afterwards. `partly`: some
did. `no`: none did. Tasks that began twice are counted separately.
"""

import functools
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass

from msgspec.structs import replace

from taskdemo_cli.documents.limits import Cell
from taskdemo_cli.errors import UserError
from taskdemo_cli.limits.backing import MACHINES, family
from taskdemo_cli.limits.evidence import counted
from taskdemo_cli.limits.trial import BEGIN_TIMEOUT_S, STOP_TIMEOUT_S, WORK_S, Answer, Trial
from taskdemo_cli.units import format_count, format_seconds
from taskdemo_server.contract.events import TaskRecord

_WAITING = (4, 8, 16, 32, 64)
"""Tasks beyond those that run at once; more if, on a busy machine, none still waits when a process is to be ended."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of the tasks that were unfinished when a process was ended."""

    killed: str
    """Which process was ended, and how, in words."""
    accepted: int
    unfinished: int
    ended: int
    ran_twice: int
    called_failed: int
    """Tasks among the unfinished that the engine reports as failed."""
    unanswered: int
    """Requests that got no answer."""
    works_again: bool
    """Whether a task that was sent afterwards ended."""
    took_s: float
    """Seconds from the kill until the last task ended, or until nothing more was expected."""
    restarts: int = 0
    """How often a worker ended, for example with one of its processes, and was restarted."""
    end_s: float | None = None
    """Seconds that the server took to end by itself; None if it was killed, or not ended at all."""


def survive_restart(trial: Trial) -> Cell:
    """Tell the server to end, as a supervisor (SIGTERM) and Ctrl-C (SIGINT) do, and restart it.

    If the mode has workers of its own, a SIGTERM to one of them replaces the SIGINT.
    """
    numbers = [signal.SIGTERM] if trial.has_workers else [signal.SIGTERM, signal.SIGINT]
    fates = {number.name: _strike(trial, functools.partial(_tell_server, number)) for number in numbers}
    if trial.has_workers:
        fates["worker"] = _strike(trial, _tell_worker)
    return fate_cell(fates)


def survive_server_kill(trial: Trial) -> Cell:
    """Kill the server and restart it."""
    return fate_cell({"server": _kill_server(trial)[0]})


def survive_worker_kill(trial: Trial) -> Cell:
    """Kill the process that runs a task; if that is the server, reuse the outcome of `survive_server_kill`.

    If the mode has workers of its own, a second round kills one of two workers with all its processes.
    """
    fate, runs_tasks = _kill_server(trial)
    if runs_tasks:
        cell = fate_cell({"server": fate})
        text = "The server itself runs the tasks, so this is the server kill above."
        return replace(cell, measured={**cell.measured, "figure": "same"}, text=text)
    fates = {"process": _strike(trial, _kill_what_runs, MACHINES)}
    if trial.workers:
        fates["worker"] = _strike(trial, _kill_worker, MACHINES)
    return fate_cell(fates)


@dataclass(frozen=True, slots=True)
class _Busy:
    """A server that is kept busy: some tasks run, others wait."""

    trial: Trial
    answers: "list[Future[Answer]]"
    """The answers to the requests for these tasks."""
    earlier: frozenset[str]
    """Tasks from before, which do not count."""

    def tasks(self) -> list[TaskRecord]:
        """Return the journal's records of the tasks that count."""
        return [task for task in self.trial.tasks() if task.id not in self.earlier]

    def running(self) -> list[TaskRecord]:
        """Return the tasks that run."""
        return [task for task in self.tasks() if task.state == "started"]

    def waits(self) -> bool:
        """Return whether any task still waits."""
        return any(task.state == "accepted" for task in self.tasks())

    def fate(
        self,
        killed: str,
        end: Callable[[], float | None] | None = None,
        *,
        hit: str = "",
        is_workers_end: bool = False,
    ) -> Fate:
        """Watch what becomes of the tasks that have not ended; `end` ends the server, which is then restarted.

        `hit`: the task whose process was killed; it may have begun again, and even ended, by now.
        `is_workers_end`: a worker was told to end, which takes a while, and is then restarted.
        """
        trial = self.trial
        killed_at, restarts, end_s = time.monotonic(), trial.restarts, None
        before = self.tasks()
        if end is not None:
            end_s = end()
            if end_s is None and trial.workers:  # Tasks that ended just before the kill count as ended.
                before = self.tasks()
            trial.restart()
            if end_s is None and not trial.workers:  # So do those that a process pool, which dies a little later, ends.
                before = self.tasks()
        open_ = {task.id for task in before if task.state != "finished" or task.id == hit}

        def affected() -> list[TaskRecord]:
            return [task for task in trial.tasks() if task.id in open_]

        def settled() -> bool:
            return all(task.done for task in affected())

        known = restarts
        if is_workers_end:
            trial.wait(lambda: trial.restarts > known, 3 * STOP_TIMEOUT_S)  # Kubernetes' grace period
        while not trial.wait_for_quiet(settled, trial.quiet_timeout_s) and trial.restarts > known:
            known = trial.restarts
            trial.await_workers()
        took = time.monotonic() - killed_at
        after = affected()
        return Fate(
            killed=killed,
            accepted=len(before),
            unfinished=len(open_),
            ended=sum(task.state == "finished" for task in after),
            ran_twice=sum(len(task.starts) > 1 for task in after),
            called_failed=sum(task.state == "failed" for task in after),
            unanswered=sum(one.done() and one.result().status is None for one in self.answers),
            works_again=_works(trial),
            took_s=took,
            restarts=trial.restarts - restarts,
            end_s=end_s,
        )


def _strike(trial: Trial, strike: Callable[[_Busy], Fate | None], workers: Sequence[str] = ("worker",)) -> Fate:
    """Keep a server busy and end a process of it; return the fate of the tasks.

    `strike` ends the process; it returns None if the tasks were not as they should be then. On a busy machine, tasks
    may end before anybody looks: the next try sends more. Raises UserError if none was seen in time.
    """
    for waiting in _WAITING:
        busy = _keep_busy(trial, workers, waiting)
        if trial.workers and not busy.waits():
            continue
        fate = strike(busy)
        if fate is not None and fate.unfinished:
            return fate
    raise UserError("every task had begun before a process could be ended, so nothing was seen; run it again")


def _keep_busy(trial: Trial, workers: Sequence[str], waiting: int) -> _Busy:
    """Send tasks to a fresh server, or to the current one if it has workers, because these take long to start."""
    if not trial.workers:
        trial.serve(workers=workers)
    trial.await_workers()
    earlier = frozenset(task.id for task in trial.tasks())
    running = (trial.at_once or 0) * max(len(trial.workers), 1)
    busy = _Busy(trial, trial.send_tasks(running + waiting), earlier)
    trial.wait_for_begin(earlier=earlier)
    if trial.workers:  # Before all workers are busy, an outcome is a matter of luck, not a verdict.
        trial.wait(lambda: len(busy.running()) >= running, WORK_S)
    trial.wait_for_answers(busy.answers)
    return busy


def _tell_server(number: signal.Signals, busy: _Busy) -> Fate:
    return busy.fate(f"the server was told to stop ({number.name})", functools.partial(busy.trial.tell, number))


def _tell_worker(busy: _Busy) -> Fate:
    busy.trial.workers[-1].tell(signal.SIGTERM)
    return busy.fate("the worker was told to stop (SIGTERM)", is_workers_end=True)


@functools.cache
def _kill_server(trial: Trial) -> tuple[Fate, bool]:
    """Kill a busy server and restart it; return what became of its tasks, and whether it ran them itself.

    Runs once per trial: the experiments that share it share the observations.
    """
    runs_tasks = False

    def kill(busy: _Busy) -> Fate:
        nonlocal runs_tasks
        server = trial.server
        runs_tasks = any(task.starts[-1].pid == server.pid for task in busy.tasks() if task.starts)
        killed = "the server that ran the tasks was killed" if runs_tasks else "the server was killed"
        return busy.fate(killed, server.kill)

    return _strike(trial, kill, MACHINES), runs_tasks


def _kill_what_runs(busy: _Busy) -> Fate | None:
    """Kill a process that runs a task, while other tasks wait; return None if there is no such moment."""
    killed = ""

    def is_killed() -> bool:
        nonlocal killed
        for task in busy.running():
            if busy.trial.kill_child(task.starts[-1].pid):
                after = next(one for one in busy.tasks() if one.id == task.id)
                if after.done and len(after.starts) == 1:  # ended just before the kill
                    return False
                killed = task.id
                return True
        return False

    if not busy.trial.wait(is_killed, 5) or not busy.waits():
        return None
    return busy.fate("a process that ran a task was killed", hit=killed)


def _kill_worker(busy: _Busy) -> Fate | None:
    """Kill a whole worker that runs a task, while other tasks wait; return None if there is no such moment."""
    victim = busy.trial.workers[0]

    def works() -> bool:
        pids = family(victim.child.pid)
        return any(task.starts[-1].pid in pids for task in busy.running()) and busy.waits()

    if not busy.trial.wait(works, 5):
        return None
    victim.kill()
    return busy.fate("one of two whole workers was killed")


def _works(trial: Trial) -> bool:
    """Return whether a new task runs to its end."""
    known = {task.id for task in trial.tasks()}
    sent = trial.send("/?message=afterwards")

    def has_ended() -> bool:
        return any(task.done for task in trial.tasks() if task.id not in known)

    trial.wait(lambda: has_ended() or (sent.done() and sent.result().status != 200), BEGIN_TIMEOUT_S)
    return has_ended()


def fate_cell(fates: dict[str, Fate]) -> Cell:
    """Return the cell for the fates of the tasks, keyed by the process that was ended."""
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
    of_lost = f" ({fate.called_failed} reported as failed by the engine)" if fate.called_failed else ""
    became = {
        f"ended within {format_seconds(fate.took_s)}": fate.ended,
        f"lost{of_lost}": fate.unfinished - fate.ended,
        "begun twice": fate.ran_twice,
    }
    counts = ", ".join(f"{count} {what}" for what, count in became.items() if count)
    accepted = format_count(fate.accepted, "accepted task")
    text = f"When {fate.killed}, {fate.unfinished} of {accepted} had not ended: {counts}."
    if fate.end_s is not None:
        text += f" It stopped after {format_seconds(fate.end_s)}."
    if fate.restarts:
        text += " The worker ended, and was restarted, as a supervisor would do."
    if fate.unanswered:
        text += f" {format_count(fate.unanswered, 'caller')} got no answer."
    if not fate.works_again:
        text += " A task sent afterwards did not end."
    return text
