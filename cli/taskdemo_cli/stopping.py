"""What asks a command to stop: Ctrl-C, SIGTERM, a closed terminal. The first asks, the second insists."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType

STOP_SIGNALS = (
    [signal.SIGINT, signal.SIGTERM] if sys.platform == "win32" else [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
)


class Stopping:
    """Remembers whether, and by which signal, the command was asked to stop.

    The first signal only sets `asked`, so that a run can end in order and what was measured is kept; a second one
    raises KeyboardInterrupt wherever the main thread is.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    @property
    def asked(self) -> bool:
        """Whether to stop."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """128 plus the signal's number, as shells have it: 130 for Ctrl-C."""
        return 128 + (self.signal or signal.SIGINT)

    def check(self) -> None:
        """Raise KeyboardInterrupt where the command was asked to stop."""
        if self.asked:
            raise KeyboardInterrupt

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.signal = number

    @contextlib.contextmanager
    def watching(self) -> Iterator["Stopping"]:
        """Catch the signals while the block runs."""
        before = {number: signal.signal(number, self._handle) for number in STOP_SIGNALS}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
