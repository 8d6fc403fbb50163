"""The journal: the append-only file that holds every task's events, one line each. Standard library only.

It is a file because work runs in threads, processes and workers: each appends a line with one write, and no
crash of one takes along what the others know.
"""

import contextlib
import os
import sys
import threading
import time
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from taskdemo_server.events import ENDED, TaskEvent, TaskState

CHUNK: Final = 1 << 18
"""Bytes read at a time by those who follow the journal."""
_CHECK_EVERY_S: Final = 1.0
_RETRY_EVERY_S: Final = 0.5


class Journal:
    """Appends events to the file at `path`, which is created private to the user. Raises OSError if it cannot.

    Later trouble (disk full, file deleted, no permission) is said once on standard error and fails nobody:
    events that cannot be written wait in memory until they can.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = self._open()
        self._kept: list[bytes] = []
        self._lock = threading.Lock()
        self._next_check = 0.0
        self._sealed = False

    def write(self, line: bytes, clock: float) -> None:
        """Append one event's line; `clock` is the monotonic clock now, or lately."""
        if self._sealed:
            return
        if clock >= self._next_check:
            self._check()
        if self._kept:  # The order of events matters, so later ones queue behind those that wait.
            self._keep(line)
            return
        try:
            written = os.write(self._file, line)
        except OSError as error:
            self._keep(line, error.strerror)
        else:
            if written != len(line):  # The torn beginning is skipped by whoever reads the whole line after it.
                self._keep(line, "the disk is full")

    def size(self) -> int:
        """Return the bytes in the journal now: the offset from which a follower sees only what comes next."""
        self._check()
        return os.fstat(self._file).st_size

    def read(self, offset: int, limit: int = CHUNK) -> tuple[bytes, int]:
        """Return whole lines from `offset` on, about `limit` bytes of them, and the offset after the last one."""
        if time.monotonic() >= self._next_check:
            self._check()
        chunk = os.pread(self._file, limit, offset)
        while (end := chunk.rfind(b"\n") + 1) == 0 and len(chunk) == limit:  # A line longer than the limit.
            limit *= 2
            chunk = os.pread(self._file, limit, offset)
        if not chunk and offset > os.fstat(self._file).st_size:  # Somebody emptied the file: begin again.
            return b"", 0
        return chunk[:end], offset + end

    def seal(self) -> None:
        """Write nothing more from this process, except by `write_sealed`."""
        self._sealed = True

    def write_sealed(self, lines: bytes) -> None:
        """Append the last lines, sealed or not, if they can be written."""
        with contextlib.suppress(OSError):
            _write_all(self._file, lines)

    def close(self) -> None:
        """Write what still waits in memory, if it can be written, and close the file."""
        with self._lock:
            self._flush()
            self._sealed = True
            os.close(self._file)

    def _open(self) -> int:
        return os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)

    def _check(self) -> None:
        """See that the path still leads to our file; where it was deleted, write the whole file anew."""
        with self._lock:
            self._next_check = time.monotonic() + _CHECK_EVERY_S
            try:
                there = os.stat(self.path)  # noqa: PTH116  the pair of os.fstat
            except FileNotFoundError:
                there = None
            except OSError:
                return
            ours = os.fstat(self._file)
            if there is not None and (there.st_ino, there.st_dev) == (ours.st_ino, ours.st_dev):
                return
            try:
                new = self._open()
            except OSError:
                return  # The old file, though it has no name any more, still takes our events.
            if there is None:
                offset = 0
                while chunk := os.pread(self._file, CHUNK, offset):
                    _write_all(new, chunk)
                    offset += len(chunk)
                _say(f"The journal {self.path} was deleted; it has been written anew.")
            # The number stays the same, so that threads in the middle of a write are not surprised.
            os.dup2(new, self._file, inheritable=False)
            os.close(new)

    def _keep(self, line: bytes, why: str | None = None) -> None:
        with self._lock:
            first = not self._kept
            self._kept.append(line)
        if first:
            _say(f"The journal {self.path} cannot be written ({why}); events wait in memory until it can.")
            threading.Thread(target=self._retry, name="journal", daemon=True).start()

    def _retry(self) -> None:
        while True:
            time.sleep(_RETRY_EVERY_S)
            with self._lock:
                if self._sealed or self._flush():
                    return

    def _flush(self) -> bool:
        while self._kept:
            try:
                if os.write(self._file, self._kept[0]) != len(self._kept[0]):
                    return False
            except OSError:
                return False
            del self._kept[0]
        return True


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _say(sentence: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(sentence, file=sys.stderr, flush=True)


def unfinished(journal: Journal, since: int = 0) -> dict[str, TaskEvent]:
    """Return the `accepted` event of each task that was accepted after offset `since` and has not ended, by its id.

    Looks at the first two fields of a line alone, so that a million tasks are gone through in a second or two: this
    is asked when somebody waits for the server to end.
    """
    ended = {state.encode() for state in ENDED}
    tasks: dict[bytes, bytes] = {}
    offset = since
    while True:
        lines, offset = journal.read(offset)
        if not lines:
            break
        for line in lines.split(b"\n"):
            fields = line[max(line.rfind(b'{"id":'), 0) :].split(b'"', 8)
            if len(fields) < 9:
                continue
            task, state = fields[3], fields[7]
            if state == b"accepted":
                tasks[task] = line
            elif state in ended:
                tasks.pop(task, None)
    return {event.id: event for line in tasks.values() if (event := TaskEvent.from_line(line))}


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
    """Every task, folded from the journal: reads on from where it stopped. In the order of acceptance."""

    journal: Journal
    tasks: dict[str, TaskRecord] = field(default_factory=dict)
    _offset: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def update(self) -> None:
        """Fold what was written since the last time."""
        with self._lock:
            while True:
                lines, offset = self.journal.read(self._offset)
                if offset < self._offset:  # The file was emptied, and so are the books.
                    self.tasks.clear()
                self._offset = offset
                if not lines:
                    return
                for line in lines.splitlines():
                    if (event := TaskEvent.from_line(line)) is None:
                        continue
                    record = self.tasks.get(event.id)
                    if record is None:
                        record = self.tasks[event.id] = TaskRecord(event.id, "accepted", event.mode)
                    record.see(event)

    def page(self, offset: int, limit: int) -> list[TaskRecord]:
        """Return at most `limit` tasks after the first `offset`."""
        with self._lock:
            return list(islice(self.tasks.values(), offset, offset + limit))
