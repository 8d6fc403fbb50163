"""What a server survives, says, and has in its books afterwards: overload, full disks, lost files, odd clients."""

import os
import shutil
import socket
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import psutil
import pytest

from conftest import RunningServer, until
from taskdemo_server import holes
from taskdemo_server.contract.events import ENDED, TaskEvent, TaskState, event_line, place_of
from taskdemo_server.contract.settings import Settings
from taskdemo_server.journal import file as journal_module
from taskdemo_server.journal import index as books_module
from taskdemo_server.journal.file import Journal, unfinished
from taskdemo_server.journal.index import Books
from taskdemo_server.work import OverloadedError, Work, current_task

Start = Callable[..., RunningServer]

PLACE = place_of("background", "here")
limits = pytest.mark.skipif(not hasattr(psutil.Process, "rlimit"), reason="limits of others are Linux's")


def line(task_id: str, state: TaskState, message: str | None = None) -> bytes:
    return event_line(task_id, state, 1000.0, time.monotonic(), PLACE, message)


def write(journal: Journal, task_id: str, *states: TaskState) -> None:
    for state in states:
        journal.write(line(task_id, state), time.monotonic())


def written(path: str | Path) -> list[tuple[str, str]]:
    lines = Path(path).read_bytes().splitlines()
    return [(event.id, event.state) for each in lines if (event := TaskEvent.from_line(each))]


def burst(server: RunningServer, count: int) -> list[httpx.Response]:
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda _: httpx.get(server.url, timeout=20, trust_env=False), range(count)))


@pytest.mark.parametrize("mode", ["async", "threadpool", "background", "background-async", "process", "celery"])
def test_what_exceeds_the_bound_is_refused_and_no_task_and_afterwards_all_is_as_before(
    start_server: Start, mode: str
) -> None:
    server = start_server(mode=mode, max_pending=2, duration=1)
    answers = burst(server, 8)
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses == {200: 2, 503: 6}
    for answer in answers:
        if answer.status_code == 503:
            assert answer.headers["Retry-After"] == "1"
            assert "X-Task-ID" not in answer.headers
            assert answer.json()["detail"].startswith("2 tasks have not ended")
    assert server.states().count("accepted") == 2
    server.ended(2)
    assert until(lambda: server.get().status_code == 200)
    assert Counter(server.states())["accepted"] == 3


def test_a_blocking_server_looks_at_nobody_meanwhile_so_it_never_has_two(start_server: Start) -> None:
    server = start_server(mode="blocking", max_pending=1, duration=0.05)
    assert {answer.status_code for answer in burst(server, 8)} == {200}


def test_a_bound_of_nothing_is_refused(start_server: Start) -> None:
    with pytest.raises(pytest.fail.Exception, match="max_pending is 0; it must be 1 or more"):
        start_server(max_pending=0)


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
    for process in family:
        process.rlimit(psutil.RLIMIT_FSIZE, usual)
    server.ended(31)
    for task_id in ids:
        assert server.states(task_id) == ["accepted", "started", "finished"] or mode == "process"
        assert set(server.states(task_id)) == {"accepted", "started", "finished"}
    until(lambda: "can be written again" in server.complained)
    said = [each for each in server.complained.splitlines() if "cannot be written" in each]
    assert len(said) <= len(family)  # Each process finds out for itself.
    assert "(File too large)" in said[0] or "(the disk is full)" in said[0]
    tasks = server.get("/tasks").json()
    assert {task["state"] for task in tasks} == {"finished"}
    assert len(tasks) == 31


def test_when_too_much_waits_for_the_disk_no_further_task_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(journal_module, "MOST_WAITING", 500)
    journal = Journal(str(tmp_path / "journal"))
    work = Work(Settings(mode="background", journal=journal.path), journal)
    real, full = os.dup(journal._file), os.open("/dev/full", os.O_RDWR)
    write(journal, "aa", "accepted")
    monkeypatch.setattr(journal, "_next_check", float("inf"))  # That the file is another one would be noticed.
    os.dup2(full, journal._file)
    write(journal, "aa", "started", "finished")
    write(journal, "bb", "accepted", "started", "finished")
    current_task.set("cc")
    with pytest.raises(OverloadedError, match="The journal cannot be written"):
        work.accept("m")
    assert work.open == set()
    os.dup2(real, journal._file)
    until(lambda: not journal.stuck)
    work.accept("m")
    assert written(journal.path)[-1] == ("cc", "accepted")
    assert len(written(journal.path)) == 7
    os.close(real)
    os.close(full)
    journal.close()
    assert "can be written again" in capsys.readouterr().err


def test_what_still_waits_at_the_end_is_said_to_be_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(str(tmp_path / "journal"))
    write(journal, "aa", "accepted")
    monkeypatch.setattr(journal, "_next_check", float("inf"))
    full = os.open("/dev/full", os.O_RDWR)
    os.dup2(full, journal._file)
    write(journal, "aa", "started", "finished")
    journal.close()
    os.close(full)
    assert "2 events could not be written into the journal" in capsys.readouterr().err


def test_a_journal_deleted_under_several_writers_has_every_line_of_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "journal"
    writers = [Journal(str(path)) for _ in range(3)]
    ids = []
    for turn in range(6):
        for number, journal in enumerate(writers):
            ids.append(f"{turn}{number}")
            write(journal, ids[-1], "accepted")
        if turn in (1, 4):
            path.unlink()
        if turn in (2, 5):  # The first to see it writes the file anew; the others have written meanwhile.
            for journal in writers:
                journal._check()
    assert sorted(task for task, _ in written(path)) == sorted(ids)
    assert capsys.readouterr().err.count("was deleted; it has been written anew") == 2
    for journal in writers:
        assert journal.read(0)[0] == path.read_bytes()
        journal.close()
    assert [each.name for each in tmp_path.iterdir()] == ["journal"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_lines_of_threads_that_write_while_the_journal_is_written_anew_are_in_it(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(str(path))
    stop = threading.Event()
    counts = [0] * 4

    def run(number: int) -> None:
        while not stop.is_set():
            write(journal, f"{number}-{counts[number]}", "accepted")
            counts[number] += 1

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        before = list(counts)
        until(lambda: all(now > then + 20 for now, then in zip(counts, before, strict=True)))  # noqa: B023  called at once
        path.unlink()
        journal._check()
    stop.set()
    for thread in threads:
        thread.join()
    journal._check()
    journal.close()
    assert {task for task, _ in written(path)} == {f"{n}-{i}" for n in range(4) for i in range(counts[n])}


def test_tasks_of_a_pool_survive_that_the_journal_is_deleted_while_they_run(start_server: Start) -> None:
    server = start_server(mode="process", duration=0.002)
    ids = []
    for number in range(300):
        if number in (50, 200):
            server.journal.unlink(missing_ok=True)
        ids.append(server.get().headers["X-Task-ID"])

    def ended() -> set[str]:
        return {event.id for event in server.events() if event.state in ENDED} if server.journal.exists() else set()

    until(lambda: ended() == set(ids))
    assert {task["state"] for task in server.get("/tasks").json()} == {"finished"}
    assert "was deleted; it has been written anew" in server.complained


def test_a_journal_whose_folder_is_gone_is_said_once_and_the_books_stay_right(start_server: Start) -> None:
    server = start_server(duration=0)
    folder = server.folder / "deeper"
    folder.mkdir()
    server = start_server(duration=0, journal=str(folder / "journal"))
    first = server.get().headers["X-Task-ID"]
    shutil.rmtree(folder)
    until(lambda: server.get("/tasks").status_code == 200 and "cannot be written anew" in server.complained)
    second = server.get().headers["X-Task-ID"]

    def known() -> list[tuple[str, str]]:
        return [(task["id"], task["state"]) for task in server.get("/tasks").json()]

    until(lambda: known() == [(first, "finished"), (second, "finished")])
    assert server.complained.count("cannot be written anew") == 1
    folder.mkdir()
    until(lambda: server.get("/tasks").status_code == 200 and server.journal.exists())
    assert {task for task, state in written(server.journal) if state == "finished"} == {first, second}


@limits
@pytest.mark.parametrize("mode", ["background", "process"])
def test_a_server_without_a_file_descriptor_says_so_serves_those_it_has_and_goes_on(
    start_server: Start, mode: str
) -> None:
    server = start_server(mode=mode, duration=0)
    process = psutil.Process(server.process.pid)
    server.get("/ping")
    usual = process.rlimit(psutil.RLIMIT_NOFILE)
    process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds() + 10, usual[1]))
    with ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        until(lambda: "All file descriptors are used up" in server.complained)
        task_id = server.get().headers["X-Task-ID"]  # On the connection that was there before.
        server.ended(1)
        assert server.states(task_id) == ["accepted", "started", "finished"]
        assert server.get("/tasks").json()[0]["state"] == "finished"
        with pytest.raises(httpx.TransportError):
            httpx.get(server.url, timeout=5, trust_env=False)
    until(lambda: process.num_fds() < process.rlimit(psutil.RLIMIT_NOFILE)[0])
    assert httpx.get(server.url, timeout=5, trust_env=False).status_code == 200
    assert server.complained.count("descriptors") == 1


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


def test_readers_of_events_that_do_not_read_cost_no_memory_and_delay_no_task(
    start_server: Start, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    text = "x" * 4000
    with journal.open("wb") as file:
        for number in range(2500):
            file.write(line(f"{number:x}", "accepted", text) + line(f"{number:x}", "finished"))
    server = start_server(duration=0, journal=str(journal))
    process = psutil.Process(server.process.pid)
    server.get()
    before = process.memory_info().rss
    with ExitStack() as stack:
        for _ in range(20):
            reader = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            reader.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        ids = [server.get(timeout=5).headers["X-Task-ID"] for _ in range(50)]
        until(lambda: {event.id for event in server.events() if event.state == "finished"} >= set(ids))
        assert process.memory_info().rss - before < 40_000_000  # And 20 times the journal is 200 MB.
    assert server.get("/ping").status_code == 200


def test_a_big_journal_gives_its_beginning_back_and_nobody_who_follows_misses_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "MOST_BYTES", 1 << 18)
    path = tmp_path / "journal"
    journal, follower, books = Journal(str(path)), Journal(str(path)), Books(Journal(str(path)))
    followed = b""
    offset = 0
    count = 20_000
    for number in range(count):
        write(journal, f"{number:08x}", "accepted", "finished")
        if number % 1000 == 0:
            journal._next_check = 0.0
            lines, offset = follower.read(offset, 1 << 22)
            followed += lines
            books.update()
    journal._check()
    followed += follower.read(offset, 1 << 22)[0]
    books.update()
    there = path.stat()
    if there.st_blocks * 512 > 1 << 20:
        pytest.skip("this file system keeps what is given back")
    assert there.st_size > 4_000_000
    assert [TaskEvent.from_line(each) is not None for each in followed.splitlines()].count(True) == 2 * count
    assert books.total == count
    # Whoever comes late finds what is left, whole lines from the first on.
    left, end = b"", 0
    while (read := journal.read(end))[0]:
        left, end = left + read[0], read[1]
    assert end == there.st_size
    events = [TaskEvent.from_line(each) for each in left.splitlines()]
    assert None not in events
    assert (1 << 18) - 1000 <= len(left) <= (1 << 19)  # The first line was not whole.
    assert unfinished(journal) == {}
    # Deleted, it comes back with its offsets, and still without its beginning.
    path.unlink()
    journal._check()
    assert path.stat().st_size == there.st_size
    assert path.stat().st_blocks * 512 < 1 << 20
    assert journal.read(0)[0] == left[: len(journal.read(0)[0])]


def test_where_a_file_system_takes_nothing_back_that_is_said_once_and_the_journal_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def cannot(_file: int, _end: int) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(journal_module, "MOST_BYTES", 1 << 12)
    monkeypatch.setattr(holes, "free", cannot)
    journal = Journal(str(tmp_path / "journal"))
    for number in range(300):
        write(journal, f"{number:08x}", "accepted", "finished")
        if number % 50 == 0:
            journal._check()
    journal.close()
    assert len(written(journal.path)) == 600
    assert capsys.readouterr().err.count("its disk takes nothing back") == 1


def test_zeros_that_are_no_hole_are_skipped_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b"\0" * 1_000_000 + line("aa", "accepted"))
    journal = Journal(str(path))
    assert journal.read(0) == (path.read_bytes()[1_000_000:], path.stat().st_size)
    assert list(unfinished(journal)) == ["aa"]
    journal.close()


def test_the_books_keep_the_last_ended_and_all_that_have_not_and_count_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(books_module, "MOST_ENDED", 10)
    journal = Journal(str(tmp_path / "journal"))
    books = Books(journal)
    write(journal, "slow", "accepted", "started")
    for number in range(100):
        write(journal, f"{number}", "accepted", "started", "finished")
        books.update()
    assert (books.total, books.forgotten) == (101, 90)
    assert [record.id for record in books.page(0, 101)] == ["slow", *map(str, range(90, 100))]
    pages = [record.id for offset in range(0, 101, 4) for record in books.page(offset, 4)]
    assert pages == ["slow", *map(str, range(90, 100))]
    assert books.find("5") is None
    write(journal, "5", "lost")
    write(journal, "slow", "finished")
    books.update()
    slow = books.find("slow")
    assert slow
    assert slow.state == "finished"
    assert books.total == 101
    os.truncate(journal.path, 0)
    write(journal, "new", "accepted")
    books.update()
    assert [record.id for record in books.page(0, 10)] == ["new"]
    assert books.total == 1


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


@pytest.mark.skipif(sys.platform == "win32", reason="started through a terminal's signals there")
def test_a_token_is_in_no_command_line_that_others_could_see(tmp_path: Path) -> None:
    environment = {**os.environ, "TASKDEMO_SERVE_TOKEN": "s3cret-t0ken", "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "taskdemo_cli", "serve", "--port", "0", "--workers", "2", "--duration", "0"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert process.stdout
        while b"try" not in process.stdout.readline():
            pass
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        assert len(family) >= 4
        for each in family:
            assert "s3cret" not in " ".join(each.cmdline())
    finally:
        process.terminate()
        process.communicate(timeout=20)


def test_a_journal_that_is_no_file_is_refused_with_a_sentence(start_server: Start, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(pytest.fail.Exception, match="cannot be written: it is not an ordinary file"):
        start_server(journal=str(tmp_path / "pipe"))
    if sys.platform == "linux":
        assert stat.S_IMODE(Path("/dev/null").stat().st_mode) == 0o666
        with pytest.raises(pytest.fail.Exception, match="not an ordinary file"):
            start_server(journal="/dev/null")
        assert stat.S_IMODE(Path("/dev/null").stat().st_mode) == 0o666
