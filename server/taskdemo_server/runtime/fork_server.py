"""`python -m taskdemo_server.runtime.fork_server`: many servers for the price of one import.

Each line of standard input, a Settings as JSON, starts a server in a process forked from this one, which has imported
everything and has no thread and no event loop. When a server ends, its exit code is written to a file next to its
announcement, with the suffix `.ended`. When standard input ends, all servers end. This is not multiprocessing's
forkserver, whose processes outlive a starter that is killed.

The top of this file imports little, because every pool process of a server imports it again when it starts.
"""

import contextlib
import gc
import os
import signal
import sys
import time
from pathlib import Path
from typing import Final

from taskdemo_server.contract.settings import Settings
from taskdemo_server.runtime import orphans

if __name__ == "__mp_main__":  # A pool process of a page; it must end with its server, even on a SIGKILL.
    orphans.end_with_parent()

assert sys.platform != "win32"  # noqa: S101  for the type checker: this runs only where processes can fork

_END_TIMEOUT_S: Final = 2.0
"""Seconds that the servers have to end once their lifelines are closed; then they are killed."""
_LOOK_EVERY_S: Final = 0.02


def main() -> int:
    """Fork servers until standard input ends, and return 0; in each fork, serve and return the server's exit code."""
    gc.disable()  # imports leave no garbage, and looking for it takes an eighth of their time
    from taskdemo_server.runtime.supervisor import serve  # imported once, for all forks

    gc.freeze()  # memory that the collector does not touch stays shared between the processes
    gc.enable()
    lifeline, held = os.pipe()
    children: dict[int, Path] = {}
    signal.signal(signal.SIGCHLD, lambda *_: _reap(children))
    # Unbuffered, or a server would inherit the line of the next one as its own standard input.
    for line in open(0, "rb", buffering=0):  # noqa: SIM115  open until this process ends
        settings = Settings.from_json(line.decode())
        pid = os.fork()
        if pid == 0:
            os.close(held)
            _become(settings, lifeline)
            return serve(settings)
        children[pid] = Path(str(settings.announce) + ".ended")
        _reap(children)  # it may have ended before we knew it
    os.close(held)
    deadline = time.monotonic() + _END_TIMEOUT_S
    while children and time.monotonic() < deadline:
        time.sleep(_LOOK_EVERY_S)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return 0


def _become(settings: Settings, lifeline: int) -> None:
    """Give a forked process its own session, signals and standard streams, as a newly started one has them."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()  # processes that its work leaves behind are found by its group
    os.dup2(lifeline, 0)
    os.close(lifeline)
    errors = os.open(Path(settings.journal).parent / "stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(errors, 2)
    os.close(errors)


def _reap(children: dict[int, Path]) -> None:
    for pid in list(children):
        with contextlib.suppress(ChildProcessError):  # a signal that came meanwhile has done it
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                children.pop(pid).write_text(str(os.waitstatus_to_exitcode(status)))


if __name__ == "__main__":
    sys.exit(main())
