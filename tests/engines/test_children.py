"""The private broker and worker as children of a server."""

from pathlib import Path

import pytest

from taskdemo_server.engines import children


def test_a_worker_that_never_gets_ready_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hangs.py").write_text("import sys, time\nprint('trying again', file=sys.stderr)\ntime.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(children, "_START_TIMEOUT_S", 1.0)
    child = children.Child("hangs", "{}", tmp_path, "worker")
    assert not child.is_ready()
    child.end()
    assert child.last_line == "trying again"
    assert child._process.stdout is not None
    child._process.stdout.close()
