"""What is Taskiq's own."""

from collections.abc import Callable

import pytest

from conftest import RunningServer, until
from engines.stage import Stage
from taskdemo_server.contract.modes import MODE_BY_NAME
from taskdemo_server.engines import valkey

pytest.importorskip("taskiq_redis", reason="the extra `taskiq` is not installed")
pytestmark = pytest.mark.skipif(valkey.binary() is None, reason="there is no Valkey for this platform")
MODE = MODE_BY_NAME["taskiq"]


def test_a_dead_workers_task_is_done_once_another_is_sent(
    start_server: Callable[..., RunningServer], stage: Stage
) -> None:
    stage.valkey()
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

    until(done)


def test_the_lock_under_which_a_worker_looks_for_others_tasks_is_held_for_one_transaction(
    start_server: Callable[..., RunningServer], stage: Stage
) -> None:
    """No worker can die while it holds it, so that the page need not set a time after which it is free."""
    from redis import Redis

    stage.valkey()
    server = start_server(mode="taskiq", duration=0, broker=stage.broker, queue=stage.queue)
    stage.ready(stage.worker(MODE, duration=0, server=server.url))
    with Redis.from_url(stage.broker) as client, client.monitor() as monitor:
        server.get()
        words: list[list[str]] = []
        while ["EXEC"] not in words:
            seen = monitor.next_command()
            if seen["client_type"] != "lua":
                words.append(seen["command"].split())
        assert not client.keys("autoclaim:*")
    begun, taken, *claimed, released, done = words[words.index(["MULTI"]) :]
    assert (begun, taken[0], released[0], done) == (["MULTI"], "SET", "EVALSHA", ["EXEC"])
    assert taken[1] == released[3].strip('"')
    assert [each[0] for each in claimed] == ["XAUTOCLAIM"]
