"""What is Dramatiq's own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import RunningServer, until
from engines.stage import Stage
from taskdemo_server.contract.modes import MODE_BY_NAME
from taskdemo_server.engines import valkey

pytest.importorskip("dramatiq", reason="the extra `dramatiq` is not installed")
Start = Callable[..., RunningServer]
pytestmark = pytest.mark.skipif(valkey.binary() is None, reason="there is no Valkey for this platform")


def test_a_process_that_dies_before_it_has_started_ends_its_worker_soon(tmp_path: Path, stage: Stage) -> None:
    imported = tmp_path / "imported"
    (tmp_path / "dies.py").write_text(
        f"import os\ntry: open({str(imported)!r}, 'x')\nexcept FileExistsError: os._exit(1)\ndef work(message): ..."
    )
    stage.valkey()
    worker = stage.worker(MODE_BY_NAME["dramatiq"], work="dies:work", by_hand=True, folder=str(tmp_path))
    until(imported.exists)
    assert worker.wait(28) == 1  # by default it takes 30 s


def test_work_that_keeps_the_interpreter_is_begun_once(tmp_path: Path, start_server: Start) -> None:
    (tmp_path / "keeps.py").write_text("import ctypes\ndef work(message): ctypes.PyDLL(None).sleep(7)")
    server = start_server(mode="dramatiq", work="keeps:work", folder=str(tmp_path), processes=2)
    server.get()
    server.ended(1)
    assert server.states() == ["accepted", "started", "finished"]
