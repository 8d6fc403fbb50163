"""The signals that stop a command: Ctrl-C, SIGTERM, a closed terminal. The first asks, the second insists."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import Final, Self

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """Raised when a signal ends the command; `exit_code` is 128 plus its number, as in shells.

    Not a KeyboardInterrupt, which Typer would treat as Ctrl-C whatever the signal was.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


class AskedToStopError(Exception):
    """The command was asked to stop, so what is under way cannot be finished; what was seen so far is kept."""


class StopRequest:
    """Remembers whether the command was asked to stop, and by which signal.

    The first signal only sets `asked`, so a run can end in order and keep its measurements; every further one raises
    Stopped wherever the main thread is.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    @property
    def asked(self) -> bool:
        """Whether the command was asked to stop."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """128 plus the signal's number, as in shells: 130 for Ctrl-C."""
        return 128 + (self.signal or signal.SIGINT)

    def check(self) -> None:
        """Raise Stopped if the command was asked to stop."""
        if self.signal is not None:
            raise Stopped(self.signal)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal = number
        else:
            interrupt(self.signal, None)

    def listen(self) -> Self:
        """Catch the signals until the command ends, because what was measured must still be printed and saved."""
        listen(self._handle)
        return self


interrupted: list[int] = []
"""The signals for which Stopped was raised: an import may swallow it, or make another exception of it."""


def interrupt(number: int, _frame: FrameType | None) -> None:
    """Raise Stopped; the handler for code without a StopRequest, which has nothing to finish."""
    interrupted.append(number)
    raise Stopped(number)


def listen(handler: Callable[[int, FrameType | None], object]) -> None:
    """Install `handler` for the signals that stop a command. Raises Stopped if `interrupt` has already caught one.

    A signal that is ignored stays ignored, except SIGINT: `nohup taskdemo serve` must outlive its terminal.
    """
    for number in STOP_SIGNALS:
        if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)
    if interrupted:
        raise Stopped(interrupted[0])


def ignore() -> None:
    """Ignore the signals that stop a command from now on: it is ending already."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
