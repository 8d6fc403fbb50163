"""The journal: the append-only file that holds every task's events, one line each. Standard library only.

It is a file because work runs in threads, processes and workers: each appends a line with one write, and no
crash of one takes along what the others know. Of a journal that grows and grows, the beginning is given back to the
disk; offsets in it, by which it is followed, stay what they were.
"""

import contextlib
import errno
import os
import stat
import sys
import tempfile
import threading
import time
from collections import deque
from pathlib import Path
from typing import Final

from taskdemo_server import holes
from taskdemo_server.appending import open_appending, pread
from taskdemo_server.contract.events import ENDED, TaskEvent
from taskdemo_server.contract.stderr import complain

CHUNK: Final = 1 << 18
"""Bytes read at a time by those who follow the journal."""
MOST_BYTES: Final = 1 << 28
"""What is kept of the journal: the last 256 MiB at least, a quarter more at most. A task takes some 500 bytes."""
MOST_WAITING: Final = 1 << 26
"""Bytes of events that may wait in memory for a disk; with more, no further task is to be accepted."""
_CHECK_EVERY_S: Final = 1.0
_RETRY_EVERY_S: Final = 0.5
_SAY_AGAIN_S: Final = 60.0


class Journal:
    """Appends events to the file at `path`, which is made private to the user. Raises OSError if it cannot.

    Later trouble (disk full, file deleted, no permission) is said once on standard error and fails nobody:
    events that cannot be written wait in memory until they can.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.stuck = False
        """Whether so much waits to be written that no further task should be accepted."""
        self.trouble = ""
        """Why events wait in memory, and nobody who follows the journal hears of them; empty where none do."""
        self._file = self._open()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._lock = threading.Lock()
        self._next_check = 0.0
        self._sealed = False
        self._freed = 0
        self._said: dict[str, float] = {}
        # What this process has written since the check before the last one, which begins at the first of the sizes.
        self._earlier: list[bytes] = []
        self._lately: list[bytes] = []
        self._sizes = (0, 0)

    def write(self, line: bytes, clock: float) -> None:
        """Append one event's line; `clock` is the monotonic clock now, or lately."""
        if self._sealed:
            return
        if clock >= self._next_check:
            self._check()
        self._lately.append(line)
        if self._waiting:  # The order of events matters, so later ones queue behind those that wait.
            self._wait(line)
            return
        try:
            written = os.write(self._file, line)
        except OSError as error:
            self._wait(line, error.strerror)
        else:
            if written != len(line):  # The torn beginning is skipped by whoever reads the whole line after it.
                self._wait(line, "the disk is full")

    def look_after(self) -> None:
        """Call every second or so where there may be neither writing nor reading: what was written may be deleted."""
        self._check()

    def size(self) -> int:
        """Return the bytes in the journal now: the offset from which a follower sees only what comes next."""
        self._check()
        return os.fstat(self._file).st_size

    def read(self, offset: int, limit: int = CHUNK) -> tuple[bytes, int]:
        """Return whole lines from `offset` on, about `limit` bytes of them, and the offset after the last one.

        What was given back to the disk is skipped; the first line after it may be only the end of one.
        """
        if time.monotonic() >= self._next_check:
            self._check()
        while (chunk := pread(self._file, limit, offset)).startswith(b"\0"):
            zeros = len(chunk) - len(chunk.lstrip(b"\0"))
            offset = max(holes.data_after(self._file, offset), offset + zeros)
        while (end := chunk.rfind(b"\n") + 1) == 0 and len(chunk) == limit:  # A line longer than the limit.
            limit *= 2
            chunk = pread(self._file, limit, offset)
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
        """Write what still waits in memory, or say that it cannot be written, and close the file."""
        with self._lock:
            if not self._flush():
                complain(f"{len(self._waiting)} events could not be written into the journal {self.path}.")
            self._sealed = True
            os.close(self._file)

    def _open(self) -> int:
        file = open_appending(self.path)
        there = os.fstat(file)
        if not stat.S_ISREG(there.st_mode):
            os.close(file)
            raise OSError(errno.EINVAL, "it is not an ordinary file", self.path)
        if sys.platform != "win32" and stat.S_IMODE(there.st_mode) & 0o077:  # It was there before, for others to read.
            with contextlib.suppress(OSError):  # A file system without such permissions, or others' file.
                os.fchmod(file, 0o600)
        return file

    def _check(self) -> None:
        """See that the path still leads to our file, and that the file is not too big."""
        with self._lock:
            self._next_check = time.monotonic() + _CHECK_EVERY_S
            ours = os.fstat(self._file)
            # Before the path is looked at: what is forgotten here was in the file when that was last right.
            before, self._earlier, self._lately = self._earlier, self._lately, []
            since, self._sizes = self._sizes[0], (self._sizes[1], ours.st_size)
            try:
                there = os.stat(self.path)  # noqa: PTH116  the pair of os.fstat
            except FileNotFoundError:
                there = None
            except OSError:
                return
            if there is None or (there.st_ino, there.st_dev) != (ours.st_ino, ours.st_dev):
                self._move([*before, *self._earlier], since, deleted=there is None)
            elif ours.st_size - self._freed > MOST_BYTES + MOST_BYTES // 4:
                self._give_back(ours.st_size - MOST_BYTES)

    def _give_back(self, end: int) -> None:
        """Free the beginning of the file, up to the first line after `end`."""
        end += pread(self._file, CHUNK, end).find(b"\n") + 1
        self._freed = end
        try:
            holes.free(self._file, end)
        except OSError as error:
            self._freed = sys.maxsize
            complain(
                f"The journal {self.path} grows beyond {MOST_BYTES >> 20} MiB: its disk takes nothing back ({error})."
            )

    def _move(self, lines: list[bytes], since: int, *, deleted: bool) -> None:
        """Go on in the file that the path leads to; where it was deleted, write it anew with all that was in it.

        Whoever of several processes is first does that. What the others have written into the deleted file meanwhile,
        each of them knows, and adds: `lines`, which are to be found from offset `since` on.
        """
        try:
            if deleted and self._write_anew():
                complain(f"The journal {self.path} was deleted; it has been written anew.")
            new = self._open()
        except OSError as error:
            self._say_once(
                f"The journal {self.path} was deleted and cannot be written anew ({error.strerror}): until it can,"
                " events go where nobody finds them when this server has ended."
            )
            return
        # The number stays the same, so that threads in the middle of a write are not surprised.
        os.dup2(new, self._file, inheritable=False)
        os.close(new)
        there = _lines(self._file, since)
        missing = [line for line in [*lines, *self._lately] if line[:-1] not in there]
        if missing:
            self._waiting.extendleft(reversed(missing))
            self._waiting_bytes += sum(map(len, missing))
            if not self._flush():
                threading.Thread(target=self._retry, name="journal", daemon=True).start()

    def _write_anew(self) -> bool:
        """Copy our deleted file to its old path in one step; False where another process did so before."""
        folder = Path(self.path).absolute().parent
        draft, path = tempfile.mkstemp(prefix=".journal-", dir=folder)
        try:
            offset = holes.data_after(self._file, 0)
            os.ftruncate(draft, offset)
            os.lseek(draft, offset, os.SEEK_SET)
            while chunk := pread(self._file, CHUNK, offset):
                _write_all(draft, chunk)
                offset += len(chunk)
            os.link(path, self.path)
        except FileExistsError:
            return False
        finally:
            os.close(draft)
            os.unlink(path)  # noqa: PTH108  the pair of mkstemp
        return True

    def _wait(self, line: bytes, why: str | None = None) -> None:
        with self._lock:
            first = not self._waiting
            if first and why is None and self._write_one(line):  # Meanwhile all that waited was written.
                return
            self._waiting.append(line)
            self._waiting_bytes += len(line)
            self.stuck = self._waiting_bytes > MOST_WAITING
        if first:
            why = self.trouble = why or "the disk is full"
            self._say_once(f"The journal {self.path} cannot be written ({why}); events wait in memory until it can.")
            threading.Thread(target=self._retry, name="journal", daemon=True).start()

    def _retry(self) -> None:
        while True:
            time.sleep(_RETRY_EVERY_S)
            with self._lock:
                if self._sealed:
                    return
                if self._flush():
                    break
        self._say_once(f"The journal {self.path} can be written again, and nothing is missing in it.")

    def _flush(self) -> bool:
        """Write what waits, as far as possible; whether all of it could be. Call with the lock."""
        while self._waiting:
            if not self._write_one(self._waiting[0]):
                return False
            self._waiting_bytes -= len(self._waiting.popleft())
        self.stuck = False
        self.trouble = ""
        return True

    def _write_one(self, line: bytes) -> bool:
        try:
            return os.write(self._file, line) == len(line)
        except OSError:
            return False

    def _say_once(self, sentence: str) -> None:
        """Say it, unless the same was said within the last minute."""
        now = time.monotonic()
        if now >= self._said.get(sentence, now):
            self._said[sentence] = now + _SAY_AGAIN_S
            complain(sentence)


def _write_all(file: int, data: bytes) -> None:
    while data:
        data = data[os.write(file, data) :]


def _lines(file: int, offset: int) -> set[bytes]:
    """Return the lines from `offset` on."""
    content = bytearray()
    while chunk := pread(file, CHUNK, offset + len(content)):
        content += chunk
    return set(bytes(content).split(b"\n"))


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
