"""The index: the state of every task, read from the journal. /tasks, draining and the engines all use it.

A server may run a million tasks or more, so the index keeps only the unfinished ones and the last that have ended.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from itertools import islice
from typing import Final

from taskdemo_server.contract.events import ENDED, TaskEvent, TaskRecord
from taskdemo_server.journal.file import Journal

MOST_ENDED: Final = 10_000
"""Ended tasks to keep; the rest are only counted."""


class Index:
    """The tasks of a journal from an offset on, in order of their first appearance.

    `update` calls `on_end` with each task that ends, with the index locked: it must not use the index. A task that is
    started again after its end is unfinished again.
    """

    def __init__(
        self, journal: Journal, offset: int = 0, on_end: Callable[[TaskRecord], None] = lambda _task: None
    ) -> None:
        self.journal = journal
        self.forgotten = 0
        """Tasks that ended too long ago to be kept."""
        self.moved_at = time.monotonic()
        """When the last start or end of a task was read, or no unfinished task was left; on the monotonic clock."""
        self._tasks: dict[str, TaskRecord] = {}
        self._unended: dict[str, TaskRecord] = {}
        self._ended: deque[str] = deque()
        self._again: Counter[str] = Counter()
        """How often the work of each task was started after the task had ended."""
        self._offset = offset
        self._on_end = on_end
        self._lock = threading.Lock()

    @property
    def total(self) -> int:
        """The number of all tasks, forgotten ones included."""
        return self.forgotten + len(self._tasks)

    def ended(self) -> int:
        """Return how many tasks have ended."""
        self.update()
        return self.total - len(self._unended)

    def update(self) -> None:
        """Read what was written since the last call."""
        with self._lock:
            while True:
                lines, self._offset = self.journal.read(self._offset)
                if not lines:
                    return
                for line in lines.splitlines():
                    if event := TaskEvent.from_line(line):
                        self._take(event)

    def find(self, task_id: str) -> TaskRecord | None:
        """Return the task with that id; None if there is none, or if it ended too long ago."""
        return self._tasks.get(task_id)

    def page(self, offset: int, limit: int) -> list[TaskRecord]:
        """Return those still kept of the `limit` tasks after the first `offset`, counting forgotten ones."""
        first, last = max(offset - self.forgotten, 0), max(offset + limit - self.forgotten, 0)
        with self._lock:
            return list(islice(self._tasks.values(), first, last))

    def unfinished(self) -> list[TaskRecord]:
        """Return the tasks that were accepted and have not ended."""
        self.update()
        with self._lock:
            tasks = [task for task in self._unended.values() if task.accepted is not None]
        if not tasks:
            self.moved_at = time.monotonic()
        return tasks

    def begun_again(self, often: int) -> list[TaskRecord]:
        """Return the tasks whose work was started at least `often` times after they had ended; reset their counts."""
        with self._lock:
            tasks = [task_id for task_id, count in self._again.items() if count >= often]
            for task_id in tasks:
                del self._again[task_id]
            return [self._tasks[task_id] for task_id in tasks if task_id in self._tasks]

    def _take(self, event: TaskEvent) -> None:
        task = self._tasks.get(event.id)
        if task is None:
            if event.state in ENDED:  # forgotten, or from before `offset`
                return
            task = self._tasks[event.id] = self._unended[event.id] = TaskRecord(event.id, event.mode)
        had_ended = task.id not in self._unended
        task.see(event)
        if event.state == "accepted":
            return
        self.moved_at = time.monotonic()
        has_ended = task.end is not None
        if had_ended and not has_ended:
            self._again[task.id] += 1
            self._unended[task.id] = task
        elif has_ended and not had_ended:
            del self._unended[task.id]
            self._on_end(task)
            self._ended.append(task.id)
            while len(self._ended) > MOST_ENDED:
                oldest = self._ended.popleft()
                if oldest not in self._unended and self._tasks.pop(oldest, None) is not None:
                    self.forgotten += 1
