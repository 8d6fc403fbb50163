"""Every engine over the machine's own broker of each kind that it takes: whose its tasks are, and what is known."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from engines.stage import Guarded, Stage, all_of, ask, left_with, own_database, staging
from parts import REAL_BROKERS, must_listen, needs_library
from servers import Start, own_work, refusal
from taskdemo_server.contract.modes import MODES, Mode
from waiting import gone, until

URLS = {**REAL_BROKERS, "file": "FILE.db"}
EVERY_PAIR = [
    pytest.param(
        mode,
        name,
        id=f"{mode.name} over {name}",
        marks=[
            needs_library(mode),
            *([] if name == "file" else [pytest.mark.broker]),
        ],
    )
    for mode in MODES
    if mode.engine is not None
    for name, url in URLS.items()
    if url.partition("://")[0] in mode.engine.brokers
]
PREFIX = {"dramatiq": "dramatiq."}
"""What an engine puts before its queue's name at a RabbitMQ, so that it is no other engine's."""
WORK = """
def work(message):
    if message == "bad":
        raise ValueError("no good")
"""


@pytest.fixture
def stage(name: str, tmp_path: Path) -> Iterator[Stage]:
    """A stage with the real broker of that name; over PostgreSQL in a database of its own."""
    with staging(tmp_path / "stage") as stage:
        stage.broker = URLS[name]
        if name == "file":
            stage.broker = str(stage.folder / "tasks.db")
        else:
            must_listen(name)
        if name == "postgres":
            stage.broker, _ = stage.stack.enter_context(own_database())
        yield stage


def litter(mode: Mode, name: str, stage: Stage) -> None:
    """Put tasks of another application into the queue, and what is no task at all where that ends no worker."""
    queue, one = stage.queue, f"others-{stage.queue}"
    names, ids = ("task", "task_name", "actor_name"), ("id", "task_id", "message_id")
    task = {**dict.fromkeys(names, "others"), **dict.fromkeys(ids, one)}
    more = {"queue_name": queue, "options": {}, "labels": {}, "message_timestamp": 0}
    body = json.dumps({**task, **more, "args": [], "kwargs": {}})
    if name == "rabbitmq":
        import pika

        with pika.BlockingConnection(pika.URLParameters(stage.broker.removesuffix("//"))) as connection:
            for text in ("no task", body):
                connection.channel().basic_publish("", f"{PREFIX.get(mode.name, '')}{queue}", text.encode())
    elif name == "postgres":
        import psycopg

        with psycopg.connect(stage.broker) as database:
            database.execute("INSERT INTO procrastinate_jobs (queue_name, task_name) VALUES (%s, 'others')", (queue,))
    elif name == "file":
        with sqlite3.connect(stage.broker) as file:
            file.execute("INSERT INTO task (queue, data, priority) VALUES (?, 'no task', 0)", (queue,))
        file.close()
    else:
        with redis.Redis.from_url(stage.broker) as client:
            if mode.name == "celery":  # what is no task ends its worker here
                delivery = {"delivery_info": {"exchange": "", "routing_key": queue}, "delivery_tag": "x"}
                about = {"headers": task, "properties": {**delivery, "body_encoding": "base64"}}
                about |= {"body": "W1tdLHt9LHt9XQ==", "content-type": "application/json", "content-encoding": "utf-8"}
                client.rpush(f"{queue}:{queue}", json.dumps(about))
            elif mode.name == "dramatiq":
                client.hset(f"dramatiq:{queue}:{queue}.msgs", mapping={"1": "no task", "2": body})
                client.rpush(f"dramatiq:{queue}:{queue}", "1", "2", "3")
            elif mode.name == "taskiq":
                client.xadd(f"taskiq:{queue}", {"data": "no task"})
                client.xadd(f"taskiq:{queue}", {"data": body})
                client.xadd(f"taskiq:{queue}", {"other": "fields"})
            else:
                client.hset(
                    f"rq:job:{queue}-1",
                    mapping={"data": "no task", "origin": queue, "created_at": "2026-01-01T00:00:00.0Z"},
                )
                client.rpush(f"rq:queue:{queue}", f"{queue}-1", f"{queue}-2")


def nobody_is_left(worker: Guarded) -> None:
    """Kill the main process of a worker that was started by hand, and see that what it had started ends by itself."""
    family, guard = all_of(worker.program), psutil.Process(worker.guard.pid)
    guard.suspend()  # who started it by hand ends nobody
    try:
        family[0].kill()
        until(lambda: gone(family))
    finally:
        guard.resume()


@pytest.mark.parametrize(("mode", "name"), EVERY_PAIR)
def test_a_queue_is_one_servers_alone_until_it_dies_which_learns_of_its_own_tasks_alone_and_leaves_nothing(
    mode: Mode, name: str, stage: Stage, start_server: Start
) -> None:
    work = own_work(stage.folder, WORK)
    given: dict[str, Any] = {"mode": mode.name, "broker": stage.broker, "queue": stage.queue, **work}
    given["step_log"] = str(stage.folder / "steps")  # so that a server can be told to remove what it has left
    # Tasks of a worker that reports to no server are known from what the engine itself keeps; RabbitMQ keeps nothing.
    server, other = start_server(**given), start_server(**given | {"queue": f"other-{stage.queue}"})
    worker = stage.worker(mode, **work, by_hand=True, server=server.url if name == "rabbitmq" else None)
    until(lambda: other.get().status_code == 200)  # a broker that is slow to answer is told as 503
    stage.ready(worker)
    until(lambda: server.get("/health").json()["worker"] is not False)  # although it has had no task yet
    assert other.get("/health").json()["worker"] is not True  # that worker is not its own
    litter(mode, name, stage)
    good, bad = (ask(server, message=text) for text in ("good", "bad"))
    refused = refusal(start_server, **given)
    assert refused.startswith(f"Another server of mode {mode.name} uses the queue {stage.queue} of ")
    assert "; fire at that one, stop it, or give --queue NAME" in refused
    try:
        ends = {event.id: event for event in server.ended(2)}
    except pytest.fail.Exception:
        pytest.fail(f"the server heard of {server.states()}; the worker said: {worker.printed}")
    assert (ends[good].state, ends[bad].state) == ("finished", "failed")
    assert "no good" in str(ends[bad].error) or "failure" in mode.gives_up
    until(lambda: worker.printed.count("Background Task") == 2)
    assert {event.host for event in ends.values()} == {"the result backend"} or name == "rabbitmq"
    assert other.states() == ["accepted"]
    nobody_is_left(worker)
    server.process.kill()
    server.wait()
    for one in (start_server(**given), other):
        assert one.client.delete("/limits").status_code == 200
    if name in {"redis", "rabbitmq"}:
        refs = [str(event.ref) for event in server.events() if event.ref]
        queues = [f"{prefix}{stage.queue}" for prefix in ("", "other-", *PREFIX.values(), "dramatiq.other-")]
        assert left_with(stage.broker, [*refs, *queues]) == []
    elif name == "postgres":
        import psycopg

        with psycopg.connect(stage.broker) as database:
            for table in ("procrastinate_jobs", "procrastinate_workers"):
                assert database.execute(f"SELECT * FROM {table}").fetchall() == []


RABBITS = [pair for pair in EVERY_PAIR if pair.values[1] == "rabbitmq"]


@pytest.mark.parametrize(("mode", "name"), RABBITS)
def test_a_virtual_host_that_there_is_not_is_named(mode: Mode, name: str, start_server: Start) -> None:
    must_listen(name)
    refused = refusal(start_server, mode=mode.name, broker=URLS[name].removesuffix("/") + "nowhere")
    assert "nowhere has no such virtual host" in refused
