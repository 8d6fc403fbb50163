"""What is RQ's own."""

import os
import signal
from collections.abc import Callable

import pytest

from conftest import RunningServer, until
from taskdemo_server.engines import valkey

pytest.importorskip("rq", reason="the extra `rq` is not installed")
pytestmark = pytest.mark.skipif(valkey.binary() is None, reason="there is no Valkey for this platform")


def test_a_job_whose_process_was_killed_has_failed_and_says_so(start_server: Callable[..., RunningServer]) -> None:
    server = start_server(mode="rq", duration=30)
    server.get()
    until(server.running)
    started = next(event for event in server.events() if event.state == "started")
    os.kill(started.pid, signal.SIGKILL)
    [failed] = server.ended(1, 10)
    assert (failed.state, failed.error) == ("failed", "The work-horse, its process, was killed.")
    assert failed.pid != started.pid


def test_every_job_has_a_process_of_its_own(start_server: Callable[..., RunningServer]) -> None:
    server = start_server(mode="rq", duration=0)
    for _ in range(3):
        server.get()
    assert len({event.pid for event in server.ended(3, 20)}) == 3
