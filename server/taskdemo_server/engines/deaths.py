"""Tasks that no process runs any more, or ever started: they are presumed lost.

A private worker's engine may redeliver a dead process's task late, never or over and over, and a worker may live on
without taking tasks. Without this module a server would wait for ever. If such a task ends after all, the worker
journals that end, which replaces the presumed loss.
"""

import socket
import threading
import time
from typing import Final

from taskdemo_server.contract.events import Place, TaskEvent
from taskdemo_server.contract.settings import LONGEST_UNKNOWN_S
from taskdemo_server.engines.base import EngineModule
from taskdemo_server.engines.children import MOST_DEATHS, Children
from taskdemo_server.journal.index import Index
from taskdemo_server.runtime.orphans import lives

_EVERY_S: Final = 0.2
"""Seconds between two looks: an engine may restart a task as soon as its process dies, several times a second."""
_REST: Final = 20
"""The pause is at least this many times the CPU time of the last look, which is long if many thousand tasks wait."""
_GRACE_S: Final = 5.0
"""Seconds added to twice the engine's own redelivery time, for a busy machine."""
_UNKNOWN_S: Final = 30.0
"""Seconds to wait at most for the restart of a task whose duration is unknown."""
_HUNG_S: Final = 15.0
"""A worker hangs if it starts nothing for this long while tasks wait and none runs; an idle one may sleep for 10 s."""


def follow_deaths(engine: EngineModule, index: Index, mode: str, work_s: float, children: Children | None) -> None:
    """Journal lost tasks from a thread of its own, for as long as the process lives.

    `work_s` is how long the work takes at most, in seconds. A hung private worker among `children` is replaced.
    """
    place = Place(mode, "the server", 0, "")
    host = socket.gethostname()
    timeout_s = 2 * (engine.REDELIVERED_AFTER_S or 0.0) + _GRACE_S
    if work_s >= LONGEST_UNKNOWN_S:  # a redelivery after the longest possible work would be hours away
        timeout_s = min(timeout_s, _UNKNOWN_S)

    def lose(task_id: str, why: str) -> None:
        index.journal.write(place.event(task_id, "lost", error=why).to_line())

    def follow() -> None:
        dead_since: dict[TaskEvent, float] = {}
        waited_before, computed = set[str](), time.thread_time()
        while True:
            time.sleep(max(_EVERY_S, (time.thread_time() - computed) * _REST))
            now, computed = time.monotonic(), time.thread_time()
            tasks = index.unfinished()
            running = (task for task in tasks if task.state == "started" and task.starts[-1].host == host)
            begun = {task.starts[-1]: task for task in running}
            dead_since = {start: dead_since.get(start, now) for start in begun if not lives(start.pid)}
            # Until a dead private worker is replaced, no process can restart a task.
            worker_since = 0.0 if children is None else children.worker_since
            for start, task in begun.items():
                often = len({(one.pid, one.clock) for one in task.starts})
                # All executions but the last have died; the last may finish while its process lives.
                if often > MOST_DEATHS or (often == MOST_DEATHS and start in dead_since):
                    lose(task.id, f"Given up after {often} processes that ran it had died.")
                    if task.ref is not None:
                        engine.cancel(task.ref)  # or it would start again; the engine journals that after the loss
                elif start in dead_since and now - max(dead_since[start], worker_since) >= timeout_s:
                    lose(task.id, f"The process that ran it died, and in {timeout_s:g} s no other has begun it again.")
            # A task that ended its process by an exception has ended, but some workers see a death and start it again.
            for task in index.begun_again(MOST_DEATHS - 1):
                if task.ref is not None:
                    engine.cancel(task.ref)
            all_wait = all(task.state == "accepted" for task in tasks)
            if children is not None and all_wait and max(index.moved_at, children.worker_since) < now - _HUNG_S:
                waiting = {task.id for task in tasks}
                for task_id in waiting & waited_before:
                    lose(task_id, "No worker has begun it.")
                waited_before = waiting
                children.replace_worker()

    threading.Thread(target=follow, name="deaths", daemon=True).start()
