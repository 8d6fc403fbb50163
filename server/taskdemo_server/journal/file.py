"""The journal: the append-only file that holds every task's events, one line each. Standard library only.

It is a file because work runs in threads, processes and workers: each appends a line with one write, and a crash of one
does not lose the events of the others.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import stat
import threading
import time
from collections.abc import Callable
from typing import Final

from taskdemo_server.contract.stderr import complain

MOST_WAITING: Final = 1 << 26
"""Bytes of events that may wait in memory for the disk; with more, the server accepts no further tasks."""
_RETRY_EVERY_S: Final = 0.5
_system_write: Final = ctypes.PyDLL(None, use_errno=True).write
_system_write.argtypes = ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t
_system_write.restype = ctypes.c_ssize_t


class Journal:
    """Appends events to the file at `path`, which is made private to the user. Raises OSError if it cannot.

    When the disk accepts no more, it says so once on standard error and raises nothing: the events wait in memory.
    `beside_threads`: other threads of this process may compute while events are written.
    """

    def __init__(self, path: str, *, beside_threads: bool = False) -> None:
        self.path = path
        self.stuck = False
        """Whether so many events wait to be written that no further task should be accepted."""
        self.trouble = ""
        """Why events wait in memory, unseen by those who follow the journal; empty if none do."""
        self._file = open_appending(path)
        there = os.fstat(self._file)
        if not stat.S_ISREG(there.st_mode):
            os.close(self._file)
            raise OSError(errno.EINVAL, "it is not a regular file", path)
        if stat.S_IMODE(there.st_mode) & 0o077:  # The file existed, and others could read it.
            with contextlib.suppress(OSError):  # No such permissions in this file system, or not our file.
                os.fchmod(self._file, 0o600)
        self._append: Callable[[int, bytes], int] = append_at_once if beside_threads else os.write
        self._waiting = bytearray()
        self._lock = threading.Lock()
        self._sealed = False

    def claim(self) -> bool:
        """Claim the file for as long as this process lives; return False if another process has claimed it."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno not in {errno.EACCES, errno.EAGAIN}  # its file system may have no locks
        return True

    def write(self, line: bytes) -> None:
        """Append one event's line."""
        if self._sealed:
            return
        if self._waiting:  # The order of events matters, so later ones queue behind those that wait.
            self._write_waiting(line)
            return
        try:
            written = self._append(self._file, line)
        except OSError as error:
            self._wait(line, str(error.strerror))
        else:
            if written != len(line):  # The whole line follows; readers skip the torn beginning before it.
                self._wait(line, "the disk is full")

    def size(self) -> int:
        """Return the journal's size in bytes: the offset from which a follower sees only new events."""
        return os.fstat(self._file).st_size

    def read(self, offset: int, limit: int = 1 << 18) -> tuple[bytes, int]:
        """Return whole lines from `offset` on, about `limit` bytes, and the offset after the last one."""
        chunk = os.pread(self._file, limit, offset)
        while (end := chunk.rfind(b"\n") + 1) == 0 and len(chunk) == limit:  # A line longer than the limit.
            limit *= 2
            chunk = os.pread(self._file, limit, offset)
        return chunk[:end], offset + end

    def seal(self) -> None:
        """Write nothing more from this process, except with `write_sealed`."""
        self._sealed = True

    def write_sealed(self, lines: bytes) -> None:
        """Append the last lines, even when sealed; drop them if they cannot be written."""
        with contextlib.suppress(OSError):
            while lines:
                lines = lines[os.write(self._file, lines) :]

    def finish(self) -> None:
        """Write the events that still wait, or say that they cannot be written; then write nothing more."""
        self._write_waiting(b"")
        self._sealed = True
        if self._waiting:
            count = self._waiting.count(b"\n")
            complain(f"{count} events could not be written to the journal {self.path}.")

    def _wait(self, line: bytes, why: str) -> None:
        with self._lock:
            first = not self._waiting
            self._waiting += line
        if first:
            self.trouble = why
            complain(f"The journal {self.path} cannot be written ({why}); events wait in memory until it can.")
            threading.Thread(target=self._retry, name="journal", daemon=True).start()

    def _retry(self) -> None:
        while self._waiting:
            time.sleep(_RETRY_EVERY_S)
            if self._sealed:
                return
            self._write_waiting(b"")

    def _write_waiting(self, line: bytes) -> None:
        """Write what waits, and `line` after it, as far as the disk accepts it."""
        with self._lock:
            self._waiting += line
            waited = bool(self._waiting)
            with contextlib.suppress(OSError):
                room = os.write(self._file, self._waiting)
                # A torn line is written again as a whole: others may have written after its beginning.
                del self._waiting[: self._waiting.rfind(b"\n", 0, room) + 1]
            self.stuck = len(self._waiting) > MOST_WAITING
            if waited and not self._waiting:
                self.trouble = ""
                complain(f"The journal {self.path} can be written again; nothing is missing.")


def append_at_once(file: int, line: bytes) -> int:
    """Write like os.write, but without releasing the GIL: threads that compute would return it only after 5 ms.

    The event loop would wait that long at every event; a write takes 3 us.
    """
    written: int = _system_write(file, line, len(line))
    if written < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return written


def open_appending(path: str) -> int:
    """Return a descriptor that reads the file, created if missing, and appends each write in one piece."""
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
