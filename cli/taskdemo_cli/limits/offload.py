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
from taskdemo_cli.units import format_count, format_seconds

WORK_S = 0.3
"""CPU seconds of each task."""
TASKS = 5
"""Enough to get in the way of others where they share an interpreter; two hardly do."""
_QUIET_S = 10.0
"""So long may nothing begin or end on a busy machine, where a task waits for a processor; then it never will."""
_EVERY_S = 0.04
_BEFORE_S = 0.3
"""The bystander asks for so long before the work begins: what it waits then is what waiting costs anyway."""


@dataclass(frozen=True, slots=True)
class Computed:
    """What was seen while tasks computed beside a bystander."""

    server_pid: int
    pids: list[int]
    """Where each task ran."""
    longest_s: float
    """The bystander's longest wait meanwhile."""
    before_s: float
    """Its longest wait before."""
    answered: bool
    """Whether the last question got an answer; if not, its wait is as long as it was borne."""

    @property
    def elsewhere(self) -> int:
        """How many tasks ran in another process than the server's."""
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
    """Let some tasks compute while a bystander asks for something that costs nothing, at a steady rate.

    Once in each trial: the experiments that share it share what was seen.
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
    if server.poll() is not None:
        raise UserError(f"the server ended (exit {server.poll()}) while it computed")
    waits: dict[bool, list[float]] = {True: [], False: []}
    for number, answer in enumerate(answers):
        planned = first + number * _EVERY_S  # a wait counts from the planned moment of asking
        waits[answer.answered >= begun].append(answer.answered - planned)  # which on a busy machine may be long ago
    return Computed(
        server_pid=server.pid,
        pids=[task.starts[-1].pid for task in trial.tasks() if task.starts],
        longest_s=max(waits[True], default=0.0),
        before_s=max(waits[False], default=0.0),
        answered=answers[-1].status is not None,
    )


def offload(trial: Trial) -> Cell:
    """See where tasks that compute run."""
    found = compute_beside_a_bystander(trial)
    count = len(found.pids)
    return counted(
        found.elsewhere,
        count,
        f"{format_count(count, 'task')} of {format_seconds(WORK_S)} CPU time ran {found.where}.",
        server_pid=found.server_pid,
        work_pids=sorted(set(found.pids)),
    )
