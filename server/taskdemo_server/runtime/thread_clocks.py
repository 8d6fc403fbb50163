"""What the system measures of a thread beside its CPU time: for how long it could have run, and no processor was free.

Linux alone tells. Standard library only: pool processes and workers import it.
"""

import os
from typing import Final


def scheduled(thread: str = "thread-self") -> tuple[float, float] | None:
    """Return the seconds that a thread has run, and has waited for a processor; None where nobody says.

    `thread` is its path below /proc: `self/task/NUMBER`, or that of the thread that asks.
    """
    if (file := opened(thread)) is None:
        return None
    try:
        return times(os.read(file, 100))
    except OSError:
        return None
    finally:
        os.close(file)


def opened(thread: str) -> int | None:
    """Return the file that says this of a thread; None where there is none."""
    try:
        return os.open(f"/proc/{thread}/schedstat", os.O_RDONLY)
    except OSError:
        return None


def times(text: bytes) -> tuple[float, float] | None:
    """Return what `scheduled` does, of what such a file says; of a thread that has ended it says nothing."""
    try:
        ran, queued, *_ = text.split()
    except ValueError:
        return None
    return int(ran) / 1e9, int(queued) / 1e9


TELLS: Final = scheduled() is not None
"""Whether this system does."""


def queued() -> float:
    """Return the seconds that this thread has waited for a processor so far; 0 where nobody says."""
    times = scheduled()
    return 0.0 if times is None else times[1]
