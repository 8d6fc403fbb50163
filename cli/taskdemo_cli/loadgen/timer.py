"""A timer for an event loop, accurate to a few microseconds on Linux; knows nothing else.

uvloop's timers (libuv's) and epoll's timeouts have a resolution of one millisecond: at 3,000 requests per second they
would send three at once and two of them late. On Linux a timer descriptor (timerfd_create(2)) wakes the event loop
like a socket; elsewhere the event loop's own timers are used.
"""

import asyncio
import ctypes
import os
import sys
import time
from collections.abc import Callable
from typing import Final

_CLOCK_MONOTONIC: Final = 1
_NONBLOCK_CLOEXEC: Final = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
_ABSOLUTE: Final = 1


class Timer:
    """Calls `callback()` once at the time last given to `at()`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
        self._loop = loop
        self._callback = callback
        self._handle: asyncio.TimerHandle | None = None
        self._timer = -1
        self._set: Callable[..., object]
        if sys.platform == "linux":
            libc = ctypes.CDLL(None, use_errno=True)
            self._timer = libc.timerfd_create(_CLOCK_MONOTONIC, _NONBLOCK_CLOEXEC)
            self._set = libc.timerfd_settime
        if self._timer >= 0:
            self._spec = (ctypes.c_long * 4)()  # itimerspec: no interval, then seconds and nanoseconds
            loop.add_reader(self._timer, self._expired)

    def at(self, when: float) -> None:
        """Set the timer to `when`, in `time.monotonic()` seconds; a past time expires at once."""
        if self._timer < 0:
            if self._handle is not None:
                self._handle.cancel()
            self._handle = self._loop.call_later(max(0.0, when - time.monotonic()), self._callback)
            return
        seconds = int(when)
        self._spec[2] = seconds
        self._spec[3] = int((when - seconds) * 1e9)
        self._set(self._timer, _ABSOLUTE, self._spec, None)

    def close(self) -> None:
        """Cancel the timer and release its descriptor."""
        if self._handle is not None:
            self._handle.cancel()
        if self._timer >= 0:
            self._loop.remove_reader(self._timer)
            os.close(self._timer)
            self._timer = -1

    def _expired(self) -> None:
        try:
            os.read(self._timer, 8)
        except BlockingIOError:  # `at()` was called again after it expired
            return
        self._callback()
