"""Limit `offload`: whether CPU work leaves the server's process, and what bystanders wait meanwhile.

`yes`: it ran in another process, and no bystander waited for half the time of one piece of work. `partly`: it ran in
another process, but a bystander waited as long. `no`: it ran in the server's own process.
"""

import http.client
import threading
import time

from taskdemo_cli import servers
from taskdemo_cli.documents import Cell
from taskdemo_cli.limits.trial import ANSWER_TIMEOUT_S, Trial
from taskdemo_cli.units import format_seconds

_WORK_S = 0.6
_TASKS = 2
_EVERY_S = 0.04
_BEFORE_S = 0.3
"""Bystanders ask for so long before the work begins: what they wait then is what waiting costs anyway."""


class Bystander(threading.Thread):
    """Asks for `path` at a steady rate; a wait counts from the planned moment of asking."""

    def __init__(self, server: servers.Server, path: str) -> None:
        super().__init__(name=f"bystander {path}", daemon=True)
        self.waits: list[tuple[float, float]] = []
        """(planned, waited) in seconds; inf where no answer came."""
        self._port = server.port
        self._path = path
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
                connection.request("GET", self._path)
                connection.getresponse().read()
                self.waits.append((planned, time.monotonic() - planned))
                planned += _EVERY_S
        except (OSError, http.client.HTTPException):
            self.waits.append((planned, float("inf")))
        finally:
            connection.close()

    def longest(self, since: float, until: float = float("inf")) -> float:
        """Return the longest wait of those planned in a time; 0 if there was none."""
        return max((waited for planned, waited in self.waits if since <= planned < until), default=0.0)


def offload(trial: Trial) -> Cell:
    """Let two tasks compute while two bystanders ask for something that costs nothing."""
    server = trial.serve(work="cpu", duration=_WORK_S, threads=40)
    ping, ping_sync = Bystander(server, "/ping"), Bystander(server, "/ping/sync")
    ping.start()
    ping_sync.start()
    trial.pause(_BEFORE_S)
    begun = time.monotonic()
    trial.send_tasks(server, _TASKS)

    def over() -> bool:
        tasks = trial.tasks(server)
        return len(tasks) == _TASKS and all(task.done for task in tasks)

    try:
        trial.wait_for_quiet(server, over, 2 * _TASKS * _WORK_S + 1.0)
    finally:
        ping.stop()
        ping_sync.stop()
    pids = {task.pid for task in trial.tasks(server) if task.starts}
    return _cell(
        server_pid=server.pid,
        pids=pids,
        waits={"ping": ping.longest(begun - _EVERY_S), "ping_sync": ping_sync.longest(begun - _EVERY_S)},
        idle=max(ping.longest(0, begun - _EVERY_S), ping_sync.longest(0, begun - _EVERY_S)),
    )


def _cell(server_pid: int, pids: set[int], waits: dict[str, float], idle: float) -> Cell:
    left = bool(pids) and server_pid not in pids
    longest = max(waits.values())
    where = "in another process" if left else "in the server's own process" if pids else "nowhere"
    if left and len(pids) > 1:
        where = f"in {len(pids)} other processes"
    return {
        "verdict": "no" if not left else "yes" if longest < _WORK_S / 2 else "partly",
        "measured": {
            "figure": format_seconds(longest),
            "ping_max_s": waits["ping"],
            "ping_sync_max_s": waits["ping_sync"],
            "idle_max_s": idle,
            "left": left,
            "server_pid": server_pid,
            "work_pids": sorted(pids),
            "work_s": _WORK_S,
        },
        "text": f"{_TASKS} tasks of {format_seconds(_WORK_S)} CPU time ran {where}; meanwhile GET /ping waited up to "
        f"{format_seconds(waits['ping'])}, GET /ping/sync up to {format_seconds(waits['ping_sync'])} "
        f"(before: {format_seconds(idle)}).",
    }
