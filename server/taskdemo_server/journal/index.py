"""The index: what became of every task, read off the journal. The one fold behind /tasks, draining and the engines.

A server may do a million tasks and more, so the index keeps those that have not ended and the last that have, each as
its lines of the journal, which are understood only when somebody asks. Standard library only.
"""

import threading
from collections import Counter, deque
from itertools import islice
from typing import Final

from taskdemo_server.contract.events import ENDED, TaskEvent, TaskRecord
from taskdemo_server.journal.file import Journal

MOST_ENDED: Final = 10_000
"""Ended tasks that are kept; the rest are counted."""
_ENDED: Final = frozenset(state.encode() for state in ENDED)
_BEGUN: Final = frozenset({b"accepted", b"started"})
_MOST_BYTES: Final = 1 << 18
"""Of one task's lines; an engine may begin some again and again."""


class Index:
    """The tasks of a journal from an offset on, in the order in which they first appear."""

    def __init__(self, journal: Journal, offset: int = 0) -> None:
        self.journal = journal
        self.forgotten = 0
        """Tasks that ended too long ago to be kept."""
        self._tasks: dict[bytes, bytes] = {}
        self._unended: dict[bytes, None] = {}
        self._ended: deque[bytes] = deque()
        self._again: Counter[bytes] = Counter()
        """How often the work of a task was begun after the task had ended."""
        self._offset = offset
        self._lock = threading.Lock()

    @property
    def total(self) -> int:
        """All tasks there ever were."""
        return self.forgotten + len(self._tasks)

    def ended(self) -> int:
        """Count the tasks that have ended."""
        self.update()
        return self.total - len(self._unended)

    def update(self) -> list[str]:
        """Read what was written since the last time; return the tasks that have ended meanwhile, unknown ones too."""
        ended: list[bytes] = []
        with self._lock:
            while True:
                lines, offset = self.journal.read(self._offset)
                if offset < self._offset:  # The file was emptied, and so is the index.
                    self._tasks.clear()
                    self._unended.clear()
                    self._ended.clear()
                    self._again.clear()
                    self._offset = self.forgotten = 0
                    continue
                self._offset = offset
                if not lines:
                    return [task.decode(errors="replace") for task in ended]
                for line in lines.splitlines(keepends=True):
                    self._take(line, ended)

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

    def unfinished(self) -> list[TaskRecord]:
        """Return the tasks that have been accepted and have not ended."""
        self.update()
        with self._lock:
            pieces = [self._tasks[task] for task in self._unended]
        records = [record for lines in pieces if (record := _record(lines))]
        return [record for record in records if record.accepted is not None]

    def begun_again(self, often: int) -> list[TaskRecord]:
        """Return the tasks whose work was begun so often after they had ended; each is counted anew from then on."""
        with self._lock:
            tasks = [task for task, count in self._again.items() if count >= often]
            for task in tasks:
                del self._again[task]
            return [record for task in tasks if (record := _record(self._tasks.get(task, b"")))]

    def _take(self, line: bytes, ended: list[bytes]) -> None:
        # Looks at the first two fields alone: a million tasks take three million lines.
        line = line[max(line.rfind(b'{"id":'), 0) :]
        fields = line.split(b'"', 8)
        if len(fields) < 9 or fields[1] != b"id" or fields[5] != b"state":
            return
        task, state = fields[3], fields[7]
        known = self._tasks.get(task)
        if known is None:
            if state in _ENDED:  # Forgotten here, or its beginning was erased; whoever waits for it may know it.
                ended.append(task)
            if state not in _BEGUN:
                return
            self._tasks[task] = line
            self._unended[task] = None
            return
        if len(known) < _MOST_BYTES:
            self._tasks[task] = known + line
        if state == b"started" and task not in self._unended:
            self._again[task] += 1
        if state in _ENDED and task in self._unended:
            del self._unended[task]
            ended.append(task)
            self._ended.append(task)
            while len(self._ended) > MOST_ENDED:
                if self._tasks.pop(self._ended.popleft(), None) is not None:
                    self.forgotten += 1


def _record(lines: bytes) -> TaskRecord | None:
    record = None
    for line in lines.splitlines():
        if event := TaskEvent.from_line(line):
            if record is None:
                record = TaskRecord(event.id, event.mode)
            record.see(event)
    return record
