"""Ends a process together with everything it started, however it ends. Standard library, and psutil, imported late."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Final, NoReturn

from taskdemo_server.contract.stderr import send_nowhere

_LOOK_EVERY_S: Final = 0.25
_MOST_LOOKS: Final = 20
cleanups: Final[list[Callable[[], None]]] = []
"""Called before the process ends abruptly. They must be quick and must not raise."""


def end_with_starter(before: Callable[[], None] = lambda: None) -> None:
    """End this process and its children as soon as standard input ends, because the starter is gone then.

    `before` is called first, and may take its time. From now on, everything else sees an empty standard input: nobody
    would answer an `input()` in the user's code, which would read what is meant for this process.
    """
    lifeline = os.dup(0)
    send_nowhere(0)

    def watch() -> None:
        with contextlib.suppress(OSError):
            while os.read(lifeline, 4096):
                pass
        before()
        end(1)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def end_with_parent() -> None:
    """End this process as soon as its parent is gone, even by SIGKILL."""
    parent = os.getppid()
    # multiprocessing knows the pid even of a parent that died before this call, but not before the first imports.
    _live_while(lambda: os.getppid() == getattr(multiprocessing.parent_process(), "pid", parent))


def end_with_worker(main: int) -> None:
    """End this process of an engine's worker, and all that it forks from now on, once the main process `main` is gone.

    Some engines' processes would go on without their main process, and take tasks unattended.
    """
    # Imported once, before any fork.
    import psutil  # noqa: F401

    def begin() -> None:
        _live_while(lambda: lives(main))

    if os.getpid() != main:
        begin()
    os.register_at_fork(after_in_child=begin)


def _live_while(there: Callable[[], bool]) -> None:
    def watch() -> None:
        while there():
            time.sleep(_LOOK_EVERY_S)
        end(1)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def lives(pid: int) -> bool:
    """Return whether this process exists and is no zombie."""
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def end_group() -> None:
    """Kill all other processes of the group that this one leads: those that the user's work started and left behind.

    Do nothing unless this process also leads its session: a shell's job has others in it (`taskdemo worker | tee log`).
    """
    if os.getsid(0) == os.getpid():
        from multiprocessing import resource_tracker

        import psutil

        # The tracker removes the semaphores that other processes leave, and ends with the last of these.
        spared = {os.getpid(), getattr(resource_tracker._resource_tracker, "_pid", None)}  # noqa: SLF001
        for _ in range(_MOST_LOOKS):  # the work goes on meanwhile, and may start more
            others = [pid for pid in psutil.pids() if pid not in spared and _is_in_group(pid)]
            for pid in others:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            if not others:
                return
            spared.update(others)


def _is_in_group(pid: int) -> bool:
    try:
        return os.getpgid(pid) == os.getpid()
    except OSError:  # it has ended
        return False


def end(code: int) -> NoReturn:
    """End this process at once with `code`, and its children with it. Nothing is finished or flushed."""
    try:
        send_nowhere(2)  # other threads may complain when their children end; nobody needs to read that
        for cleanup in cleanups:
            cleanup()
        for child in multiprocessing.active_children():
            child.kill()
        end_group()
        for cleanup in cleanups:  # another thread may have made something meanwhile
            cleanup()
    finally:
        os._exit(code)
