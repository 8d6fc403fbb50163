"""`serve`: a server that lives as long as its command."""

import contextlib
import math
import queue
import signal
import time
from pathlib import Path
from typing import Final

from taskdemo_cli.errors import FAILED, UserError
from taskdemo_cli.loadgen.capacity import raise_file_limit
from taskdemo_cli.processes import servers, tempdirs
from taskdemo_cli.processes.signals import STOP_SIGNALS, Stopped, listen
from taskdemo_server.contract.child_process import Child
from taskdemo_server.contract.settings import Settings

_INSIST_AFTER_S: Final = 3.0
"""A terminal that was closed tells once and never again: then the server is told to abandon its tasks."""
_KILL_AFTER_S: Final = 3.0
"""A server that was told twice and is still there after this long is killed."""
_POLL_S: Final = 0.05


def serve(settings: Settings) -> int:
    """Serve until a signal, which the server itself answers, and return its exit code.

    The server has a session of its own, so a signal reaches it once, and from here.
    """
    heard: queue.SimpleQueue[int] = queue.SimpleQueue()

    listen(lambda number, _frame: heard.put(number))
    raise_file_limit()  # the server inherits it, and would hang up on whom it has no descriptor for
    with tempdirs.temporary_folder() as folder:
        server = servers.launch(settings, folder, console=True)
        try:
            code = _attend(server.child, Path(str(server.settings.announce)), heard)
        finally:
            server.child.end()
    if code < 0 and -code in STOP_SIGNALS:
        return 128 - code  # it was told a second time when it had nothing left to finish, and no ear for it
    if code < 0:
        raise UserError(f"the server was killed by {signal.Signals(-code).name}", FAILED)
    return code


def _attend(server: Child, announced: Path, heard: "queue.SimpleQueue[int]") -> int:
    """Pass on the signals that are heard until the server has ended, and return its exit code.

    Raises Stopped where the server does not listen (yet, or any more) and is to be ended from outside.
    """
    first, insist_at, kill_at = 0, math.inf, math.inf
    while (code := server.poll()) is None:
        number = 0
        with contextlib.suppress(queue.Empty):
            # With a timeout, because a system may hand a signal to another thread, which does not end the wait.
            number = heard.get(timeout=_POLL_S)
        now = time.monotonic()
        if now >= kill_at:
            raise Stopped(first)
        if now >= insist_at:
            number = first
        if number and not first:
            first = number
            if not announced.exists():
                raise Stopped(first)
            server.signal(number)
            if number == signal.SIGHUP:
                insist_at = now + _INSIST_AFTER_S
        elif number and kill_at == math.inf:
            insist_at, kill_at = math.inf, now + _KILL_AFTER_S
            server.signal(number)
    return code
