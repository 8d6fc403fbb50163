"""How long a piece of work used a processor, and how long it waited for one, in seconds.

Only Linux reports how long a thread waited for a processor. Standard library only: pool processes and workers import
this.
"""

import ctypes
import os
import resource
import time
from typing import Final

TELLS: Final = os.path.exists("/proc/thread-self/schedstat")  # noqa: PTH110  pathlib is slower to import
"""Whether this system reports how long a thread waited for a processor."""
SYSTEM: Final = ctypes.PyDLL(None)
"""The C library, called without releasing the GIL: threads that compute return it late."""


class Spent:
    """Adds up what `with` blocks use, in one thread.

    `alone`: this process does nothing else meanwhile, so its other threads and the programs that it has waited for
    count too: work that starts them computes, although its own thread waits.
    """

    __slots__ = ("_began", "_clock", "_queued", "cpu_s", "queued_s")

    def __init__(self, *, may_compute: bool, alone: bool = False) -> None:
        self.cpu_s = 0.0
        self.queued_s: float | None = 0.0 if may_compute and TELLS else None
        """None if the system does not report it, or if the work only waits: reading it costs more than a quick task."""
        self._clock = _process_and_programs if alone else time.thread_time

    def __enter__(self) -> None:
        if self.queued_s is not None:
            self._queued = thread_queued()
        self._began = self._clock()

    def __exit__(self, *_: object) -> None:
        self.cpu_s += self._clock() - self._began
        if self.queued_s is not None:
            self.queued_s += thread_queued() - self._queued


def thread_times(thread: str) -> tuple[float, float] | None:
    """Return the seconds that a thread, given by its path below /proc, has run and has waited for a processor.

    None if the system does not report them, or if the thread has ended.
    """
    file, text = SYSTEM.open(f"/proc/{thread}/schedstat".encode(), os.O_RDONLY), ctypes.create_string_buffer(100)
    if file < 0:
        return None
    SYSTEM.read(file, text, len(text))
    SYSTEM.close(file)
    try:
        ran, queued, *_ = text.value.split()
    except ValueError:  # it has just ended, so its file is empty
        return None
    return int(ran) / 1e9, int(queued) / 1e9


def thread_queued() -> float:
    """Return the seconds that this thread has waited for a processor so far; 0 if the system does not report them."""
    told = thread_times("thread-self")
    return 0.0 if told is None else told[1]


def _process_and_programs() -> float:
    programs = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + programs.ru_utime + programs.ru_stime
