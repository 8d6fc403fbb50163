"""What is Dramatiq's own."""

import os
import signal
from collections.abc import Callable

import pytest

from conftest import RunningServer, until
from taskdemo_server.engines import valkey

pytest.importorskip("dramatiq", reason="the extra `dramatiq` is not installed")
pytestmark = pytest.mark.skipif(valkey.binary() is None, reason="there is no Valkey for this platform")


def test_a_worker_that_ends_because_one_process_was_killed_is_replaced(
    start_server: Callable[..., RunningServer],
) -> None:
    server = start_server(mode="dramatiq", duration=0.5, processes=2)
    server.get()
    until(server.running)
    os.kill(next(event.pid for event in server.events() if event.state == "started"), signal.SIGKILL)
    server.ended(1, 30)
    assert "The private dramatiq worker died (" in server.complained
