"""What is RQ's own."""

import os
import signal
import socket
from collections.abc import Callable

import pytest

from conftest import RunningServer, until
from engines.stage import Stage
from taskdemo_server.contract.modes import MODE_BY_NAME
from taskdemo_server.engines import valkey

pytest.importorskip("rq", reason="the extra `rq` is not installed")
pytestmark = pytest.mark.skipif(valkey.binary() is None, reason="there is no Valkey for this platform")


def test_a_job_whose_process_was_killed_has_failed_and_says_so(start_server: Callable[..., RunningServer]) -> None:
    server = start_server(mode="rq", duration=30, processes=1)
    server.get()
    until(server.running)
    started = next(event for event in server.events() if event.state == "started")
    os.kill(started.pid, signal.SIGKILL)
    [failed] = server.ended(1)
    assert (failed.state, failed.error) == ("failed", "The work-horse, its process, was killed.")
    assert failed.pid != started.pid


def test_every_job_has_a_process_of_its_own_and_what_it_reports_arrives_although_that_ends_at_once(
    start_server: Callable[..., RunningServer], stage: Stage
) -> None:
    stage.valkey()
    server = start_server(mode="rq", duration=0, broker=stage.broker, queue=stage.queue)
    stage.ready(stage.worker(MODE_BY_NAME["rq"], duration=0, server=server.url))
    for _ in range(30):
        server.get()
    ends = server.ended(30)
    assert {event.host for event in ends} == {socket.gethostname()}
    assert len({event.pid for event in ends}) == 30
    assert server.complained == ""
