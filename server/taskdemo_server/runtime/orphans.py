"""How the server and everything it started end together, however they end. Standard library, and psutil at the end."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import wait
from typing import Final, NoReturn

if sys.platform == "win32":
    import _winapi
    import msvcrt

_LOOK_EVERY_S: Final = 0.05

cleanups: Final[list[Callable[[], None]]] = []
"""Called before the process ends abruptly: for children that are not multiprocessing's. Quick, and never raising."""


def hold(file: int = 0) -> None:
    """End this process and its children as soon as the pipe `file` reaches its end: the starter is gone then.

    Anything that comes through it lets go: the starter has seen to it that this process can be found and ended.
    """

    def watch() -> None:
        with contextlib.suppress(OSError):
            if sys.platform == "win32":
                # While a read waits there, every process that is started here waits too: it inherits the pipe, and asks
                # of what kind it is.
                while not _winapi.PeekNamedPipe(msvcrt.get_osfhandle(file))[0]:
                    time.sleep(_LOOK_EVERY_S)
            if os.read(file, 1):
                return
        end(1)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def watch_parent() -> None:
    """In a multiprocessing child: end as soon as the parent is gone, even by SIGKILL."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        end(1)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def end_group() -> None:
    """Kill whoever else is in the group of processes that this one leads: what the user's work has started, and left.

    Nothing unless the session is this process's own too: a shell's job has others in it (`taskdemo worker | tee log`).
    And nothing on Windows, which has no such groups.
    """
    if sys.platform != "win32" and os.getsid(0) == os.getpid():
        from multiprocessing import resource_tracker

        import psutil

        # The tracker removes the semaphores that others leave, and ends with the last of them.
        spared = {os.getpid(), getattr(resource_tracker._resource_tracker, "_pid", None)}  # noqa: SLF001
        for pid in psutil.pids():
            with contextlib.suppress(OSError):
                if pid not in spared and os.getpgid(pid) == os.getpid():
                    os.kill(pid, signal.SIGKILL)


def end(code: int) -> NoReturn:
    """End this process at once with `code`, and its children with it. Nothing is finished or flushed."""
    try:
        for cleanup in cleanups:
            cleanup()
        for child in multiprocessing.active_children():
            child.kill()
        end_group()
    finally:
        os._exit(code)
