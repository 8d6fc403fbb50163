"""What is Huey's own."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import RunningServer, until
from taskdemo_server.contract.modes import MODE_BY_NAME

pytest.importorskip("huey", reason="the extra `huey` is not installed")


def test_there_is_no_broker_but_a_file_that_is_closed_to_others(start_server: Callable[..., RunningServer]) -> None:
    server = start_server(mode="huey", duration=0)
    server.get()
    server.ended(1, 20)
    file = Path(server.get("/health").json()["broker"].removeprefix("sqlite:///"))
    assert file.is_file()
    assert file.parent.stat().st_mode & 0o777 == 0o700
    assert not any("engines.valkey" in word for one in server.family() for word in one.cmdline())


def test_a_begun_task_is_lost_with_its_process_and_what_waits_is_done(
    start_server: Callable[..., RunningServer],
) -> None:
    server = start_server(mode="huey", duration=1, processes=1)
    for _ in range(2):
        server.get()
    until(server.running)
    begun = next(event for event in server.events() if event.state == "started")
    os.kill(begun.pid, signal.SIGKILL)
    ends = {event.id: event.state for event in server.ended(2, 60)}
    assert ends.pop(begun.id) == "lost"
    assert list(ends.values()) == ["finished"]


def test_a_path_is_what_it_says_wherever_the_worker_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    engine = MODE_BY_NAME["huey"].engine
    assert engine is not None
    assert engine.url("tasks.db") == engine.url("sqlite:///tasks.db") == str(tmp_path / "tasks.db")
    assert engine.url("redis://x") == "redis://x"
