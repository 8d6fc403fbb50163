"""A guard runs a command, and ends it and all its descendants when standard input ends: its starter is gone then.

It prints one line on standard output when the command is ready; the command's own output goes to standard error.
It can run a broker or a worker of any library; none of them notices by itself that its starter is gone.
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import IO, Final

from taskdemo_server.runtime.orphans import end_with_starter, lives
from taskdemo_server.runtime.signals import SIGNALS

_MOST_LINE: Final = 1 << 16
_LAST_WORDS_TIMEOUT_S: Final = 1.0
_END_TIMEOUT_S: Final = 0.2


def guard(
    command: list[str],
    ready: str,
    say: str = "ready",
    folder: str | None = None,
    *,
    times: int = 1,
    user: str | None = None,
    first: int | None = None,
) -> int:
    """Run `command` until it or standard input ends; return its exit code.

    Once the command has printed `times` lines that contain `ready`, print `say`. When standard input ends, send the
    command the signal `first`, if any, wait up to a second, kill it, and remove `folder`. The command runs as `user`,
    by default as the user of this process.
    """
    # The server alone reacts to the terminal's signals; it closes our standard input when it is done.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=_as_child_of(os.getpid()),
        user=user,
    )
    if sys.platform == "linux":  # Orphaned descendants of the command become children of this process.
        ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER
    ending = threading.Event()

    def end_command() -> None:
        ending.set()
        if first is not None:
            process.send_signal(first)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_LAST_WORDS_TIMEOUT_S)
        _kill_descendants()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)

    end_with_starter(end_command)
    assert process.stdout is not None  # noqa: S101  it is a pipe
    output = threading.Thread(target=_pass_on, args=(process.stdout, ready.encode(), times, say), daemon=True)
    output.start()
    code = process.wait()
    if ending.is_set():
        threading.Event().wait()  # the thread that ends the command ends this process too
    _kill_descendants()  # A main process that was killed may leave workers that would go on.
    output.join(_LAST_WORDS_TIMEOUT_S)
    return code


def _pass_on(output: IO[bytes], ready: bytes, times: int, say: str) -> None:
    while line := output.readline(_MOST_LINE):
        with contextlib.suppress(OSError):  # A full disk; read on, or the command blocks at its next line.
            os.write(2, line)
        if times and ready in line:
            times -= 1
            if not times:
                print(say, flush=True)


def _kill_descendants() -> None:
    """Kill descendants until none is left, including those that lead a group or a session of their own."""
    import psutil

    while True:
        left = [one for one in psutil.Process().children(recursive=True) if lives(one.pid)]
        if not left:
            return
        for one in left:
            with contextlib.suppress(psutil.Error):
                one.kill()
        psutil.wait_procs(left, _END_TIMEOUT_S)


def _as_child_of(parent: int) -> Callable[[], None]:
    """Return what a child runs first: reset signals and, on Linux, arrange to end with `parent`, even on a SIGKILL."""
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def begin() -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        if prctl is not None:
            prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
            if os.getppid() != parent:
                os._exit(1)

    return begin
