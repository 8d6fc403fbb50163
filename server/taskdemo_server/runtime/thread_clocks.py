"""What the system measures of a thread beside its CPU time: for how long it could have run, and no processor was free.

Linux alone tells. Standard library only: pool processes and workers import it.
"""

import ctypes
import os
from typing import Final

TELLS: Final = os.path.exists("/proc/thread-self/schedstat")  # noqa: PTH110  pathlib is slower to import
"""Whether this system does."""
SYSTEM: Final = ctypes.PyDLL(None)
"""The system's own functions, called without letting the interpreter go: threads that compute give it back late."""


def times(thread: str) -> tuple[float, float] | None:
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


def queued() -> float:
    """Return the seconds that this thread has waited for a processor so far; 0 where nobody says."""
    told = times("thread-self")
    return 0.0 if told is None else told[1]
