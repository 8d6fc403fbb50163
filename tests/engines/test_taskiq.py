"""What is Taskiq's own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import RunningServer, until
from engines.stage import Stage, staging
from taskdemo_server.contract.modes import MODE_BY_NAME
from taskdemo_server.engines import valkey

pytest.importorskip("taskiq_redis", reason="the extra `taskiq` is not installed")
pytestmark = pytest.mark.skipif(valkey.binary() is None, reason="there is no Valkey for this platform")
MODE = MODE_BY_NAME["taskiq"]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with staging(tmp_path / "stage") as stage:
        stage.valkey()
        yield stage


def test_what_was_sent_before_any_worker_came_is_done(start_server: Callable[..., RunningServer], stage: Stage) -> None:
    server = start_server(mode="taskiq", duration=0, broker=stage.broker, queue=stage.queue)
    assert {server.get().status_code for _ in range(3)} == {200}
    stage.ready(stage.worker(MODE, duration=0, server=server.url))
    until(lambda: server.states().count("finished") == 3, 20)


def test_a_dead_workers_task_is_done_once_another_is_sent(
    start_server: Callable[..., RunningServer], stage: Stage
) -> None:
    server = start_server(mode="taskiq", duration=0.2, broker=stage.broker, queue=stage.queue)
    worker = stage.worker(MODE, duration=0.2, server=server.url)
    stage.ready(worker)
    server.get()
    until(lambda: "started" in server.states())
    worker.end()
    stage.ready(stage.worker(MODE, duration=0.2, server=server.url))

    def done() -> bool:
        server.get()
        first = next(event.id for event in server.events())
        return "finished" in server.states(first)

    until(done, 30)
