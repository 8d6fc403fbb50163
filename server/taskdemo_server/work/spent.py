"""What a piece of work takes of the processors: seconds that it computed, and seconds that it waited for one.

For how long a thread could have run while no processor was free, Linux alone tells. Standard library only: pool
processes and workers import it.
"""

import ctypes
import os
import resource
import time
from typing import Final

TELLS: Final = os.path.exists("/proc/thread-self/schedstat")  # noqa: PTH110  pathlib is slower to import
"""Whether this system tells how long a thread waited for a processor."""
SYSTEM: Final = ctypes.PyDLL(None)
"""The system's own functions, called without letting the interpreter go: threads that compute give it back late."""


class Spent:
    """Adds up what is done `with` it, in one thread.

    `alone`: nothing else is done in this process meanwhile, so that its other threads, and the programs that it has
    waited for, count as well: a work that starts them computes, although its own thread waits.
    """

    __slots__ = ("_began", "_clock", "_queued", "cpu_s", "queued_s")

    def __init__(self, *, may_compute: bool, alone: bool = False) -> None:
        self.cpu_s = 0.0
        self.queued_s: float | None = 0.0 if may_compute and TELLS else None
        """None where the system does not tell, and for work that only waits: asking costs more than a quick task."""
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
    """Return the seconds that a thread has run, and has waited for a processor, by its path below /proc.

    None where nobody says, or the thread has ended.
    """
    file, text = SYSTEM.open(f"/proc/{thread}/schedstat".encode(), os.O_RDONLY), ctypes.create_string_buffer(100)
    if file < 0:
        return None
    SYSTEM.read(file, text, len(text))
    SYSTEM.close(file)
    try:
        ran, queued, *_ = text.value.split()
    except ValueError:  # it has ended since: then its file says nothing
        return None
    return int(ran) / 1e9, int(queued) / 1e9


def thread_queued() -> float:
    """Return the seconds that this thread has waited for a processor so far; 0 where nobody says."""
    told = thread_times("thread-self")
    return 0.0 if told is None else told[1]


def _process_and_programs() -> float:
    programs = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + programs.ru_utime + programs.ru_stime
