"""What is one engine's own; Celery has a file of its own."""

import os
import signal
import socket
from pathlib import Path
from typing import Any

import pytest
import redis

from engines.stage import Stage, ask, of
from parts import needs
from servers import Start, own_work
from taskdemo_server.contract.events import ENDED
from taskdemo_server.contract.modes import MODE_BY_NAME
from waiting import until

DRAMATIQ, TASKIQ, RQ, HUEY, PROCRASTINATE = (
    MODE_BY_NAME[name] for name in ("dramatiq", "taskiq", "rq", "huey", "procrastinate")
)
DIES = "import os\ntry: open({!r}, 'x')\nexcept FileExistsError: os._exit(1)\ndef work(message): ..."


@needs(DRAMATIQ)
def test_a_process_that_dies_before_it_has_started_ends_its_worker_soon(tmp_path: Path, stage: Stage) -> None:
    imported = tmp_path / "imported"
    stage.valkey()
    worker = stage.worker(DRAMATIQ, by_hand=True, **own_work(tmp_path, DIES.format(str(imported))))
    until(imported.exists)
    assert worker.wait(28) == 1  # by default it takes 30 s


@needs(DRAMATIQ)
def test_work_that_keeps_the_interpreter_is_begun_once(tmp_path: Path, start_server: Start) -> None:
    work = own_work(tmp_path, "import ctypes\ndef work(message): ctypes.PyDLL(None).sleep(7)")
    server = start_server(mode="dramatiq", processes=2, **work)
    server.get()
    server.ended(1)
    assert server.states() == ["accepted", "started", "finished"]


@needs(TASKIQ)
def test_a_dead_workers_task_is_done_once_another_is_sent(start_server: Start, stage: Stage) -> None:
    stage.valkey()
    server = start_server(mode="taskiq", duration=0.2, broker=stage.broker, queue=stage.queue)
    worker = stage.worker(TASKIQ, duration=0.2, server=server.url)
    stage.ready(worker)
    server.get()
    until(lambda: "started" in server.states())
    worker.end()
    stage.ready(stage.worker(TASKIQ, duration=0.2, server=server.url))

    def done() -> bool:
        server.get()
        first = next(event.id for event in server.events())
        return "finished" in server.states(first)

    until(done)


@needs(TASKIQ)
def test_the_lock_under_which_a_worker_looks_for_others_tasks_is_held_for_one_transaction(
    start_server: Start, stage: Stage
) -> None:
    """No worker can die while it holds it, so that the page need not set a time after which it is free."""
    stage.valkey()
    server = start_server(mode="taskiq", duration=0, broker=stage.broker, queue=stage.queue)
    stage.ready(stage.worker(TASKIQ, duration=0, server=server.url))
    with redis.Redis.from_url(stage.broker) as client, client.monitor() as monitor:
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


@needs(RQ)
def test_a_job_whose_process_was_killed_has_failed_and_says_so(start_server: Start) -> None:
    server = start_server(mode="rq", duration=30, processes=1)
    server.get()
    until(server.running)
    started = next(event for event in server.events() if event.state == "started")
    os.kill(started.pid, signal.SIGKILL)
    [failed] = server.ended(1)
    assert (failed.state, failed.error) == ("failed", "The work-horse, its process, was killed.")
    assert failed.pid != started.pid


@needs(RQ)
def test_what_the_work_reported_counts_although_its_process_failed_to_record_it_and_else_how_that_ended(
    start_server: Start, tmp_path: Path
) -> None:
    text = """
import os
def work(message):
    if message == "exits":
        os._exit(3)
    raise ValueError("\\udc80 is no UTF-8")
"""
    server = start_server(mode="rq", processes=1, **own_work(tmp_path, text))
    exits, raises = (ask(server, message=text) for text in ("exits", "raises"))
    until(lambda: sum(event.state in ENDED for event in server.events()) == 3)
    ends = {event.id: (event.state, event.error) for event in reversed(server.events()) if event.state in ENDED}
    assert ends[exits] == ("lost", "The work-horse, its process, ended with exit code 3.")
    assert server.get(f"/tasks/{raises}").json()["error"].endswith(" is no UTF-8")


@needs(RQ)
def test_every_job_has_a_process_of_its_own_and_what_it_reports_arrives_although_that_ends_at_once(
    start_server: Start, stage: Stage
) -> None:
    stage.valkey()
    server = start_server(mode="rq", duration=0, broker=stage.broker, queue=stage.queue)
    stage.ready(stage.worker(RQ, duration=0, server=server.url))
    for _ in range(30):
        server.get()
    ends = server.ended(30)
    assert {event.host for event in ends} == {socket.gethostname()}
    assert len({event.pid for event in ends}) == 30
    assert server.complained == ""


@needs(HUEY)
def test_a_path_is_what_it_says_wherever_the_worker_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    engine = of(HUEY)
    assert {engine.url(typed) for typed in ("tasks.db", "sqlite:///tasks.db", "sqlite://tasks.db")} == {
        str(tmp_path / "tasks.db")
    }
    assert engine.url("redis://x") == "redis://x"


@needs(PROCRASTINATE)
def test_a_worker_that_was_silent_for_seconds_is_not_forgotten_when_another_starts(
    start_server: Start, stage: Stage
) -> None:
    import psycopg

    stage.a_broker(PROCRASTINATE)
    start_server(mode="procrastinate", broker=stage.broker, queue=stage.queue)  # which makes the tables
    silent = stage.worker(PROCRASTINATE)
    stage.ready(silent)
    with psycopg.connect(stage.broker, autocommit=True) as database:
        silent.program.suspend()
        until(lambda: _workers(database, "<=") == 1)  # those who would be dead to the page's own look
        other = stage.worker(PROCRASTINATE)
        stage.ready(other)
        silent.program.resume()
        until(lambda: _workers(database, ">") == 2)


def _workers(database: Any, compared: str) -> int:
    query = f"SELECT count(*) FROM procrastinate_workers WHERE last_heartbeat {compared} now() - interval '4 s'"
    return int(database.execute(query).fetchone()[0])


@needs(PROCRASTINATE)
def test_callers_are_refused_while_postgresql_is_gone_and_taken_again_and_nothing_is_lost(
    start_server: Start, stage: Stage
) -> None:
    import psycopg

    stage.a_broker(PROCRASTINATE)
    server = start_server(mode="procrastinate", duration=0, broker=stage.broker, queue=stage.queue)
    before = ask(server)
    with psycopg.connect(stage.broker.replace("/postgres?", "/template1?"), autocommit=True) as beside:
        beside.execute("ALTER DATABASE postgres ALLOW_CONNECTIONS false")
        beside.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'postgres'")
        refused = server.get()
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        beside.execute("ALTER DATABASE postgres ALLOW_CONNECTIONS true")
    until(lambda: server.get().status_code == 200)
    after = ask(server)
    stage.ready(stage.worker(PROCRASTINATE, duration=0, server=server.url))
    for task in (before, after):
        until(lambda task=task: server.states(task) == ["accepted", "started", "finished"])  # type: ignore[misc]
