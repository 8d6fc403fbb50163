"""What is RQ's own."""

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import RunningServer, until
from engines.stage import staging
from taskdemo_server.contract.modes import MODE_BY_NAME
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


def test_what_a_job_reports_arrives_although_its_process_ends_at_once(
    start_server: Callable[..., RunningServer], tmp_path: Path
) -> None:
    with staging(tmp_path / "stage") as stage:
        stage.valkey()
        server = start_server(mode="rq", duration=0, broker=stage.broker, queue=stage.queue)
        stage.ready(stage.worker(MODE_BY_NAME["rq"], duration=0, server=server.url))
        for _ in range(30):
            server.get()
        ends = server.ended(30, 30)
        assert {event.host for event in ends} == {socket.gethostname()}
        assert server.complained == ""
