"""The books: what became of every task, read off the journal. Standard library only.

A server may do a million tasks and more, so the books keep those that have not ended and the last that have, each as
its lines of the journal, which are understood only when somebody asks.
"""

import threading
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from taskdemo_server.contract.events import ENDED, TaskEvent, TaskState
from taskdemo_server.journal.file import Journal

MOST_ENDED: Final = 10_000
"""Ended tasks that are kept; the rest are counted."""
_ENDED: Final = frozenset(state.encode() for state in ENDED)
_BEGUN: Final = frozenset({b"accepted", b"started"})
_MOST_BYTES: Final = 1 << 18
"""Of one task's lines; some of Celery's may begin again and again."""


@dataclass(slots=True)
class TaskRecord:
    """What the journal tells of one task. Times are Unix seconds; null where it has not come that far."""

    id: str
    state: TaskState
    mode: str
    accepted_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    where: str | None = None
    message: str | None = None
    error: str | None = None

    def see(self, event: TaskEvent) -> None:
        """Fold one event in. `lost` is what others conclude, so it yields to any end that really came."""
        if event.state == "accepted":
            self.accepted_at, self.message = event.at, event.message
            return
        if self.state in ENDED and (event.state == "lost" or self.state != "lost"):
            return
        self.state = event.state
        if event.state == "started":
            self.started_at = event.at
        else:
            self.ended_at, self.error = event.at, event.error
        if event.state in ("started", "finished", "failed"):
            self.where = event.where


@dataclass
class Books:
    """Every task that has not ended, and the last that have, in the order of acceptance; and how many there were."""

    journal: Journal
    forgotten: int = 0
    """Tasks that ended too long ago to be kept."""
    _tasks: dict[bytes, bytes] = field(default_factory=dict)
    _ended: deque[bytes] = field(default_factory=deque)
    _offset: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def total(self) -> int:
        """All tasks there ever were, as far as the journal goes back."""
        return self.forgotten + len(self._tasks)

    def update(self) -> None:
        """Read what was written since the last time."""
        with self._lock:
            while True:
                lines, offset = self.journal.read(self._offset)
                if offset < self._offset:  # The file was emptied, and so are the books.
                    self._tasks.clear()
                    self._ended.clear()
                    self._offset = self.forgotten = 0
                    continue
                self._offset = offset
                if not lines:
                    return
                for line in lines.splitlines(keepends=True):
                    self._take(line)

    def find(self, task_id: str) -> TaskRecord | None:
        """Return the task of that id; None where there is none, or it ended too long ago."""
        with self._lock:
            return _record(self._tasks.get(task_id.encode(errors="replace"), b""))

    def page(self, offset: int, limit: int) -> list[TaskRecord]:
        """Return what is kept of the `limit` tasks after the first `offset`, counting all there ever were."""
        first, last = max(offset - self.forgotten, 0), max(offset + limit - self.forgotten, 0)
        with self._lock:
            pieces = list(islice(self._tasks.values(), first, last))
        return [record for lines in pieces if (record := _record(lines))]

    def _take(self, line: bytes) -> None:
        # Looks at the first two fields alone: a million tasks take three million lines.
        line = line[max(line.rfind(b'{"id":'), 0) :]
        fields = line.split(b'"', 8)
        if len(fields) < 9 or fields[1] != b"id" or fields[5] != b"state":
            return
        task, state = fields[3], fields[7]
        known = self._tasks.get(task)
        if known is None:
            if state in _BEGUN:  # Otherwise the end of a task that is forgotten, or somebody else's line.
                self._tasks[task] = line
            return
        if len(known) < _MOST_BYTES:
            self._tasks[task] = known + line
        if state in _ENDED:
            self._ended.append(task)
            while len(self._ended) > MOST_ENDED:
                if self._tasks.pop(self._ended.popleft(), None) is not None:
                    self.forgotten += 1


def _record(lines: bytes) -> TaskRecord | None:
    record = None
    for line in lines.splitlines():
        if event := TaskEvent.from_line(line):
            if record is None:
                record = TaskRecord(event.id, "accepted", event.mode)
            record.see(event)
    return record
