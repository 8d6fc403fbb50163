"""Who holds the event loop: a thread that looks, whenever the loop is late, at what its thread is doing.

A guess from samples, as profilers make it: code that keeps the interpreter's lock for itself is not seen. And whether
AnyIO's worker threads were all taken while somebody waited for one, which the loop itself looks at while it is free.
"""

import asyncio
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any, Final

from anyio import CapacityLimiter
from anyio.to_thread import current_default_thread_limiter

BEAT_S: Final = 0.02
LATE_S: Final = 0.08
"""A loop that did not beat for so long is held; shorter than what a caller would call a wait."""
BUSY: Final = 0.25
"""From this share of a core on it is this process that is busy, and not the machine with others."""
MOST_PLACES: Final = 20
FRAMEWORK: Final = frozenset({"anyio", "asyncio", "fastapi", "selectors.py", "starlette", "taskdemo_server", "uvicorn"})
"""Code that does not hold a loop by itself: found there, the thread waits for the interpreter, which others use."""
WAITING: Final = FRAMEWORK | {"queue.py", "threading.py"}
"""Where a thread is that has nothing to do."""


class LoopStalls:
    """Where the loop's thread was when the loop was late: in the user's code, the files of `folder`, if possible."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder).resolve()
        self._places: Counter[str] = Counter()
        self._starved = self._full = 0
        self._beat = self._used = 0.0
        self._known: dict[str, str | None] = {}

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch this loop, and its worker threads, from now on; call from a task of it."""
        own = threading.get_ident()
        limiter = current_default_thread_limiter()

        def beat() -> None:
            self._beat, self._used = time.monotonic(), time.process_time()
            self._count(limiter)
            loop.call_later(BEAT_S, beat)

        def look() -> None:
            while not loop.is_closed():
                time.sleep(BEAT_S)
                if time.monotonic() - self._beat >= LATE_S:
                    frames = sys._current_frames()  # noqa: SLF001  its documented use
                    frames.pop(threading.get_ident(), None)
                    if frame := frames.pop(own, None):
                        self._see(frame, frames.values())

        beat()
        threading.Thread(target=look, name="holding", daemon=True).start()

    def found(self) -> dict[str, Any]:
        """Return how often what was seen.

        {"places": {"file.py:12 in function": samples}, "starved": samples in which the loop's thread did nothing itself
        and another one did, "full": moments at which every worker thread was taken and somebody waited for one}.
        """
        return {"places": dict(self._places.most_common(MOST_PLACES)), "starved": self._starved, "full": self._full}

    def _count(self, limiter: CapacityLimiter) -> None:
        if limiter.borrowed_tokens >= limiter.total_tokens and limiter.statistics().tasks_waiting:
            self._full += 1

    def _see(self, innermost: FrameType, others: Iterable[FrameType]) -> None:
        frame: FrameType | None = innermost
        while frame is not None:
            name = self._name(frame.f_code.co_filename)
            if name is not None:
                self._places[f"{name}:{frame.f_lineno} in {frame.f_code.co_name}"] += 1
                return
            frame = frame.f_back
        file = Path(innermost.f_code.co_filename)
        if FRAMEWORK.isdisjoint(file.parts):
            self._places[f"{file.name}:{innermost.f_lineno} in {innermost.f_code.co_name}"] += 1
        elif self._is_busy() and any(WAITING.isdisjoint(Path(other.f_code.co_filename).parts) for other in others):
            self._starved += 1

    def _is_busy(self) -> bool:
        return time.process_time() - self._used >= BUSY * (time.monotonic() - self._beat)

    def _name(self, filename: str) -> str | None:
        """Return how to call a file of the user's own; None for anybody else's."""
        if filename not in self._known:
            path = Path(filename)
            own = path.is_relative_to(self._folder) and "site-packages" not in path.parts
            self._known[filename] = str(path.relative_to(self._folder)) if own else None
        return self._known[filename]
