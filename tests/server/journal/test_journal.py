"""The journal and the index: whole lines whatever happens, nothing lost where the disk is full, and one fold of it."""

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from servers import read_events
from taskdemo_server.contract.events import Place, TaskEvent, TaskState
from taskdemo_server.journal import file as journal_file
from taskdemo_server.journal import index as journal_index
from taskdemo_server.journal.file import Journal
from taskdemo_server.journal.index import Index
from waiting import another_thread_waits, until

PLACE = Place("background", "here", 7, "event loop")


def line(task_id: str, state: TaskState, message: str | None = None) -> bytes:
    return TaskEvent(task_id, state, 1000.0, time.monotonic(), *PLACE, message=message).to_line()


def put(journal: Journal, task_id: str, *states: TaskState) -> None:
    for state in states:
        journal.write(line(task_id, state, "m" if state == "started" else None))


@pytest.fixture(params=[False, True], ids=["alone", "beside threads"])
def journal(request: pytest.FixtureRequest, tmp_path: Path) -> Journal:
    return Journal(str(tmp_path / "journal"), beside_threads=request.param)


def written(journal: Journal) -> list[tuple[str, str]]:
    return [(event.id, event.state) for event in read_events(journal.path)]


@contextmanager
def full_disk(journal: Journal) -> Iterator[None]:
    """Let the journal's disk be full meanwhile."""
    real, full = os.dup(journal._file), os.open("/dev/full", os.O_RDWR)
    os.dup2(full, journal._file)
    try:
        yield
    finally:
        os.dup2(real, journal._file)
        os.close(real)
        os.close(full)


def indexed(journal: Journal) -> Index:
    index = Index(journal)
    index.update()
    return index


def test_a_line_is_the_event_in_json_with_half_characters_escaped() -> None:
    fields: dict[str, Any] = {"id": "ab", "state": "failed", "at": 12.5, "clock": 3.25, "mode": 'a "mode"', "pid": 42}
    fields |= {"host": "ho\\st", "thread": "th\nread", "error": "e\r\n", "output": "out", "cpu_s": 0.125, "ref": "ref"}
    event = TaskEvent(**fields, message="m \x1b \u202e \ud800 é")
    assert json.loads(event.to_line()) == fields | {"message": "m \x1b \u202e \\ud800 é"}
    assert event.to_line().count(b"\n") == 1
    assert event.where == "ho\\st pid 42 th\nread"


def test_lines_of_many_threads_stay_whole(journal: Journal) -> None:
    def write(number: int) -> None:
        for _ in range(200):
            journal.write(line(f"{number:04x}", "started", "x" * 300))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(written(journal)) == Path(journal.path).read_bytes().count(b"\n") == 1600


def test_an_event_after_a_torn_line_can_be_read(journal: Journal) -> None:
    put(journal, "aa", "accepted")
    with Path(journal.path).open("ab") as file:
        file.write(line("bb", "accepted", '{"id":"zz"}')[:-20])
    put(journal, "cc", "accepted")
    assert written(journal) == [("aa", "accepted"), ("cc", "accepted")]
    assert [record.id for record in indexed(journal).page(0, 10)] == ["aa", "cc"]


def test_reading_gives_whole_lines_only_and_goes_on_where_it_stopped(journal: Journal) -> None:
    first, second = line("aa", "accepted"), line("bb", "accepted", "x" * 1000)
    with Path(journal.path).open("ab", buffering=0) as file:
        file.write(first + second[:50])
        assert journal.read(0) == (first, len(first))
        assert journal.read(len(first)) == (b"", len(first))
        file.write(second[50:])
        # Longer than the limit, and given whole all the same.
        assert journal.read(len(first), limit=64) == (second, len(first + second))


def test_what_cannot_be_written_waits_is_said_once_and_comes_in_order(
    journal: Journal, capsys: pytest.CaptureFixture[str]
) -> None:
    put(journal, "aa", "accepted")
    with full_disk(journal):
        put(journal, "bb", "accepted", "started", "finished")
        assert journal.trouble == "No space left on device"
    put(journal, "cc", "accepted")
    until(lambda: not journal.trouble)
    expected = [("aa", "accepted"), ("bb", "accepted"), ("bb", "started"), ("bb", "finished"), ("cc", "accepted")]
    assert written(journal) == expected
    said = capsys.readouterr().err
    assert said.count("cannot be written (No space left on device)") == said.count("can be written again") == 1


def test_a_line_that_was_torn_where_the_disk_was_full_is_written_again_as_a_whole(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Journal(journal.path)
    write = os.write
    room: list[int] = []

    def write_if_there_is_room(file: int, data: bytes) -> int:
        if file != journal._file:
            return write(file, data)
        if not room:
            raise OSError(28, "No space left on device")
        return write(file, data[: room.pop()])

    with monkeypatch.context() as nearly_full:
        nearly_full.setattr(journal, "_append", write_if_there_is_room)
        nearly_full.setattr(os, "write", write_if_there_is_room)
        put(journal, "aa", "accepted", "started")
        room.append(150)
        put(journal, "aa", "finished")
        put(other, "bb", "accepted")
    until(lambda: not journal.trouble)
    assert written(journal) == [("aa", "accepted"), ("bb", "accepted"), ("aa", "started"), ("aa", "finished")]


def test_with_too_much_waiting_it_is_stuck_until_its_disk_has_room(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_file, "MOST_WAITING", 500)
    with full_disk(journal):
        put(journal, "aa", "accepted")
        stuck = [journal.stuck]
        put(journal, "aa", "started", "finished")
        put(journal, "bb", "accepted")
        stuck.append(journal.stuck)
    assert stuck == [False, True]
    until(lambda: not journal.stuck)
    assert len(written(journal)) == 4


def test_what_still_waits_at_the_end_is_said_to_be_missing(
    journal: Journal, capsys: pytest.CaptureFixture[str]
) -> None:
    put(journal, "aa", "accepted")
    with full_disk(journal):
        put(journal, "aa", "started", "finished")
        journal.finish()
    assert "2 events could not be written to the journal" in capsys.readouterr().err
    put(journal, "bb", "accepted")
    until(lambda: "journal" not in {thread.name for thread in threading.enumerate()})  # Nobody tries again.
    assert written(journal) == [("aa", "accepted")]


def test_unfinished_are_the_accepted_that_have_not_ended(journal: Journal) -> None:
    put(journal, "old", "accepted")
    index = Index(journal, journal.size())
    put(journal, "aa", "accepted", "started", "finished")
    put(journal, "bb", "accepted", "started")
    put(journal, "cc", "accepted")
    put(journal, "dd", "accepted", "cancelled")
    put(journal, "of another server", "started")
    assert [(task.id, task.state) for task in index.unfinished()] == [("bb", "started"), ("cc", "accepted")]


EVENTS = [
    TaskEvent("aa", "accepted", 1.0, 1.0, "process", "server", 1, "event loop", ref="r"),
    TaskEvent("aa", "started", 2.0, 2.0, "process", "worker", 2, "MainThread 2", "hello"),
    TaskEvent("aa", "failed", 3.0, 3.0, "process", "worker", 2, "MainThread 2", error="E", output="o", cpu_s=0.5),
    TaskEvent("aa", "lost", 4.0, 4.0, "process", "server", 1, "pool", error="Its process died."),
]


@pytest.mark.parametrize(
    "order",
    [order for order in permutations(EVENTS) if order[0].state in {"accepted", "started"}],
    ids=lambda order: " ".join(event.state for event in order),
)
def test_a_task_is_the_same_in_whatever_order_its_events_come(journal: Journal, order: tuple[TaskEvent, ...]) -> None:
    for event in order:
        journal.write(event.to_line())
    index = indexed(journal)
    record = index.find("aa")
    assert record
    assert record.state == "failed"  # That it was lost is what others conclude; an end that came is better.
    assert (record.accepted, record.starts, record.end) == (EVENTS[0], [EVENTS[1]], EVENTS[2])
    assert (record.message, record.ref) == ("hello", "r")
    assert index.unfinished() == []


def test_the_index_tells_an_end_once_and_a_task_that_is_begun_again_has_not_ended(journal: Journal) -> None:
    told: list[str] = []
    index = Index(journal, on_end=lambda task: told.append(task.state))
    put(journal, "aa", "accepted", "started")
    index.update()
    assert told == []
    put(journal, "aa", "failed", "lost")
    index.update()
    assert told == ["failed"]
    put(journal, "aa", "started")
    assert [task.state for task in index.unfinished()] == ["started"]
    put(journal, "aa", "finished")
    assert index.unfinished() == []
    assert told == ["failed", "finished"]


def test_the_index_keeps_the_last_ended_and_all_that_have_not_and_counts_the_rest(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_index, "MOST_ENDED", 10)
    index = Index(journal)
    put(journal, "slow", "accepted", "started", "failed", "started")  # it runs again
    for number in range(100):
        put(journal, f"{number}", "accepted", "started", "finished")
        index.update()
    assert (index.total, index.forgotten) == (101, 90)
    kept = ["slow", *map(str, range(90, 100))]
    assert [record.id for record in index.page(0, 101)] == kept
    assert [record.id for offset in range(0, 101, 4) for record in index.page(offset, 4)] == kept
    assert index.find("5") is None
    put(journal, "5", "lost")
    put(journal, "slow", "finished")
    index.update()
    slow = index.find("slow")
    assert slow
    assert slow.state == "finished"
    assert index.total == 101


def test_whoever_writes_an_event_beside_threads_keeps_the_interpreter_meanwhile(tmp_path: Path) -> None:
    journal = Journal(str(tmp_path / "journal"), beside_threads=True)
    with another_thread_waits() as its_turns:
        for _ in range(1000):
            put(journal, "aa", "accepted")
        assert its_turns == []
    assert len(written(journal)) == 1000
