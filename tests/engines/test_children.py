"""The private broker and worker as children of a server, and what becomes of tasks that they do not do."""

import json
import math
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from parts import without
from taskdemo_server.contract import child_process
from taskdemo_server.contract.child_process import Child, last_line, python
from taskdemo_server.contract.events import Place, TaskState
from taskdemo_server.contract.modes import MODE_BY_NAME
from taskdemo_server.contract.settings import BROKER_FOLDER, Settings
from taskdemo_server.engines import base, children, deaths
from taskdemo_server.journal.file import Journal
from taskdemo_server.journal.index import Index
from waiting import until


def _begin(folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[children.Children, list[str]]:
    """Start the worker of a server with a private file for a broker; return that, and what says that it failed."""
    monkeypatch.setattr(children, "why_not", lambda *_: None)
    engine = MODE_BY_NAME["huey"].engine
    assert engine is not None
    broker, journal = f"sqlite:///{folder}/tasks.db", str(folder / "journal.jsonl")
    settings = Settings(mode="huey", journal=journal, processes=1, broker=broker, private_broker=str(folder))
    failed: list[str] = []
    ended = iter([0])  # and one before the second death
    tell = lambda news: failed.extend({news} - {"ready"})  # noqa: E731
    return children.Children(settings, engine, lambda: next(ended, 1), tell), failed


@pytest.mark.parametrize("name", ["valkey", "postgres"])
def test_a_temporary_folder_too_deep_for_a_socket_will_do(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = base.PRIVATE[name]
    if not kind.is_there():
        without(f"the private {name}")
    deep = tmp_path / ("x" * 100)
    deep.mkdir(mode=0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    monkeypatch.setenv("TMPDIR", str(deep))
    folder = Path(kind.make_folder(deep))
    log = folder / "broker.log"
    broker = Child(python(str(kind.module)), told=str(folder), errors=log, tidy=True, says_ready=True)
    try:
        assert broker.await_ready_line(60), last_line(log)
        assert (folder / "sock").is_socket()
        assert folder.name.startswith(BROKER_FOLDER)
    finally:
        broker.end()
    assert not folder.exists()


def test_a_worker_that_never_gets_ready_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "hangs.py").write_text(
        "import sys, time\nprint('taskdemo: no work\\ntrying again', file=sys.stderr)\ntime.sleep(600)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(children, "_WORKER", "hangs")
    log, await_ready_line = tmp_path / "worker.log", Child.await_ready_line

    def await_once_it_has_spoken(child: Child, timeout: float) -> str:
        until(log.read_text)
        return await_ready_line(child, timeout)

    monkeypatch.setattr(Child, "await_ready_line", await_once_it_has_spoken)
    monkeypatch.setattr(children, "_START_TIMEOUT_S", 0.1)
    monkeypatch.setattr(child_process, "END_TIMEOUT_S", 0.1)
    private, failed = _begin(tmp_path, monkeypatch)
    until(lambda: failed)
    assert private._children["worker"].poll() == -signal.SIGKILL
    assert capfd.readouterr().err == "The private huey worker was not ready within 0.1 s: no work\n"


def test_a_worker_that_replaces_another_finds_the_same_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("huey")
    worker, failed = _begin(tmp_path, monkeypatch)
    try:
        until(lambda: worker.worker_since < math.inf)
        first, found = worker.worker_since, (tmp_path / "tasks.db").stat().st_ino
        worker.replace_worker()
        until(lambda: first < worker.worker_since < math.inf)
        assert (tmp_path / "tasks.db").stat().st_ino == found
    finally:
        worker.end()
    assert not failed


def test_a_worker_that_dies_again_and_again_while_no_task_ends_ends_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class Dead:
        def __init__(self, *_: Any, errors: Path, **__: Any) -> None:
            errors.write_text("no memory\n")

        def await_ready_line(self, _: float) -> str:
            return next(ready, "")  # what is replaced may die before it is

        def why_not_ready(self, *_: Any) -> str:
            return "did not start"

        def wait(self) -> None: ...

        def end(self) -> None: ...

    ready = iter(["ready", "ready"])
    monkeypatch.setattr(children, "Child", Dead)
    monkeypatch.setattr(children, "_AGAIN_AFTER_S", 0.0)
    _, failed = _begin(tmp_path, monkeypatch)
    until(lambda: failed)
    *again, last = capfd.readouterr().err.splitlines()
    assert len(again) == children.MOST_DEATHS + 1
    assert set(again) == {"The private huey worker died (no memory); another takes its place."}
    assert last == "The private huey worker died (no memory), 4 times without a finished task: the server ends."


class Worker:
    """A worker that counts how often it was replaced, and asked since when it is there."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.asked = self.replaced = 0

    @property
    def worker_since(self) -> float:
        self.asked += 1
        return self.since

    def replace_worker(self) -> None:
        self.replaced += 1


@pytest.fixture
def waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SimpleNamespace]:
    """Follow a journal with one task that waits, beside a worker that is there or is not yet."""
    monkeypatch.setattr(deaths, "_EVERY_S", 0.01)
    monkeypatch.setattr(deaths, "_HUNG_S", 0.1)
    monkeypatch.setattr(deaths, "_GRACE_S", 0.1)
    journal = Journal(str(tmp_path / "journal"))

    def note(state: TaskState, place: Place | None = None) -> None:
        journal.write((place or Place.here("huey")).event("a", state).to_line())

    def follow(since: float) -> SimpleNamespace:
        worker = Worker(since)
        engine: Any = SimpleNamespace(REDELIVERED_AFTER_S=None, cancel=lambda _: False)
        note("accepted")
        index = Index(journal)
        deaths.follow_deaths(engine, index, "huey", 1.0, worker)  # type: ignore[arg-type]  # as far as it is needed
        states = lambda: [json.loads(line)["state"] for line in (tmp_path / "journal").read_text().splitlines()]  # noqa: E731
        return SimpleNamespace(note=note, states=states, worker=worker)

    return follow


def test_a_worker_that_takes_no_task_is_replaced_and_what_the_next_does_not_take_is_lost(
    waiting: Callable[..., SimpleNamespace],
) -> None:
    seen = waiting(time.monotonic())
    until(lambda: seen.worker.replaced == 2)
    until(lambda: seen.states() == ["accepted", "lost"])


def test_a_worker_that_is_starting_or_at_work_is_not_replaced(waiting: Callable[..., SimpleNamespace]) -> None:
    seen = waiting(math.inf)
    time.sleep(0.3)
    seen.note("started")
    asked = seen.worker.asked
    until(lambda: seen.worker.asked > asked + 3)  # twice a look at most: the journal has been read since
    seen.worker.since = 0.0
    time.sleep(0.3)
    assert not seen.worker.replaced
    assert seen.states() == ["accepted", "started"]


def test_the_wait_for_another_begin_starts_when_somebody_is_there_who_can_begin_it(
    waiting: Callable[..., SimpleNamespace],
) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    seen = waiting(math.inf)
    seen.note("started", Place("huey", socket.gethostname(), ended.pid, "MainThread"))
    time.sleep(0.3)
    assert seen.states() == ["accepted", "started"]
    seen.worker.since = time.monotonic()
    until(lambda: seen.states() == ["accepted", "started", "lost"])
