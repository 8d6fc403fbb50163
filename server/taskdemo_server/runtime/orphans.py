"""How a process and everything it started end together, however they end. Standard library, and psutil at the end."""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Final, NoReturn

_LOOK_EVERY_S: Final = 0.25
_MOST_LOOKS: Final = 20
cleanups: Final[list[Callable[[], None]]] = []
"""Called before the process ends abruptly. Quick, and never raising."""


def end_with_starter(before: Callable[[], None] = lambda: None) -> None:
    """End this process and its children as soon as standard input reaches its end: the starter is gone then.

    `before` is called first, and may take its time. Standard input is empty from now on: nobody would answer a user's
    `input()`, which would take what is meant for us.
    """
    lifeline = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)

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
    # A parent that was gone before this began is known by its number, which comes after the first imports.
    _live_while(lambda: os.getppid() == getattr(multiprocessing.parent_process(), "pid", parent))


def end_with_worker(main: int) -> None:
    """End this process of an engine's worker as soon as the main process is gone, and so whatever it forks from now on.

    Some engines' processes would go on without it, and take tasks, although nobody looks after them any more.
    """
    # Once, before any fork.
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
    """Tell whether there is such a process, and it has not ended."""
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def end_group() -> None:
    """Kill whoever else is in the group of processes that this one leads: what the user's work has started, and left.

    Nothing unless the session is this process's own too: a shell's job has others in it (`taskdemo worker | tee log`).
    """
    if os.getsid(0) == os.getpid():
        from multiprocessing import resource_tracker

        import psutil

        # The tracker removes the semaphores that others leave, and ends with the last of them.
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
        # What the other threads make of the end of their children, nobody needs to hear.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        for cleanup in cleanups:
            cleanup()
        for child in multiprocessing.active_children():
            child.kill()
        end_group()
        for cleanup in cleanups:  # another thread may have made something meanwhile
            cleanup()
    finally:
        os._exit(code)
