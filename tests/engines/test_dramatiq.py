"""What is Dramatiq's own."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import RunningServer, until
from engines.stage import staging
from taskdemo_server.contract.modes import MODE_BY_NAME
from taskdemo_server.engines import valkey

pytest.importorskip("dramatiq", reason="the extra `dramatiq` is not installed")
pytestmark = pytest.mark.skipif(valkey.binary() is None, reason="there is no Valkey for this platform")


def test_a_process_that_dies_before_it_has_started_ends_its_worker_soon(tmp_path: Path) -> None:
    imported = tmp_path / "imported"
    (tmp_path / "dies.py").write_text(
        f"import os\ntry: open({str(imported)!r}, 'x')\nexcept FileExistsError: os._exit(1)\ndef work(message): ..."
    )
    with staging(tmp_path / "stage") as stage:
        stage.valkey()
        worker = stage.worker(MODE_BY_NAME["dramatiq"], work="dies:work", folder=str(tmp_path))
        until(imported.exists)
        assert worker.wait(15) == 1  # by default it takes 30 s


def test_a_worker_that_ends_because_one_process_was_killed_is_replaced(
    start_server: Callable[..., RunningServer],
) -> None:
    server = start_server(mode="dramatiq", duration=0.5, processes=2)
    server.get()
    until(server.running)
    os.kill(next(event.pid for event in server.events() if event.state == "started"), signal.SIGKILL)
    server.ended(1, 30)
    assert "The private dramatiq worker died (" in server.complained
