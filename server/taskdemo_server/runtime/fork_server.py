"""`python -m taskdemo_server.runtime.fork_server`: many servers for the price of one import.

Each line of standard input, a Settings as JSON, starts a server in a process forked from this one, which has imported
everything and has no thread and no event loop. When a server ends, its exit code is written to a file next to its
announcement, with the suffix `.ended`. When standard input ends, all servers end. This is not multiprocessing's
forkserver, whose processes outlive a starter that is killed.

The top of this file imports little, because every pool process of a server imports it again when it starts.
"""

import gc
import os
import select
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


def main() -> int:
    """Fork servers until standard input ends, and return 0; in each fork, serve and return the server's exit code."""
    gc.disable()  # imports leave no garbage, and looking for it takes an eighth of their time
    from taskdemo_server.runtime.supervisor import serve  # imported once, for all forks

    gc.freeze()  # memory that the collector does not touch stays shared between the processes
    gc.enable()
    lifeline, held = os.pipe()
    child_ended, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # without a handler, no wakeup byte is written
    children: dict[int, Path] = {}
    pending = b""
    while True:
        ready, _, _ = select.select([0, child_ended], [], [])
        if child_ended in ready:
            os.read(child_ended, 65536)
            _reap(children)
        if 0 not in ready:
            continue
        read = os.read(0, 65536)
        if not read:
            break
        *lines, pending = (pending + read).split(b"\n")
        for line in lines:
            settings = Settings.from_json(line.decode())
            pid = os.fork()
            if pid == 0:
                os.close(held)
                _become(settings, lifeline)
                return serve(settings)
            children[pid] = Path(str(settings.announce) + ".ended")
    os.close(held)
    _await_end(children, child_ended)
    return 0


def _become(settings: Settings, lifeline: int) -> None:
    """Give a forked process its own session, signals and standard streams, as a newly started one has them."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()  # processes that its work leaves behind are found by its group
    os.dup2(lifeline, 0)
    os.close(lifeline)
    errors = os.open(Path(settings.journal).parent / "stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(errors, 2)
    os.close(errors)


def _reap(children: dict[int, Path]) -> None:
    for pid in list(children):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            children.pop(pid).write_text(str(os.waitstatus_to_exitcode(status)))


def _await_end(children: dict[int, Path], child_ended: int) -> None:
    """Wait until the servers, whose lifelines are closed, have ended; kill those still alive after two seconds."""
    deadline = time.monotonic() + _END_TIMEOUT_S
    _reap(children)
    while children and (left := deadline - time.monotonic()) > 0:
        if select.select([child_ended], [], [], left)[0]:
            os.read(child_ended, 65536)
            _reap(children)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    sys.exit(main())
