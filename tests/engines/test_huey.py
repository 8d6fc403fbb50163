"""What is Huey's own."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import RunningServer, until
from taskdemo_server.contract.modes import MODE_BY_NAME

pytest.importorskip("huey", reason="the extra `huey` is not installed")


def test_there_is_no_broker_but_a_file_and_of_a_dead_process_what_it_had_begun_is_lost_and_what_waits_is_done(
    start_server: Callable[..., RunningServer],
) -> None:
    server = start_server(mode="huey", duration=1, processes=1)
    assert Path(server.get("/health").json()["broker"].removeprefix("sqlite:///")).is_file()
    assert not any("engines.valkey" in word for one in server.family() for word in one.cmdline())
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
