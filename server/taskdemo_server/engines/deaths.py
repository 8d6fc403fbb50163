"""Tasks that no process does any more, or ever began: they are lost, as far as one can tell.

A private worker's engine may bring a dead process's task back late, never, or again and again; and a worker may live on
without taking any. Without this a server would wait for ever; an end that comes after all is journaled by the worker,
and takes the place of this conclusion.
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
"""An engine may begin a task whose process died again at once, several times a second."""
_REST: Final = 20
"""Rests so many times as long as it computed to look, which is long where many thousand tasks wait."""
_GRACE_S: Final = 5.0
"""So much longer than twice what it should take, it may take on a busy machine."""
_UNKNOWN_S: Final = 30.0
"""How long a work of unknown length is waited for to be begun again."""
_HUNG_S: Final = 15.0
"""A worker hangs that begins nothing for so long, although tasks wait and none runs: an idle one may sleep for 10 s."""


def follow_deaths(engine: EngineModule, index: Index, mode: str, work_s: float, children: Children | None) -> None:
    """Look in a thread of its own, for as long as the process lives; after the private worker, where there is one."""
    place = Place(mode, "the server", 0, "")
    host = socket.gethostname()
    patience = 2 * (engine.redelivered_after() or 0.0) + _GRACE_S
    if work_s >= LONGEST_UNKNOWN_S:  # a redelivery that waits for the longest work would be hours away
        patience = min(patience, _UNKNOWN_S)

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
            # Before a private worker's successor is there, nobody can begin anything again.
            worker_since = 0.0 if children is None else children.worker_since
            for start, task in begun.items():
                often = len({(one.pid, one.clock) for one in task.starts})
                # Every execution but the last is over without an end; what is still alive is let come to one.
                if often > MOST_DEATHS or (often == MOST_DEATHS and start in dead_since):
                    lose(task.id, f"Given up after {often} processes that ran it had died.")
                    if task.ref is not None:
                        engine.cancel(task.ref)  # so that it is not begun again; it tells of that, but after the loss
                elif start in dead_since and now - max(dead_since[start], worker_since) >= patience:
                    lose(task.id, f"The process that ran it died, and in {patience:g} s no other has begun it again.")
            # What ends its process by an exception has ended, and a worker that takes that for a death begins it again.
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
