"""Celery's decisive limits against the real brokers: what differs there, and that nothing of ours stays with them."""

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from limits_runs import run, verdicts
from taskdemo_cli.documents.types import Cell
from taskdemo_cli.limits import trial
from taskdemo_cli.limits.backing import new_queue

pytest.importorskip("celery", reason="the extra `celery` is not installed")
pytest.importorskip("redis", reason="the extra `celery` is not installed")

pytestmark = pytest.mark.broker

BROKERS = {
    "redis": (6379, "redis://127.0.0.1:6379/12"),
    "rabbitmq": (5672, "amqp://guest:guest@127.0.0.1:5672//"),
}
LIMITS = ("survive_worker_kill", "retry", "track")


@dataclass
class Found:
    broker: str
    verdicts: dict[str, str]
    cells: dict[str, Cell]
    queues: list[str]
    """The queues that the experiments had, each one of its own."""


@pytest.fixture(scope="module", params=BROKERS)
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Found]:
    port, url = BROKERS[request.param]
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        if os.environ.get("TASKDEMO_REQUIRE_PARTS") == "1":
            pytest.fail(f"no {request.param} at 127.0.0.1:{port}, and TASKDEMO_REQUIRE_PARTS=1 says that it is there")
        pytest.skip(f"no {request.param} at 127.0.0.1:{port}")
    queues: list[str] = []

    def noted() -> str:
        queues.append(new_queue())
        return queues[-1]

    try:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(trial, "new_queue", noted)
            document = run(tmp_path_factory.mktemp("limits"), ["celery"], LIMITS, broker=url)
        yield Found(request.param, verdicts(document)["celery"], document.modes["celery"], queues)
    finally:
        left_with(request.param, queues)


def left_with(broker: str, queues: list[str]) -> list[str]:
    """Return what is still there by these queues' names, and remove it; nothing else is touched."""
    _, url = BROKERS[broker]
    if broker == "redis":
        import redis

        with redis.Redis.from_url(url) as client:
            keys = [key for queue in queues for key in client.scan_iter(match=f"*{queue}*")]
            if keys:
                client.delete(*keys)
            return [str(key) for key in keys]
    import amqp.exceptions  # type: ignore[import-untyped]  # comes without types
    from celery import Celery

    there = []
    for queue in queues:
        with Celery(broker=url).connection_for_write() as connection:
            channel = connection.default_channel
            try:
                channel.queue_declare(queue, passive=True)
            except amqp.exceptions.NotFound:
                continue
            there.append(queue)
            channel.queue_delete(queue)
    return there


def test_no_task_is_lost_when_a_process_or_a_whole_worker_dies(found: Found) -> None:
    assert found.verdicts["survive_worker_kill"] == "yes"
    measured = found.cells["survive_worker_kill"].measured
    assert measured["lost"] == 0
    assert set(measured["killed"]) == {"process", "worker"}
    if found.broker == "redis":
        # Redis does not know that a worker is gone: what it held comes again after the visibility timeout of 6 s.
        assert measured["killed"]["worker"]["took_s"] > 4


def test_failed_work_is_run_again(found: Found) -> None:
    assert found.verdicts["retry"] == "yes"
    assert found.cells["retry"].measured["attempts"] == 3


def test_a_task_can_be_tracked_where_there_is_a_result_backend(found: Found) -> None:
    if found.broker == "redis":
        assert found.verdicts["track"] == "yes"
    else:
        assert found.verdicts["track"] == "no"
        assert "No result backend is configured" in found.cells["track"].text


def test_nothing_of_the_experiments_stays_with_the_broker(found: Found) -> None:
    assert len(found.queues) == len(set(found.queues)) == len(LIMITS) + 1
    assert left_with(found.broker, found.queues) == []
