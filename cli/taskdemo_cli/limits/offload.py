"""Limit `offload`: whether work that computes leaves the server's process.

`yes`: all of it ran in other processes. `no`: none of it did. `partly`: some did.
"""

import functools
import itertools
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from taskdemo_cli.documents.limits import Cell
from taskdemo_cli.errors import UserError
from taskdemo_cli.limits.evidence import counted
from taskdemo_cli.limits.trial import Trial
from taskdemo_cli.units import format_count, format_exit, format_seconds

WORK_S = 0.3
"""CPU seconds of each task."""
TASKS = 5
"""Enough to delay others in the same interpreter; two hardly do."""
_QUIET_S = 10.0
"""Seconds without a begin or an end after which none is expected: on a busy machine, tasks wait for a processor."""
_EVERY_S = 0.04
_BEFORE_S = 0.3
"""Seconds for which the bystander asks before the work begins: its waits then are the baseline."""


@dataclass(frozen=True, slots=True)
class Computed:
    """What was observed while tasks computed and a bystander sent requests."""

    server_pid: int
    pids: list[int]
    """The process in which each task ran."""
    longest_s: float
    """The bystander's longest wait after the work began."""
    before_s: float
    """Its longest wait before."""
    answered: bool
    """Whether its last request was answered; if not, that wait lasted until the request failed."""

    @property
    def elsewhere(self) -> int:
        """How many tasks ran outside the server's process."""
        return sum(pid != self.server_pid for pid in self.pids)

    @property
    def where(self) -> str:
        """Where they ran, in words."""
        if not self.elsewhere:
            return "in the server's own process"
        others = len(set(self.pids) - {self.server_pid})
        return "in another process" if others == 1 else f"in {others} other processes"


@functools.cache
def compute_beside_a_bystander(trial: Trial) -> Computed:
    """Let tasks compute while a bystander sends trivial requests at a steady rate.

    Runs once per trial: the experiments that share it share the observations. Raises UserError if the server ends.
    """
    server = trial.serve(work="cpu", duration=WORK_S, threads=40)
    is_over, first = threading.Event(), time.monotonic()

    def pings() -> Iterator[str]:
        for number in itertools.count():
            if is_over.wait(max(first + number * _EVERY_S - time.monotonic(), 0)):
                break
            yield "/ping"

    bystander = trial.send_in_turn(pings())
    trial.pause(_BEFORE_S)
    begun = time.monotonic()
    trial.send_tasks(TASKS)

    def over() -> bool:
        tasks = trial.tasks()
        return len(tasks) == TASKS and all(task.done for task in tasks)

    try:
        trial.follow(None, over, _QUIET_S)
    finally:
        is_over.set()
    answers = bystander.result()
    if (code := server.poll()) is not None:
        raise UserError(f"the server ended ({format_exit(code)}) while it computed")
    waits: dict[bool, list[float]] = {True: [], False: []}
    for number, answer in enumerate(answers):
        # A wait counts from the planned time of the request, which it may miss by far on a busy machine.
        planned = first + number * _EVERY_S
        waits[answer.answered >= begun].append(answer.answered - planned)
    return Computed(
        server_pid=server.pid,
        pids=[task.starts[-1].pid for task in trial.tasks() if task.starts],
        longest_s=max(waits[True], default=0.0),
        before_s=max(waits[False], default=0.0),
        answered=answers[-1].status is not None,
    )


def offload(trial: Trial) -> Cell:
    """Observe in which processes computing tasks run."""
    found = compute_beside_a_bystander(trial)
    count = len(found.pids)
    return counted(
        found.elsewhere,
        count,
        f"{format_count(count, 'task')} of {format_seconds(WORK_S)} CPU time ran {found.where}.",
        server_pid=found.server_pid,
        work_pids=sorted(set(found.pids)),
    )
