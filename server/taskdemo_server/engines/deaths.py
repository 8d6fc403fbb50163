"""Tasks whose process has died, and which the engine has not begun again: they are lost, as far as one can tell.

A private worker's engine may bring such a task back late, never, or again and again. Without this a server would wait
for it for ever; an end that comes after all is journaled by the worker, and takes the place of this conclusion.
"""

import threading
import time
from typing import Final

from taskdemo_server.contract.events import TaskEvent, event_line, place_of
from taskdemo_server.engines.base import EngineModule
from taskdemo_server.journal.index import Index
from taskdemo_server.runtime.orphans import lives

_EVERY_S: Final = 1.0
_REST: Final = 20
"""Rests so many times as long as it took to look, which is long where many thousand tasks wait."""
MOST_DEATHS: Final = 3
"""A task whose process has died so often is not to be begun again: the next one would die, too."""
_GRACE_S: Final = 5.0
"""So much longer than twice what it should take, it may take on a busy machine."""


def follow_deaths(engine: EngineModule, index: Index, mode: str, work_s: float) -> None:
    """Look in a thread of its own, for as long as the process lives."""
    place = place_of(mode, "the server", 0, "")
    patience = 2 * (engine.redelivered_after(work_s) or 0.0) + _GRACE_S

    def follow() -> None:
        dead_since: dict[TaskEvent, float] = {}
        took = 0.0
        while True:
            time.sleep(max(_EVERY_S, took * _REST))
            now = time.monotonic()
            begun = {task.starts[-1]: task for task in index.unfinished() if task.running}
            dead_since = {start: dead_since.get(start, now) for start in begun if not lives(start.pid)}
            for start, task in begun.items():
                often = len({(one.pid, one.clock) for one in task.starts})
                why = None
                # Every execution but the last is over without an end; what is still alive is let come to one.
                if often > MOST_DEATHS or (often == MOST_DEATHS and start in dead_since):
                    why = f"Given up after {often} processes that ran it had died."
                    if task.ref is not None:
                        engine.cancel(task.ref)  # so that it is not begun again
                elif start in dead_since and now - dead_since[start] >= patience:
                    why = "The process that ran it died, and no other has begun it again."
                if why is not None:
                    index.journal.write(event_line(task.id, "lost", time.time(), now, place, error=why))
            took = time.monotonic() - now

    threading.Thread(target=follow, name="deaths", daemon=True).start()
