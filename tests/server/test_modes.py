"""What can be seen of each mode from outside, on a real server: who waits, where the work runs, what is printed."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from conftest import RunningServer, until
from taskdemo_server.contract.events import DEFAULT_MESSAGE, MESSAGE_LIMIT
from taskdemo_server.contract.modes import MODES

Start = Callable[..., RunningServer]
BUILT_IN = [mode.name for mode in MODES if mode.engine is None]
ANSWERS_FIRST = [mode.name for mode in MODES if mode.engine is None and mode.answers_first]
WAITS = [mode.name for mode in MODES if mode.engine is None and not mode.answers_first]


def fire(server: RunningServer, count: int, path: str = "/") -> list[tuple[float, float]]:
    """Send `count` requests at once, each on its own connection; return when each was sent and answered."""
    ready = threading.Barrier(count)

    def one(_: int) -> tuple[float, float]:
        with httpx.Client(base_url=server.url, timeout=20, trust_env=False) as client:
            client.get("/ping")
            ready.wait()
            sent = time.monotonic()
            client.get(path).raise_for_status()
            return sent, time.monotonic()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def spans(server: RunningServer) -> dict[str, tuple[float, float]]:
    """When each task started and finished."""
    started = {e.id: e.clock for e in server.events() if e.state == "started"}
    return {e.id: (started[e.id], e.clock) for e in server.events() if e.state == "finished"}


def most_at_once(server: RunningServer) -> int:
    times = sorted((t, change) for s, e in spans(server).values() for t, change in ((s, 1), (e, -1)))
    now = most = 0
    for _, change in times:
        now += change
        most = max(most, now)
    return most


@pytest.mark.parametrize("mode", BUILT_IN)
def test_every_mode_greets_and_journals_the_task_under_the_id_in_the_header(start_server: Start, mode: str) -> None:
    server = start_server(mode=mode, duration=0.05)
    answer = server.get(params={"message": "hello \x1b[31m world"})
    assert answer.json() == {"message": "Hello World!"}
    task_id = answer.headers["X-Task-ID"]
    server.ended(1)
    events = server.events()
    assert [(e.id, e.state, e.mode) for e in events] == [
        (task_id, state, mode) for state in ("accepted", "started", "finished")
    ]
    assert events[0].message == "hello \x1b[31m world"
    early = 0.002  # uvloop's timers are whole milliseconds of a clock that it reads once a turn
    assert 0.05 - early <= events[2].clock - events[1].clock < 5
    assert f"pid {server.process.pid} " in events[0].where
    in_server = f"pid {server.process.pid} " in events[1].where
    assert in_server == (mode != "process")
    until(lambda: "Background Task called! hello \\x1b[31m world\n" in server.printed)
    assert f"mode {mode}" in server.printed
    assert server.url in server.printed
    assert f"taskdemo fire --count 5 --port {server.port}" in server.printed
    assert server.complained == ""


@pytest.mark.parametrize("mode", WAITS)
def test_a_mode_that_waits_answers_after_the_work(start_server: Start, mode: str) -> None:
    server = start_server(mode=mode, duration=0.2)
    [(_, answered)] = fire(server, 1)
    [(_, finished)] = spans(server).values()
    assert answered > finished


@pytest.mark.parametrize("mode", ANSWERS_FIRST)
def test_a_mode_that_answers_first_answers_before_the_work_has_ended(start_server: Start, mode: str) -> None:
    server = start_server(mode=mode, duration=0.5)
    [(_, answered)] = fire(server, 1)
    [end] = server.ended(1)
    assert answered < end.clock


def test_blocking_queues_every_caller_and_the_bystander_too(start_server: Start) -> None:
    server = start_server(mode="blocking", duration=0.3)
    with ThreadPoolExecutor(1) as pool:
        burst = pool.submit(fire, server, 3)
        until(server.running)
        asked = time.monotonic()
        server.get("/ping")
        answered = time.monotonic()
        burst.result()
    assert most_at_once(server) == 1
    running = [span for span in spans(server).values() if span[0] < asked < span[1]]
    assert running
    assert answered > running[0][1]


def test_async_serves_everybody_while_its_work_awaits(start_server: Start) -> None:
    server = start_server(mode="async", duration=0.5)
    fire(server, 3)
    assert most_at_once(server) == 3


@pytest.mark.parametrize("mode", ["threadpool", "background"])
def test_with_all_threads_busy_the_next_task_waits_and_is_seen_waiting(start_server: Start, mode: str) -> None:
    server = start_server(mode=mode, threads=2, duration=0.4)
    with ThreadPoolExecutor(1) as pool:
        burst = pool.submit(fire, server, 3)
        until(lambda: server.states().count("started") == 2)
        until(lambda: server.states().count("accepted") == 3)
        assert sorted(task["state"] for task in server.get("/tasks").json()) == ["accepted", "started", "started"]
        burst.result()
    server.ended(3)
    assert most_at_once(server) == 2


def test_tasks_in_all_threads_hold_up_the_sync_bystander_and_not_the_async_one(start_server: Start) -> None:
    server = start_server(mode="background", threads=1, duration=0.5)
    server.get()
    until(server.running)
    server.get("/ping")
    assert server.running()
    server.get("/ping/sync")
    assert not server.running()


def test_cpu_work_on_the_loop_holds_up_the_bystander(start_server: Start) -> None:
    server = start_server(mode="background-async", work="cpu", duration=0.5)
    server.get()
    until(server.running)
    server.get("/ping")
    assert not server.running()


def test_cpu_work_burns_the_time_it_promises(start_server: Start) -> None:
    server = start_server(mode="background", work="cpu", duration=0.4)
    before = sum(server.family()[0].cpu_times()[:2])
    server.get()
    server.ended(1)
    ticks_s = 0.02  # The system counts in hundredths, at both ends.
    assert sum(server.family()[0].cpu_times()[:2]) - before >= 0.4 - ticks_s


def test_process_runs_work_in_processes_that_were_there_before_the_first_task(start_server: Start) -> None:
    server = start_server(mode="process", duration=0.2)
    pids = {process.pid for process in server.family()}
    fire(server, 2)
    server.ended(2)
    places = {event.where.split()[2] for event in server.events() if event.state == "finished"}
    assert places <= {str(pid) for pid in pids - {server.process.pid}}
    assert most_at_once(server) == min(2, os.cpu_count() or 1)


def test_the_message_has_a_default_and_a_limit(start_server: Start) -> None:
    server = start_server(duration=0)
    server.get()
    assert server.get(params={"message": "x" * MESSAGE_LIMIT}).status_code == 200
    refused = server.get(params={"message": "x" * (MESSAGE_LIMIT + 1)})
    assert refused.status_code == 422
    assert "X-Task-ID" not in refused.headers
    server.ended(2)
    messages = [event.message for event in server.events() if event.state == "accepted"]
    assert messages == [DEFAULT_MESSAGE, "x" * MESSAGE_LIMIT]


@pytest.mark.parametrize("mode", WAITS)
def test_a_caller_that_hangs_up_leaves_the_books_right(start_server: Start, mode: str) -> None:
    server = start_server(mode=mode, duration=0.4)
    with pytest.raises(httpx.ReadTimeout):
        server.get(timeout=0.1)
    server.ended(1)
    assert server.states() == ["accepted", "started", "finished"]
    assert server.get("/ping").status_code == 200
    assert server.complained == ""
