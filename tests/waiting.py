"""Waiting in tests: for what shall become true, for processes to end, for the interpreter."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import psutil
import pytest

T = TypeVar("T")


def until(condition: Callable[[], T], within: float = 60.0) -> T:
    """Return `condition()` soon after it is true; fail the test when it is not within so many seconds.

    The longer that takes, the more seldom it is looked at: others need the processor for what is waited for.
    """
    begun = time.monotonic()
    while not (value := condition()):
        waited = time.monotonic() - begun
        if waited > within:
            pytest.fail(f"still {value!r} after {within} s", pytrace=True)
        time.sleep(min(0.01 + waited / 20, 0.1))
    return value


@contextmanager
def another_thread_waits() -> Iterator[list[None]]:
    """Let a thread wait for the interpreter; what is yielded fills once it has had it."""
    turns: list[None] = []
    begin, usual = threading.Event(), sys.getswitchinterval()

    def compute() -> None:
        begin.wait()
        turns.append(None)

    other = threading.Thread(target=compute)
    other.start()
    try:
        sys.setswitchinterval(20)  # so long does whoever keeps it keep it, unless he lets it go
        begin.set()
        yield turns
    finally:
        sys.setswitchinterval(usual)
        other.join()


def lives(process: psutil.Process) -> bool:
    """Tell whether this one runs: a zombie has ended, though init may take seconds to notice."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def gone(processes: Iterable[psutil.Process]) -> bool:
    """Tell whether all of these have ended."""
    return not any(map(lives, processes))


def in_group(group: int) -> Iterator[psutil.Process]:
    """Give the processes of this group."""
    with suppress(ProcessLookupError):
        os.killpg(group, 0)  # mostly nobody is left, which is quicker to see so
        for process in psutil.process_iter():
            with suppress(ProcessLookupError):
                if os.getpgid(process.pid) == group:
                    yield process
