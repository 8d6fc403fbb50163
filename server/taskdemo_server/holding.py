"""Who holds the event loop: a thread that looks, whenever the loop is late, at what its thread is doing.

A guess from samples, as profilers make it: code that keeps the interpreter's lock for itself is not seen.
"""

import asyncio
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any, Final

BEAT_S: Final = 0.02
LATE_S: Final = 0.08
"""A loop that did not beat for so long is held; shorter than what a caller would call a wait."""
BUSY: Final = 0.25
"""From this share of a core on it is this process that is busy, and not the machine with others."""
MOST_PLACES: Final = 20
FRAMEWORK: Final = frozenset({"anyio", "asyncio", "fastapi", "selectors.py", "starlette", "taskdemo_server", "uvicorn"})
"""Code that does not hold a loop by itself: found there, the thread waits for the interpreter, which others use."""


class Holding:
    """Where the loop's thread was when the loop was late: in the user's code, the files of `folder`, if possible."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder).resolve()
        self._places: Counter[str] = Counter()
        self._starved = 0
        self._beat = self._used = 0.0
        self._known: dict[str, str | None] = {}

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch this loop from now on; call from its own thread."""
        own = threading.get_ident()

        def beat() -> None:
            self._beat, self._used = time.monotonic(), time.process_time()
            loop.call_later(BEAT_S, beat)

        def look() -> None:
            while not loop.is_closed():
                time.sleep(BEAT_S)
                if time.monotonic() - self._beat >= LATE_S and (frame := sys._current_frames().get(own)):  # noqa: SLF001  its documented use
                    self._see(frame)

        beat()
        threading.Thread(target=look, name="holding", daemon=True).start()

    def found(self) -> dict[str, Any]:
        """Return {"places": {"file.py:12 in function": samples}, "starved": samples in which it did nothing itself}."""
        return {"places": dict(self._places.most_common(MOST_PLACES)), "starved": self._starved}

    def _see(self, innermost: FrameType) -> None:
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
        elif time.process_time() - self._used >= BUSY * (time.monotonic() - self._beat):
            self._starved += 1

    def _name(self, filename: str) -> str | None:
        """Return how to call a file of the user's own; None for anybody else's."""
        if filename not in self._known:
            path = Path(filename)
            own = path.is_relative_to(self._folder) and "site-packages" not in path.parts
            self._known[filename] = str(path.relative_to(self._folder)) if own else None
        return self._known[filename]
