"""What asks a command to stop: Ctrl-C, SIGTERM, a closed terminal. The first asks, the second insists."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import Final, Self

STOP_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """The command ends because it was asked to; `exit_code` is what shells make of the signal.

    Not a KeyboardInterrupt, which Typer would take for Ctrl-C whatever the signal was.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


class StopRequest:
    """Remembers whether, and by which signal, the command was asked to stop.

    The first signal only sets `asked`, so that a run can end in order and what was measured is kept; a second one
    raises Stopped wherever the main thread is, and so does every further one.
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
        """Raise Stopped where the command was asked to stop."""
        if self.signal is not None:
            raise Stopped(self.signal)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.signal is None:
            self.signal = number
        else:
            interrupt(self.signal, None)

    def listen(self) -> Self:
        """Catch the signals from here on, to the command's end: what was measured is still to be printed and saved."""
        listen(self._handle)
        return self


interrupted: list[int] = []
"""The signals for which Stopped was raised: an import may swallow it, or make another exception of it."""


def interrupt(number: int, _frame: FrameType | None) -> None:
    """End what does not itself listen to signals: it has nothing to finish."""
    interrupted.append(number)
    raise Stopped(number)


def listen(handler: Callable[[int, FrameType | None], object]) -> None:
    """Let `handler` have the signals that ask to stop. Raises Stopped where one has come before.

    A hang-up that is ignored stays so: `nohup taskdemo serve` is to outlive its terminal.
    """
    for number in STOP_SIGNALS:
        if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)
    if interrupted:
        raise Stopped(interrupted[0])


def ignore() -> None:
    """Be deaf to all that asks to stop from here on: what is left to do is to end."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
