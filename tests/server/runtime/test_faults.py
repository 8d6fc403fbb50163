"""What a server survives, says, and has in its journal afterwards: overload, full disks, lost files, odd clients."""

import os
import signal
import socket
import stat
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

import samples
from servers import Start, refusal
from taskdemo_server.runtime.server import NO_DESCRIPTORS
from waiting import until

limits = pytest.mark.skipif(not hasattr(psutil.Process, "rlimit"), reason="limits of others are Linux's")


@pytest.mark.parametrize("mode", ["background", "process"])
def test_what_exceeds_the_bound_is_refused_and_no_task_and_afterwards_all_is_as_before(
    start_server: Start, mode: str
) -> None:
    server = start_server(mode=mode, max_pending=2, duration=1.3)
    answers = server.burst(8)
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses == {200: 2, 503: 6}
    for answer in answers:
        if answer.status_code == 503:
            assert answer.headers["Retry-After"] == "1"
            assert "X-Task-ID" not in answer.headers
            assert answer.json()["detail"].startswith("2 tasks are unfinished")
    assert server.states().count("accepted") == 2
    server.ended(2)
    assert until(lambda: server.get().status_code == 200)
    assert Counter(server.states())["accepted"] == 3


def test_a_blocking_server_looks_at_nobody_meanwhile_so_it_never_has_two(start_server: Start) -> None:
    server = start_server(mode="blocking", max_pending=1, duration=0.05)
    assert {answer.status_code for answer in server.burst(8)} == {200}


@limits
def test_a_server_without_a_descriptor_for_the_next_caller_says_so_once(start_server: Start) -> None:
    server = start_server()
    server.get()
    process = psutil.Process(server.process.pid)
    usual, most = process.rlimit(psutil.RLIMIT_NOFILE), process.num_fds() + 5
    process.rlimit(psutil.RLIMIT_NOFILE, (most, usual[1]))
    with ExitStack() as callers:
        for _ in range(20):
            callers.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        until(lambda: server.complained)
        assert server.get().status_code == 200  # who is connected is served
    server.signal(signal.SIGTERM)
    server.wait()
    assert server.complained == NO_DESCRIPTORS.format(most) + "\n"


@limits
@pytest.mark.parametrize("mode", ["background", "process"])
def test_a_full_disk_is_said_once_fails_nobody_and_loses_nothing(start_server: Start, mode: str) -> None:
    server = start_server(mode=mode, duration=0)
    server.get()
    server.ended(1)
    family = server.family()
    usual = family[0].rlimit(psutil.RLIMIT_FSIZE)
    for process in family:
        process.rlimit(psutil.RLIMIT_FSIZE, (server.journal.stat().st_size + 50, usual[1]))
    ids = {server.get().headers["X-Task-ID"] for _ in range(30)}
    until(lambda: "cannot be written" in server.complained)
    assert server.get("/ping").status_code == 200
    for process in server.family():  # a pool starts processes as tasks come
        process.rlimit(psutil.RLIMIT_FSIZE, usual)
    server.ended(31)
    whole = ["accepted", "started", "finished"]  # Each process writes its own when it can.
    until(lambda: all(server.states(task_id) == whole for task_id in ids))
    until(lambda: "can be written again" in server.complained)
    said = [each for each in server.complained.splitlines() if "cannot be written" in each]
    assert len(said) <= len(family)  # Each process finds out for itself.
    assert "(File too large)" in said[0] or "(the disk is full)" in said[0]
    tasks = server.get("/tasks").json()
    assert {task["state"] for task in tasks} == {"finished"}
    assert len(tasks) == 31


def test_a_server_whose_journal_is_deleted_goes_on_with_what_it_has_open(start_server: Start) -> None:
    server = start_server(mode="process", duration=0)
    server.get()
    server.ended(1)
    server.journal.unlink()
    second = server.get().headers["X-Task-ID"]
    until(lambda: server.get(f"/tasks/{second}").json()["state"] == "finished")
    assert [task["state"] for task in server.get("/tasks").json()] == ["finished"] * 2
    assert not server.journal.exists()
    assert server.complained == ""


@limits
def test_what_still_waits_for_a_full_disk_when_the_server_ends_is_counted(start_server: Start) -> None:
    server = start_server(duration=0)
    for _ in range(5):  # more than is said afterwards, which has as much room
        server.get()
    server.ended(5)
    process = psutil.Process(server.process.pid)
    process.rlimit(psutil.RLIMIT_FSIZE, (server.journal.stat().st_size + 50,) * 2)
    server.get()
    until(lambda: "cannot be written" in server.complained)
    server.signal(signal.SIGTERM)
    assert server.wait() == 0
    assert f"3 events could not be written to the journal {server.journal}." in server.complained


def test_durations_come_from_a_clock_that_does_not_step_back(
    start_server: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import time\n_real, _calls = time.time, 0\n"
        "def stepping():\n    global _calls\n    _calls += 1\n    return _real() - 60.0 * _calls\n"
        "time.time = stepping\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    server = start_server(duration=0.2)
    for _ in range(3):
        server.get()
    server.ended(3)
    events = server.events()
    assert events[0].at - min(event.at for event in events) > 60
    for task_id in {event.id for event in events}:
        clocks = [event.clock for event in events if event.id == task_id]
        assert clocks == sorted(clocks)
        assert 0.2 <= clocks[2] - clocks[1] < 5
    assert {task["state"] for task in server.get("/tasks").json()} == {"finished"}
    assert server.complained == ""


def test_readers_of_events_that_do_not_read_cost_no_memory_and_delay_neither_tasks_nor_the_end(
    start_server: Start, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    with journal.open("wb") as file:
        for number in range(2500):
            file.write(samples.event(f"{number:x}", "accepted", 0.0, message="x" * 4000).to_line())
            file.write(samples.event(f"{number:x}", "finished", 1.0).to_line())
    server = start_server(duration=0, journal=str(journal))
    process = psutil.Process(server.process.pid)
    server.get()
    before = process.memory_info().rss
    with ExitStack() as stack:
        for _ in range(20):
            reader = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            reader.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        ids = [server.get().headers["X-Task-ID"] for _ in range(50)]
        until(lambda: {event.id for event in server.events() if event.state == "finished"} >= set(ids))
        assert process.memory_info().rss - before < 40_000_000  # And 20 times the journal is 200 MB.
        assert server.get("/ping").status_code == 200
        server.signal(signal.SIGTERM)
        assert server.wait() == 0


def test_files_are_private_to_the_user_even_where_they_were_not(start_server: Start, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    journal.write_bytes(b"")
    journal.chmod(0o644)
    old = os.umask(0)
    try:
        server = start_server(journal=str(journal))
    finally:
        os.umask(old)
    for path in (journal, server.folder / "announce"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_journal_that_is_no_file_is_refused_with_a_sentence_and_left_as_it_is(
    start_server: Start, tmp_path: Path
) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    pipe.chmod(0o644)
    assert "cannot be written: it is not a regular file" in refusal(start_server, journal=str(pipe))
    assert stat.S_IMODE(pipe.stat().st_mode) == 0o644


def test_a_journal_belongs_to_one_server_until_that_is_gone(start_server: Start, tmp_path: Path) -> None:
    journal = str(tmp_path / "journal")
    server = start_server(journal=journal)
    refused = refusal(start_server, journal=journal)
    assert f"The journal {journal} is another server's; type another --journal." in refused
    server.process.kill()
    server.wait()
    start_server(journal=journal)
