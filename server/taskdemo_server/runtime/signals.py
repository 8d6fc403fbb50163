"""Signals as news: what arrives is put into an inbox, which somebody hears."""

import queue
import signal
from typing import Final, Literal, TypeAlias

News: TypeAlias = tuple[Literal["signal", "ready", "ended", "failed"], int]
"""What a supervisor hears: a signal and its number, which process is ready or has ended, or that an engine failed."""
Inbox: TypeAlias = queue.SimpleQueue[News]

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def catch_signals(inbox: Inbox) -> None:
    """Turn signals into news."""
    for number in SIGNALS:
        signal.signal(number, lambda number, _frame: inbox.put(("signal", number)))


def hear(inbox: Inbox) -> News:
    """Return the next news. Call from the main thread, where signals arrive."""
    while True:
        try:
            # With a timeout, because a system may hand the signal to another thread, which does not end the wait.
            return inbox.get(timeout=0.25)
        except queue.Empty:
            continue
