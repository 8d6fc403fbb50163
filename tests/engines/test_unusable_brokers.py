"""Brokers that an engine cannot use: too old, or with something of another tool's by the name of the queue."""

import sqlite3
from pathlib import Path

import pytest
import redis

from engines.stage import Stage, left_with, own_database
from parts import REAL_BROKERS, must_listen, needs_library, needs_private
from servers import Start, refusal
from taskdemo_server.contract.modes import MODE_BY_NAME, MODES

REDIS = [mode.name for mode in MODES if mode.engine and mode.engine.private_broker == "valkey" and not mode.missing]


def why_not(start_server: Start, names: list[str], broker: str, queue: str = "q") -> dict[str, str | None]:
    """Start a server of each engine; return the sentence with which it is refused, if it is."""
    found: dict[str, str | None] = dict.fromkeys(names)
    for name in names:
        try:
            start_server(mode=name, broker=broker, queue=queue)
        except pytest.fail.Exception as failed:
            found[name] = str(failed).partition("the server ended with 2: taskdemo: ")[2].strip()
    return found


@needs_private("valkey")
@pytest.mark.parametrize(("command", "needed_by"), [("HELLO", REDIS), ("XAUTOCLAIM", ["taskiq"])])
def test_a_redis_that_is_too_old_is_told_by_the_command_that_it_lacks_and_no_password_is_shown(
    command: str, needed_by: list[str], stage: Stage, start_server: Start
) -> None:
    stage.valkey(0, "--rename-command", command, "")
    broker = stage.broker.replace("//", "//:hush@") if command == "HELLO" else stage.broker
    for name, why in why_not(start_server, REDIS, broker).items():
        assert (why is not None) == (name in needed_by)
        if why is not None:
            said = f"is too old for {name}: Redis 6.2 has a command {command}; type --broker redis://"
            assert said in why
            assert "hush" not in why


def test_a_password_with_characters_that_a_url_cannot_hold_is_told_and_no_part_of_it_is_shown(
    start_server: Start,
) -> None:
    names = {mode.name: mode.engine.brokers for mode in MODES if mode.engine and not mode.missing}
    for name, brokers in names.items():
        scheme, url, _ = brokers.partition("://")
        if url:
            why = why_not(start_server, [name], f"{scheme}://user:12#se/cr%et@127.0.0.1:1/0")[name]
            assert why is not None
            assert f"{scheme}://user:***@127.0.0.1:1/0" in why
            assert "(perhaps because of its password: in a URL, / is %2F, " in why
            assert not any(part in why for part in ("se/", "'12'", ":12", "cr%"))


@pytest.mark.parametrize("name", [name for name in REDIS if name != "rq"])  # which keeps results with its jobs
def test_a_backend_that_an_engine_cannot_read_is_named_beside_the_broker(name: str, start_server: Start) -> None:
    refused = refusal(start_server, mode=name, broker="redis://127.0.0.1:1/0", backend="redis://:se/cret@127.0.0.1/1")
    assert f"'redis://127.0.0.1:1/0' with --backend redis://:***@127.0.0.1/1 is not a broker for {name} (" in refused
    assert "in a URL, / is %2F" in refused


@needs_private("valkey")
@pytest.mark.parametrize("name", [name for name in REDIS if name != "rq"])
def test_a_backend_that_does_not_answer_is_told_beside_the_broker(name: str, stage: Stage, start_server: Start) -> None:
    stage.valkey()
    refused = refusal(start_server, mode=name, broker=stage.broker, backend="redis://:hush@127.0.0.1:1/0")
    assert f"The broker {stage.broker} with --backend redis://:***@127.0.0.1:1/0 cannot be used (" in refused


@needs_private("valkey")
def test_a_key_of_another_type_is_another_tools_queue(stage: Stage, start_server: Start) -> None:
    stage.valkey()
    with redis.Redis.from_url(stage.broker) as client:
        client.mset(dict.fromkeys(["q:q", "dramatiq:q:q", "taskiq:q", "rq:queue:q"], "a string"))
    for why in why_not(start_server, REDIS, stage.broker).values():
        assert why is not None
        assert why.startswith(f"Another tool has this queue of {stage.broker} (")
        assert "WRONGTYPE Operation against a key holding the wrong kind of value" in why
        assert why.endswith("); type --queue NAME, to serve and worker")
    assert set(why_not(start_server, REDIS, stage.broker, "another").values()) == {None}


@pytest.mark.broker
def test_a_queue_of_rabbitmq_with_other_arguments_is_another_tools_and_none_is_another_engines(
    stage: Stage, start_server: Start
) -> None:
    must_listen("rabbitmq")
    import pika

    names = [mode.name for mode in MODES if mode.engine and "amqp" in mode.engine.brokers and not mode.missing]
    broker = REAL_BROKERS["rabbitmq"]
    with pika.BlockingConnection(pika.URLParameters(broker[:-2])) as connection:
        channel = connection.channel()
        queues = [f"{prefix}{stage.queue}" for prefix in ("", "dramatiq.")]
        for queue in queues:
            channel.queue_declare(queue, exclusive=False, auto_delete=True, arguments={"x-max-length": 5})
        found = why_not(start_server, names, broker, stage.queue)
        for queue in queues:
            channel.queue_delete(queue)
    try:
        assert set(why_not(start_server, names, broker, stage.queue).values()) == {None}  # nor is one another's
    finally:
        left_with(broker, [*queues, *(f"{queues[1]}.{kind}" for kind in ("DQ", "XQ"))])
    for why in found.values():
        assert why is not None
        assert why.startswith("Another tool has this queue of amqp://guest:***@127.0.0.1:5672// (")
        assert why.endswith("; type --queue NAME, to serve and worker")


@needs_library(MODE_BY_NAME["huey"])
@pytest.mark.parametrize("what", ["no database", "a table of another tool"])
def test_a_file_that_is_something_else_is_no_broker(what: str, tmp_path: Path, start_server: Start) -> None:
    file = tmp_path / "tasks.db"
    if what == "no database":
        file.write_text("some text " * 100)
        reason = "file is not a database"
    else:
        with sqlite3.connect(file) as connection:
            connection.execute("CREATE TABLE task (id INTEGER PRIMARY KEY, title TEXT)")
        connection.close()
        reason = "no such column: queue"
    said = f"'{file}' is not a broker for huey ({reason}); type --broker FILE.db"
    assert why_not(start_server, ["huey"], str(file)) == {"huey": said}


@pytest.mark.broker
@needs_library(MODE_BY_NAME["procrastinate"])
def test_tables_of_another_version_are_told(start_server: Start) -> None:
    must_listen("postgres")
    with own_database() as (url, connection):
        assert why_not(start_server, ["procrastinate"], url) == {"procrastinate": None}
        connection.execute("ALTER FUNCTION procrastinate_fetch_job_v2 RENAME TO procrastinate_fetch_job_v1")
        said = "its tables are another version's: see procrastinate schema --migrations-path"
        assert said in str(why_not(start_server, ["procrastinate"], url))
