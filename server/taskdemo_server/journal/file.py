"""The journal: the append-only file that holds every task's events, one line each. Standard library only.

It is a file because work runs in threads, processes and workers: each appends a line with one write, and no
crash of one takes along what the others know.
"""

import contextlib
import ctypes
import errno
import os
import stat
import threading
import time
from collections.abc import Callable
from typing import Final

from taskdemo_server.contract.stderr import complain

MOST_WAITING: Final = 1 << 26
"""Bytes of events that may wait in memory for a disk; with more, no further task is to be accepted."""
_RETRY_EVERY_S: Final = 0.5
_system_write: Final = ctypes.PyDLL(None, use_errno=True).write
_system_write.argtypes = ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t
_system_write.restype = ctypes.c_ssize_t


class Journal:
    """Appends events to the file at `path`, which is made private to the user. Raises OSError if it cannot.

    Where the disk takes no more, that is said once on standard error and fails nobody: the events wait in memory
    until it does. `beside_threads`: other threads of this process may compute while events are written.
    """

    def __init__(self, path: str, *, beside_threads: bool = False) -> None:
        self.path = path
        self.stuck = False
        """Whether so much waits to be written that no further task should be accepted."""
        self.trouble = ""
        """Why events wait in memory, and nobody who follows the journal hears of them; empty where none do."""
        self._file = open_appending(path)
        there = os.fstat(self._file)
        if not stat.S_ISREG(there.st_mode):
            os.close(self._file)
            raise OSError(errno.EINVAL, "it is not an ordinary file", path)
        if stat.S_IMODE(there.st_mode) & 0o077:  # It was there before, for others to read.
            with contextlib.suppress(OSError):  # A file system without such permissions, or others' file.
                os.fchmod(self._file, 0o600)
        self._append: Callable[[int, bytes], int] = append_at_once if beside_threads else os.write
        self._waiting = bytearray()
        self._lock = threading.Lock()
        self._sealed = False

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
            if written != len(line):  # The torn beginning is skipped by whoever reads the whole line after it.
                self._wait(line, "the disk is full")

    def size(self) -> int:
        """Return the bytes in the journal now: the offset from which a follower sees only what comes next."""
        return os.fstat(self._file).st_size

    def read(self, offset: int, limit: int = 1 << 18) -> tuple[bytes, int]:
        """Return whole lines from `offset` on, about `limit` bytes of them, and the offset after the last one."""
        chunk = os.pread(self._file, limit, offset)
        while (end := chunk.rfind(b"\n") + 1) == 0 and len(chunk) == limit:  # A line longer than the limit.
            limit *= 2
            chunk = os.pread(self._file, limit, offset)
        return chunk[:end], offset + end

    def seal(self) -> None:
        """Write nothing more from this process, except by `write_sealed`."""
        self._sealed = True

    def write_sealed(self, lines: bytes) -> None:
        """Append the last lines, sealed or not, if they can be written."""
        with contextlib.suppress(OSError):
            while lines:
                lines = lines[os.write(self._file, lines) :]

    def finish(self) -> None:
        """Write what still waits in memory, or say that it cannot be written, and nothing more from this process."""
        self._write_waiting(b"")
        self._sealed = True
        if self._waiting:
            count = self._waiting.count(b"\n")
            complain(f"{count} events could not be written into the journal {self.path}.")

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
        """Write what waits, and `line` behind it, as far as the disk takes it."""
        with self._lock:
            self._waiting += line
            waited = bool(self._waiting)
            with contextlib.suppress(OSError):
                room = os.write(self._file, self._waiting)
                # A line that was torn is written again as a whole: behind its beginning, others may write meanwhile.
                del self._waiting[: self._waiting.rfind(b"\n", 0, room) + 1]
            self.stuck = len(self._waiting) > MOST_WAITING
            if waited and not self._waiting:
                self.trouble = ""
                complain(f"The journal {self.path} can be written again, and nothing is missing in it.")


def append_at_once(file: int, line: bytes) -> int:
    """Do what os.write does, without letting the interpreter go: threads that compute give it back after 5 ms only.

    The event loop would wait for so long at each event; a write takes it 3 us.
    """
    written: int = _system_write(file, line, len(line))
    if written < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return written


def open_appending(path: str) -> int:
    """Return a descriptor of the file, made if need be, that reads, and appends each write in one piece."""
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
