"""Limit `offload`: whether work leaves the server's process, and what bystanders wait meanwhile.

CPU work. `yes`: it ran in another process, and no bystander was held up, which is to wait for half the time of one
piece of work. `partly`: it ran in another process, but a bystander
was held up. `no`: it ran in the server's own process.
"""

import http.client
import threading
import time
from collections.abc import Sequence

from taskdemo_cli.documents.types import Cell
from taskdemo_cli.errors import UserError
from taskdemo_cli.limits.trial import ANSWER_TIMEOUT_S, Trial
from taskdemo_cli.processes import servers
from taskdemo_cli.units import format_count, format_seconds
from taskdemo_server.contract.events import TaskRecord

_WORK_S = 0.6
_TASKS = 2
_EVERY_S = 0.04
_BEFORE_S = 0.3
"""Bystanders ask for so long before the work begins: what they wait then is what waiting costs anyway."""


class Bystander(threading.Thread):
    """Asks for `path` at a steady rate; a wait counts from the planned moment of asking."""

    def __init__(self, server: servers.Server, path: str) -> None:
        super().__init__(name=f"bystander {path}", daemon=True)
        self.path = path
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
                connection.request("GET", self.path)
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


def offload(trial: Trial) -> Cell:
    """Let two tasks run while two bystanders ask for something that costs nothing."""
    server = trial.serve(work="cpu", duration=_WORK_S, threads=40)
    bystanders = [Bystander(server, "/ping"), Bystander(server, "/ping/sync")]
    for bystander in bystanders:
        bystander.start()
    trial.pause(_BEFORE_S)
    begun = time.monotonic() - _EVERY_S
    trial.send_tasks(server, _TASKS)

    def over() -> bool:
        tasks = trial.tasks(server)
        return len(tasks) == _TASKS and all(task.done for task in tasks)

    try:
        trial.wait_for_quiet(server, over, 2 * _TASKS * _WORK_S + 1.0)
    finally:
        for bystander in bystanders:
            bystander.stop()
    if server.poll() is not None:
        raise UserError(f"the server ended (exit {server.poll()}) while it computed")
    return _cell(
        trial.tasks(server),
        server_pid=server.pid,
        waits={one.path: (one.longest(begun), one.answered) for one in bystanders},
        idle=max(one.longest(0, begun) for one in bystanders),
    )


def _cell(tasks: Sequence[TaskRecord], *, server_pid: int, waits: dict[str, tuple[float, bool]], idle: float) -> Cell:
    pids = {task.starts[-1].pid for task in tasks if task.starts}
    left = bool(pids) and server_pid not in pids
    longest = max(waited for waited, _ in waits.values())
    held_up = longest >= _WORK_S / 2
    return Cell(
        verdict="no" if not left else "partly" if held_up else "yes",
        measured={
            "figure": format_seconds(longest),
            "ping_max_s": waits["/ping"][0],
            "ping_sync_max_s": waits["/ping/sync"][0],
            "idle_max_s": idle,
            "left": left,
            "server_pid": server_pid,
            "work_pids": sorted(pids),
            "work": "cpu",
            "work_s": _WORK_S,
        },
        text=f"{_what(tasks)} ran {_where(pids, left)}; meanwhile {_waited(waits)} (before: {format_seconds(idle)}).",
    )


def _what(tasks: Sequence[TaskRecord]) -> str:
    count = len([task for task in tasks if task.starts])
    return f"{format_count(count, 'task')} of {format_seconds(_WORK_S)} CPU time"


def _where(pids: set[int], left: bool) -> str:
    if not left:
        return "in the server's own process" if pids else "nowhere"
    return "in another process" if len(pids) == 1 else f"in {len(pids)} other processes"


def _waited(waits: dict[str, tuple[float, bool]]) -> str:
    return ", ".join(
        f"GET {path} {'waited ' if at == 0 else ''}"
        + (f"up to {format_seconds(waited)}" if answered else f"{format_seconds(waited)} and got no answer")
        for at, (path, (waited, answered)) in enumerate(waits.items())
    )
