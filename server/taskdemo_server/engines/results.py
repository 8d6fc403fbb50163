"""Polling of an engine's own results, which are journaled for tasks that no worker has reported."""

import threading
import time
from typing import Final

from taskdemo_server.contract.events import Place, TaskEvent, TaskRecord, TaskState
from taskdemo_server.contract.stderr import complain
from taskdemo_server.engines import base
from taskdemo_server.engines.base import EngineModule
from taskdemo_server.journal.index import Index

_EVERY_S: Final = 1.0
_AT_ONCE: Final = 500
_ON_ITS_WAY_S: Final = 2.0
"""A worker's own report arrives at most this much later than the engine's result."""


def follow_results(engine: EngineModule, index: Index, mode: str, begins_within_s: float, worker: str) -> None:
    """Poll the engine in a thread of its own, for as long as the process lives, even while the broker is down.

    If no task starts within `begins_within_s` seconds and no worker answers, print `worker`, the command to type.
    """
    place = Place(mode, "the result backend", 0, "")

    def nobody_works(tasks: list[TaskRecord]) -> bool:
        if time.monotonic() - index.moved_at < begins_within_s:
            return False
        answers = base.has_worker(engine)
        return answers is False or (answers is None and all(task.state == "accepted" for task in tasks))

    def follow() -> None:
        said = 0.0
        since: dict[tuple[str, TaskState], float] = {}
        while True:
            time.sleep(_EVERY_S)
            tasks = index.unfinished()
            if index.moved_at != said and nobody_works(tasks):
                said = index.moved_at
                why = f"No task began for {begins_within_s:g} s"
                complain(f"{why}; no worker answers on this broker; start one with: {worker}")
            open_tasks = {task.ref: task for task in tasks if task.ref is not None}
            refs = list(open_tasks)
            since = {key: at for key, at in since.items() if key[0] in open_tasks}
            for start in range(0, len(refs), _AT_ONCE):
                try:
                    known = dict(engine.status(refs[start : start + _AT_ONCE]))
                except Exception:  # noqa: BLE001  each broker has its own errors; while it is down, nothing is known
                    break
                for ref, status in known.items():
                    task, at = open_tasks[ref], since.setdefault((ref, status.state), status.at)
                    age = time.time() - at
                    if status.state == task.state or age < _ON_ITS_WAY_S:
                        continue
                    clock = time.monotonic() - age
                    line = TaskEvent(task.id, status.state, at, clock, *place, error=status.error).to_line()
                    index.journal.write(line)

    threading.Thread(target=follow, name="results", daemon=True).start()
