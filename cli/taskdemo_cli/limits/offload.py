"""Limit `offload`: whether work that computes leaves the server's process.

`yes`: all of it ran in other processes. `no`: none of it did. `partly`: some did.
"""

import http.client
import threading
import time
from dataclasses import dataclass

from taskdemo_cli.documents.limits import Cell
from taskdemo_cli.errors import UserError
from taskdemo_cli.limits.evidence import counted
from taskdemo_cli.limits.trial import ANSWER_TIMEOUT_S, Trial
from taskdemo_cli.processes import servers
from taskdemo_cli.units import format_count, format_seconds

WORK_S = 0.3
"""CPU seconds of each task."""
TASKS = 5
"""Enough to get in the way of others where they share an interpreter; two hardly do."""
_EVERY_S = 0.04
_BEFORE_S = 0.3
"""The bystander asks for so long before the work begins: what it waits then is what waiting costs anyway."""


class Bystander(threading.Thread):
    """Asks for `GET /ping` at a steady rate; a wait counts from the planned moment of asking."""

    def __init__(self, server: servers.Server) -> None:
        super().__init__(name="bystander", daemon=True)
        self.waits: list[tuple[float, float]] = []
        """(planned, waited) in seconds."""
        self.answered = True
        """Whether the last one got an answer; if not, its wait is as long as it was borne."""
        self._port = server.port
        self._over = threading.Event()

    def stop(self) -> None:
        """Ask no more, and wait for the last answer."""
        self._over.set()
        self.join(ANSWER_TIMEOUT_S)

    def run(self) -> None:
        """Ask until told to stop."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_TIMEOUT_S)
        planned = time.monotonic()
        try:
            while not self._over.wait(max(planned - time.monotonic(), 0)):
                connection.request("GET", "/ping")
                connection.getresponse().read()
                self.waits.append((planned, time.monotonic() - planned))
                planned += _EVERY_S
        except (OSError, http.client.HTTPException):
            self.answered = False
            self.waits.append((planned, time.monotonic() - planned))
        finally:
            connection.close()

    def longest(self, since: float, until: float = float("inf")) -> float:
        """Return the longest wait of those planned in a time; 0 if there was none."""
        return max((waited for planned, waited in self.waits if since <= planned < until), default=0.0)


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


def compute_beside_a_bystander(trial: Trial) -> Computed:
    """Let some tasks compute while a bystander asks for something that costs nothing."""
    server = trial.serve(work="cpu", duration=WORK_S, threads=40)
    bystander = Bystander(server)
    bystander.start()
    trial.pause(_BEFORE_S)
    begun = time.monotonic() - _EVERY_S
    trial.send_tasks(server, TASKS)

    def over() -> bool:
        tasks = trial.tasks(server)
        return len(tasks) == TASKS and all(task.done for task in tasks)

    try:
        trial.wait_for_begin(server)
        trial.wait_for_quiet(server, over, 2 * TASKS * WORK_S + 1.0)
    finally:
        bystander.stop()
    if server.poll() is not None:
        raise UserError(f"the server ended (exit {server.poll()}) while it computed")
    return Computed(
        server_pid=server.pid,
        pids=[task.starts[-1].pid for task in trial.tasks(server) if task.starts],
        longest_s=bystander.longest(begun),
        before_s=bystander.longest(0, begun),
        answered=bystander.answered,
    )


def offload(trial: Trial) -> Cell:
    """See where tasks that compute run."""
    found = trial.once(compute_beside_a_bystander)
    count = len(found.pids)
    return counted(
        found.elsewhere,
        count,
        f"{format_count(count, 'task')} of {format_seconds(WORK_S)} CPU time ran {found.where}.",
        ping_max_s=found.longest_s,
        idle_max_s=found.before_s,
        left=found.elsewhere == count,
        server_pid=found.server_pid,
        work_pids=sorted(set(found.pids)),
        work="cpu",
        work_s=WORK_S,
    )
