"""Signals as news: each is put into an inbox, from which a supervisor or a server process reads."""

import queue
import signal
from typing import Final, Literal, TypeAlias

News: TypeAlias = tuple[Literal["signal", "ready", "ended", "failed"], int]
"""What a supervisor receives: a signal's number, the pid of a process that is ready or has ended, or a failure."""
Inbox: TypeAlias = queue.SimpleQueue[News]

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def catch_signals(inbox: Inbox) -> None:
    """Put each of `SIGNALS` into the inbox when it arrives."""
    for number in SIGNALS:
        signal.signal(number, lambda number, _frame: inbox.put(("signal", number)))


def hear(inbox: Inbox) -> News:
    """Wait for the next news, and return it. Call this from the main thread, where signals arrive."""
    while True:
        try:
            # With a timeout, because a system may deliver a signal to another thread, which does not end this wait.
            return inbox.get(timeout=0.25)
        except queue.Empty:
            continue
