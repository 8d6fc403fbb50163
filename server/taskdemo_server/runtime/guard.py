"""Runs a command, and ends it and all that it has started when standard input ends: whoever started this is gone then.

Says so on standard output, once, as soon as the command is ready; what the command prints goes to standard error.
A broker or a worker of any library can be run by it: none of them notices that its starter is gone.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Final

_MOST_LINE: Final = 1 << 16


def guard(command: list[str], ready: str, say: str = "ready", cleanup: Callable[[], None] = lambda: None) -> int:
    """Run `command` until it ends, or standard input does; return its exit code.

    As soon as the command prints `ready`, this prints `say`. `cleanup` is called when standard input ends.
    """
    # A signal from the terminal is for the server alone to judge; it closes our standard input when it is done.
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=_as_child_of(os.getpid()),
    )
    ending = threading.Event()
    lifeline = threading.Thread(target=_end_with_input, args=(process, ending, cleanup), daemon=True)
    lifeline.start()
    is_ready = False
    assert process.stdout is not None  # noqa: S101  it is a pipe
    while line := process.stdout.readline(_MOST_LINE):
        os.write(2, line)
        if not is_ready and ready.encode() in line:
            is_ready = True
            print(say, flush=True)
    code = process.wait()
    if ending.is_set():
        lifeline.join()  # it ends this process, too
    return code


def _end_with_input(process: "subprocess.Popen[bytes]", ending: threading.Event, cleanup: Callable[[], None]) -> None:
    while os.read(0, 4096):
        pass
    ending.set()
    process.kill()
    cleanup()
    if os.getpgrp() == os.getpid():  # All that is left of what it has started, and this process.
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _as_child_of(parent: int) -> Callable[[], None]:
    """Return what a child does first: hear signals again and, on Linux, end with `parent` even at a SIGKILL."""
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def begin() -> None:
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        if prctl is not None:
            prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
            if os.getppid() != parent:
                os._exit(1)

    return begin
