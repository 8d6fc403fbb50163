"""What is Huey's own."""

from pathlib import Path

import pytest

from taskdemo_server.contract.modes import MODE_BY_NAME

pytest.importorskip("huey", reason="the extra `huey` is not installed")


def test_a_path_is_what_it_says_wherever_the_worker_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    engine = MODE_BY_NAME["huey"].engine
    assert engine is not None
    assert engine.url("tasks.db") == engine.url("sqlite:///tasks.db") == str(tmp_path / "tasks.db")
    assert engine.url("redis://x") == "redis://x"
