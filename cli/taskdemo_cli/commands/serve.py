"""`serve`: a server that lives as long as its command."""

import contextlib
import math
import queue
import signal
import time
from pathlib import Path
from typing import Final

from taskdemo_cli.errors import FAILED, UserError
from taskdemo_cli.loadgen.os_limits import raise_file_limit
from taskdemo_cli.processes import servers, tempdirs
from taskdemo_cli.processes.signals import STOP_SIGNALS, Stopped, listen
from taskdemo_server.contract.child_process import Child
from taskdemo_server.contract.settings import Settings

_INSIST_AFTER_S: Final = 3.0
"""A closed terminal sends SIGHUP only once: after this long the server gets it again, to abandon its tasks."""
_KILL_AFTER_S: Final = 3.0
"""A server that still runs this long after its second signal is killed."""
_POLL_S: Final = 0.05


def serve(settings: Settings) -> int:
    """Serve until a signal, which the server itself handles, and return its exit code.

    The server has a session of its own, so a signal reaches it only once, from here. Raises UserError if any other
    signal ended it.
    """
    heard: queue.SimpleQueue[int] = queue.SimpleQueue()

    listen(lambda number, _frame: heard.put(number))
    raise_file_limit()  # the server inherits it; without enough descriptors it drops connections
    with tempdirs.temporary_folder() as folder:
        server = servers.launch(settings, folder, console=True)
        try:
            code = _attend(server.child, Path(str(server.settings.announce)), heard)
        finally:
            server.child.end()
    if code < 0 and -code in STOP_SIGNALS:
        return 128 - code  # its second signal came when it had finished and no longer handled any
    if code < 0:
        raise UserError(f"the server was killed by {signal.Signals(-code).name}", FAILED)
    return code


def _attend(server: Child, announced: Path, heard: "queue.SimpleQueue[int]") -> int:
    """Forward signals until the server has ended, and return its exit code.

    Raises Stopped if the server does not handle signals (yet, or any more), so that the caller must end it.
    """
    first, insist_at, kill_at = 0, math.inf, math.inf
    while (code := server.poll()) is None:
        number = 0
        with contextlib.suppress(queue.Empty):
            # With a timeout, because the system may deliver a signal to another thread, which does not end the wait.
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
