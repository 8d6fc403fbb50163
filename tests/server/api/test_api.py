"""What a server tells of itself and its tasks, and what workers tell it: /health, /tasks, /events, /docs."""

import asyncio
import os
import socket
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest

from servers import RunningServer, Start
from talks import Scripted, by_path
from taskdemo_server.api import health
from taskdemo_server.contract.events import Place, TaskEvent
from taskdemo_server.contract.modes import MODE_BY_NAME
from taskdemo_server.contract.settings import VERSION, Settings
from taskdemo_server.work import report as work_report
from taskdemo_server.work.report import Reporter
from waiting import until


def follow(server: RunningServer, **headers: str) -> Generator[tuple[int, TaskEvent], None, None]:
    """Read /events with nothing but the rules of server-sent events."""
    with httpx.stream("GET", f"{server.url}/events", headers=headers, timeout=60, trust_env=False) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        last_id, data = "", ""
        for line in stream.iter_lines():
            name, _, value = line.partition(": ")
            if name == "id":
                last_id = value
            elif name == "data":
                data = value
            elif line == "" and data:
                event = TaskEvent.from_line(data.encode())
                assert event
                yield int(last_id), event
                data = ""


def take(events: Generator[tuple[int, TaskEvent], None, None], count: int) -> list[tuple[int, TaskEvent]]:
    return [next(events) for _ in range(count)]


def test_health_tells_what_this_server_is(start_server: Start) -> None:
    server = start_server(mode="threadpool", work="cpu", duration=0.25, threads=3)
    health = server.get("/health").json()
    clock, offset = health.pop("clock"), health.pop("journal_offset")
    assert health == {
        "server": "taskdemo",
        "version": VERSION,
        "mode": "threadpool",
        "app": None,
        "work": "cpu",
        "duration_s": 0.25,
        "threads": 3,
        "workers": 1,
        "slots": 3,
        "own_work": None,
        "pid": server.process.pid,
        "broker": None,
        "journal": str(server.journal),
    }
    assert abs(clock - time.monotonic()) < 5
    assert offset == 0


@pytest.mark.parametrize(
    ("given", "slots"),
    [
        ({"mode": "threadpool", "threads": 3}, 3),
        ({"mode": "process", "processes": 2}, 2),
        ({"mode": "background", "threads": 3, "workers": 2}, 6),
        ({"mode": "async"}, None),
    ],
)
def test_it_is_known_how_many_works_can_run_at_once(given: dict[str, Any], slots: int | None) -> None:
    assert health.slots(Settings(journal="", **given)) == slots


def test_tasks_are_paged_newest_last(start_server: Start) -> None:
    server = start_server(duration=0)
    ids = [server.get(params={"message": str(number)}).headers["X-Task-ID"] for number in range(5)]
    server.ended(5)
    everything = server.get("/tasks")
    assert [task["id"] for task in everything.json()] == ids
    assert [task["message"] for task in everything.json()] == list("01234")
    page = server.get("/tasks", params={"limit": 2, "offset": 2})
    assert [task["id"] for task in page.json()] == ids[2:4]
    assert page.headers["X-Total-Count"] == "5"
    one = server.get(f"/tasks/{ids[3]}").json()
    assert one["state"] == "finished"
    assert one["accepted_at"] <= one["started_at"] <= one["ended_at"] <= time.time()
    assert server.get("/tasks/unheard-of").status_code == 404


def test_a_task_of_another_server_process_cannot_be_cancelled_and_that_is_the_reason(start_server: Start) -> None:
    server = start_server(mode="process", duration=600, workers=2, processes=1)
    tasks = [server.get().headers["X-Task-ID"] for _ in range(4)]  # over one connection, and so in one process
    # At once: a connection that is idle for 5 s is closed, and the next one may lead to the other process.
    assert server.client.delete(f"/tasks/{tasks[-1]}").status_code == 200
    with server.another() as other:
        refused = other.delete(f"/tasks/{tasks[-2]}")
        until(server.running)
        runs = other.delete(f"/tasks/{tasks[0]}")
    why = "Another of the 2 server processes took the task, and only that one can cancel it."
    assert (refused.status_code, refused.json()["detail"]) == (409, why)
    assert (runs.status_code, runs.json()["detail"]) == (409, MODE_BY_NAME["process"].cannot_cancel)


def test_what_a_mode_cannot_cancel_goes_on_and_the_answer_says_why(
    start_server: Start, held: dict[str, str], tmp_path: Path
) -> None:
    server = start_server(**held)
    server.get()
    [task_id] = until(server.running)
    refused = server.client.delete(f"/tasks/{task_id}")
    assert refused.status_code == 409
    assert refused.json()["detail"].endswith(".")
    (tmp_path / "go").touch()
    server.ended(1)
    assert server.states(task_id) == ["accepted", "started", "finished"]
    too_late = server.client.delete(f"/tasks/{task_id}")
    assert (too_late.status_code, too_late.json()) == (409, {"detail": "The task has ended: it is finished."})
    assert server.client.delete("/tasks/unheard-of").status_code == 404
    assert server.complained == ""


def test_a_process_pool_takes_back_a_task_that_waits_and_no_other(
    start_server: Start, held: dict[str, str], tmp_path: Path
) -> None:
    server = start_server(mode="process", **held)
    # Beside those that run, a pool takes one task per process, and one more, out of what can still be cancelled.
    count = 2 * (os.cpu_count() or 1) + 2
    ids = [server.get().headers["X-Task-ID"] for _ in range(count)]
    running = min(until(server.running))
    assert server.client.delete(f"/tasks/{running}").status_code == 409
    cancelled = server.client.delete(f"/tasks/{ids[-1]}")
    assert cancelled.status_code == 200
    assert cancelled.json()["state"] == "cancelled"
    server.signal(15)  # Whoever asks for a task does not keep the server from hearing that it has ended.
    (tmp_path / "go").touch()
    assert server.wait() == 0
    assert server.states(ids[-1]) == ["accepted", "cancelled"]
    assert server.states(running) == ["accepted", "started", "finished"]
    assert server.states().count("finished") == count - 1


def test_events_are_the_journal_and_resume_with_nothing_missed(start_server: Start) -> None:
    server = start_server(duration=0)
    server.get()
    server.ended(1)
    events = follow(server)
    seen = take(events, 3)
    assert [event.state for _, event in seen] == ["accepted", "started", "finished"]
    server.get()
    seen += take(events, 1)
    events.close()
    for _ in range(20):
        server.get()
    server.ended(22)
    seen += take(follow(server, **{"Last-Event-ID": str(seen[-1][0])}), 62)
    assert sorted((event for _, event in seen), key=lambda event: event.clock) == server.events()
    whole = server.journal.read_bytes()
    assert all(TaskEvent.from_line(whole[:offset].splitlines()[-1]) == event for offset, event in seen)
    assert seen[-1][0] == len(whole) == server.get("/health").json()["journal_offset"]
    assert take(follow(server, **{"Last-Event-ID": str(len(whole) + 1)}), 1) == seen[:1], "the id of another journal"
    assert server.get("/events", headers={"Last-Event-ID": "x"}).status_code == 422


def test_a_stream_lasts_until_the_last_task_has_ended_and_never_longer(start_server: Start) -> None:
    server = start_server(duration=0.7)
    events = follow(server)
    server.get()
    [(_, first)] = take(events, 1)
    until(lambda: "started" in server.states())
    began = time.monotonic()
    server.signal(15)
    assert [first.state, *(event.state for _, event in events)] == ["accepted", "started", "finished"]
    assert server.wait() == 0
    assert time.monotonic() - began < 9  # and not at the next heartbeat


def report(server: RunningServer, *lines: bytes, clock: str = "5003.0", **headers: str) -> httpx.Response:
    return server.client.post("/events", content=b"".join(lines), headers={"X-Clock": clock, **headers})


def reported(task_id: str, state: str, clock: float, host: str = "elsewhere") -> bytes:
    place = Place("background", host, 12, "MainThread 12")
    return TaskEvent(task_id, state, 1000.0, clock, *place).to_line()  # type: ignore[arg-type]  # it is a state


def test_what_a_worker_elsewhere_reports_is_journaled_by_this_machines_clock(shared_server: RunningServer) -> None:
    task_id = shared_server.get().headers["X-Task-ID"]
    until(lambda: len(shared_server.states(task_id)) == 3)
    begun = time.monotonic()
    lines = [reported(task_id, "started", 5000.0), b"no event\n", reported(task_id, "finished", 5002.0)]
    answer = report(shared_server, *lines)
    assert (answer.status_code, answer.json()) == (200, {"taken": 2})
    started, finished = (event for event in shared_server.events() if event.host == "elsewhere")
    assert finished.where == "elsewhere pid 12 MainThread 12"
    assert finished.clock - started.clock == pytest.approx(2.0, abs=1e-5)
    # It ended one second before the report was sent.
    assert begun - 1.0 <= finished.clock <= time.monotonic() - 1.0


def test_what_a_report_takes_for_its_way_is_not_in_the_times_that_it_tells(shared_server: RunningServer) -> None:
    ahead = 5000.0
    began = time.monotonic() + ahead
    for state, at, way_s in [("started", 0.0, 0.0), ("finished", 0.5, 3.0)]:
        line = reported("c" * 16, state, began + at, "slow")
        report(shared_server, line, clock=repr(time.monotonic() + ahead - way_s))
    started, finished = (event for event in shared_server.events() if event.host == "slow")
    assert finished.clock - started.clock == pytest.approx(0.5, abs=1e-5)
    # The report of the start was on its way for longer than the work took.
    task_id = shared_server.get().headers["X-Task-ID"]
    until(lambda: len(shared_server.states(task_id)) == 3)
    for state, at, way_s in [("started", 0.0, 3.0), ("finished", 0.5, 0.0)]:
        line = reported(task_id, state, time.monotonic() + ahead + at, "slow start")
        report(shared_server, line, clock=repr(time.monotonic() + ahead - way_s))
    started, finished = (event for event in shared_server.events() if event.host == "slow start")
    assert finished.clock == started.clock
    assert shared_server.client.get(f"/tasks/{task_id}").json()["state"] == "finished"
    # Another clock, of a machine that was started anew.
    report(shared_server, reported("b" * 16, "finished", 5.0, "slow"), clock="6.0")
    [event] = (event for event in shared_server.events() if event.id == "b" * 16)
    assert event.clock == pytest.approx(time.monotonic() - 1.0, abs=10)


def test_a_report_cannot_make_a_task(shared_server: RunningServer) -> None:
    assert report(shared_server, reported("f" * 16, "accepted", 5000.0)).json() == {"taken": 0}
    assert "f" * 16 not in {event.id for event in shared_server.events()}


@pytest.mark.parametrize("clock", ["", "nan", "inf", "-1", "noon"])
def test_a_report_without_a_clock_is_refused(shared_server: RunningServer, clock: str) -> None:
    assert report(shared_server, reported("f" * 16, "finished", 1.0), clock=clock).status_code == 422


def test_a_report_that_is_too_big_is_refused(shared_server: RunningServer) -> None:
    line = reported("e" * 16, "finished", 1.0)
    assert report(shared_server, line * ((1 << 22) // len(line) + 1)).status_code == 413
    assert "e" * 16 not in {event.id for event in shared_server.events()}


def test_a_report_that_breaks_off_is_no_trouble_of_the_servers(shared_server: RunningServer) -> None:
    with socket.create_connection(("127.0.0.1", shared_server.port)) as worker:
        worker.sendall(
            b"POST /events HTTP/1.1\r\nHost: localhost\r\nX-Clock: 1\r\nContent-Length: 100\r\n\r\nthe first of it"
        )
    assert report(shared_server).json() == {"taken": 0}
    assert shared_server.complained == ""


def test_a_worker_has_told_of_an_end_before_its_task_is_done_with(
    shared_server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_report, "_END_TIMEOUT_S", 60)
    Reporter(shared_server.url, None).write(reported("d" * 16, "finished", time.monotonic()))
    assert shared_server.states("d" * 16) == ["finished"]


def test_a_worker_whose_server_is_away_is_held_up_by_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(work_report, "_END_TIMEOUT_S", 60)
    reporter, begun = Reporter("http://127.0.0.1:1", None), time.monotonic()
    for _ in range(3):
        reporter.write(reported("d" * 16, "failed", begun))
    assert time.monotonic() - begun < 30


def test_reports_that_piled_up_while_the_server_was_away_are_taken_however_long_their_lines(
    start_server: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work_report, "_RETRY_AFTER_S", 0.3)
    server = start_server()
    reporter = Reporter(server.url, None)
    away, post = iter(["away"]), reporter._post
    monkeypatch.setattr(reporter, "_post", lambda body: next(away, None) or post(body))
    place, error = Place("background", "elsewhere", 12, "MainThread 12"), "ж" * 6000
    for number in range(130):
        reporter.write(TaskEvent(f"{number:016x}", "failed", 1000.0, 5000.0, *place, error=error).to_line())
    until(lambda: server.journal.read_bytes().count(b'"failed"') == 130)


def test_whatever_refuses_a_report_gets_it_again(capsys: pytest.CaptureFixture[str]) -> None:
    left = [b"404 Not Found\r\nContent-Length: 2\r\n\r\n[]", b"200 OK\r\nContent-Length: 2\r\n\r\n{}"]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, _: str) -> None:
        writer.write(b"HTTP/1.1 " + left.pop(0))
        await reader.read()  # the report

    with Scripted(by_path(answer)) as server:
        Reporter(server.url, None).write(reported("d" * 16, "finished", 1.0))
        until(lambda: not left)
    assert capsys.readouterr().err == f"The server 127.0.0.1:{server.port} does not accept reports (HTTP 404).\n"


def test_openapi_documents_every_answer(start_server: Start) -> None:
    server = start_server(token="a secret")
    paths = server.get("/openapi.json", headers={"Authorization": "Bearer a secret"}).json()["paths"]
    assert {
        path: {method: set(what["responses"]) - {"401", "403"} for method, what in methods.items()}
        for path, methods in paths.items()
    } == {
        "/": {"get": {"200", "422", "503"}},
        "/ping": {"get": {"200"}},
        "/ping/sync": {"get": {"200"}},
        "/health": {"get": {"200"}},
        "/tasks": {"get": {"200", "422"}},
        "/tasks/{task_id}": {"get": {"200", "404", "422"}, "delete": {"200", "404", "409", "422"}},
        "/events": {"get": {"200", "422"}, "post": {"200", "413", "422"}},
    }
    page = paths["/"]["get"]
    assert "X-Task-ID" in page["responses"]["200"]["headers"]
    assert "Retry-After" in page["responses"]["503"]["headers"]
    assert [(given["name"], given["schema"]["maxLength"]) for given in page["parameters"]] == [("message", 4096)]
    every = [what["responses"].keys() for methods in paths.values() for what in methods.values()]
    assert all({"401", "403"} <= answers for answers in every)
