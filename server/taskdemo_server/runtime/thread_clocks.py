"""What the system measures of a thread beside its CPU time: for how long it could have run, and no processor was free.

Linux alone tells. Standard library only: pool processes and workers import it.
"""

import ctypes
import os
from typing import Final


def opened(thread: str) -> int | None:
    """Return the file that says this of a thread, by its path below /proc; None where there is none."""
    try:
        return os.open(f"/proc/{thread}/schedstat", os.O_RDONLY)
    except OSError:
        return None


def times(text: bytes) -> tuple[float, float] | None:
    """Return the seconds that a thread has run, and has waited for a processor, of what such a file says.

    None of a thread that has ended: then it says nothing.
    """
    try:
        ran, queued, *_ = text.split()
    except ValueError:
        return None
    return int(ran) / 1e9, int(queued) / 1e9


TELLS: Final = os.path.exists("/proc/thread-self/schedstat")  # noqa: PTH110  pathlib is slower to import
"""Whether this system does."""
SYSTEM: Final = ctypes.PyDLL(None)
"""The system's own functions, called without letting the interpreter go: threads that compute give it back late."""


def queued() -> float:
    """Return the seconds that this thread has waited for a processor so far; 0 where nobody says."""
    file, text = SYSTEM.open(b"/proc/thread-self/schedstat", os.O_RDONLY), ctypes.create_string_buffer(100)
    if file < 0:
        return 0.0
    SYSTEM.read(file, text, len(text))
    SYSTEM.close(file)
    told = times(text.value)
    return 0.0 if told is None else told[1]
