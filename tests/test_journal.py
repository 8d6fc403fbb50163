"""The journal: whole lines whatever happens, nothing lost when the disk or the file goes away, and its folds."""

import json
import os
import stat
import threading
import time
from pathlib import Path

import pytest

from conftest import until
from taskdemo_server.contract.events import TaskEvent, TaskState, event_line, place_of
from taskdemo_server.journal.file import Journal, unfinished
from taskdemo_server.journal.index import Books

PLACE = place_of("background", "here")


def line(task_id: str, state: TaskState, clock: float = 1.0, message: str | None = None) -> bytes:
    return event_line(task_id, state, 1000.0 + clock, clock, PLACE, message)


def put(journal: Journal, task_id: str, *states: TaskState) -> None:
    for state in states:
        journal.write(line(task_id, state, message="m" if state == "accepted" else None), time.monotonic())


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(str(tmp_path / "journal"))


def content(journal: Journal) -> list[bytes]:
    return Path(journal.path).read_bytes().splitlines(keepends=True)


def test_a_line_built_by_hand_is_the_event_in_json() -> None:
    event = TaskEvent("ab", "failed", 12.5, 3.25, 'a "mode"', "wh\\ere\n", "m \x1b \u202e \ud800 é", "e\r\n")
    fields = json.loads(event.to_line())
    assert fields == {
        "id": "ab",
        "state": "failed",
        "at": 12.5,
        "clock": 3.25,
        "mode": 'a "mode"',
        "where": "wh\\ere\n",
        "message": "m \x1b \u202e \ud800 é",
        "error": "e\r\n",
    }
    assert event.to_line().count(b"\n") == 1
    assert TaskEvent.from_line(event.to_line()) == event


def test_the_file_is_private_to_the_user(journal: Journal) -> None:
    assert stat.S_IMODE(Path(journal.path).stat().st_mode) == 0o600


def test_lines_of_many_threads_stay_whole(journal: Journal) -> None:
    def write(number: int) -> None:
        for _ in range(200):
            journal.write(line(f"{number:04x}", "started", message="x" * 300), time.monotonic())

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    events = [TaskEvent.from_line(each) for each in content(journal)]
    assert len(events) == 1600
    assert None not in events


def test_an_event_after_a_torn_line_can_be_read(journal: Journal) -> None:
    put(journal, "aa", "accepted")
    with Path(journal.path).open("ab") as file:
        file.write(line("bb", "accepted", message='{"id":"zz"}')[:-20])
    put(journal, "cc", "accepted")
    events = [TaskEvent.from_line(each) for each in content(journal)]
    assert [event and event.id for event in events] == ["aa", "cc"]
    assert list(unfinished(journal)) == ["aa", "cc"]
    books = Books(journal)
    books.update()
    assert [record.id for record in books.page(0, 10)] == ["aa", "cc"]


def test_reading_gives_whole_lines_only_and_goes_on_where_it_stopped(journal: Journal) -> None:
    first = line("aa", "accepted")
    second = line("bb", "accepted", message="x" * 1000)
    with Path(journal.path).open("ab", buffering=0) as file:
        file.write(first + second[:50])
        assert journal.read(0) == (first, len(first))
        assert journal.read(len(first)) == (b"", len(first))
        file.write(second[50:])
        # Longer than the limit, and given whole all the same.
        assert journal.read(len(first), limit=64) == (second, len(first + second))


def test_a_deleted_journal_is_written_anew_with_all_that_was_in_it(
    journal: Journal, capsys: pytest.CaptureFixture[str]
) -> None:
    put(journal, "aa", "accepted")
    Path(journal.path).unlink()
    put(journal, "bb", "accepted")
    journal.size()
    put(journal, "cc", "accepted")
    assert [json.loads(each)["id"] for each in content(journal)] == ["aa", "bb", "cc"]
    assert "was deleted" in capsys.readouterr().err


def test_what_cannot_be_written_waits_is_said_once_and_comes_in_order(
    journal: Journal, capsys: pytest.CaptureFixture[str]
) -> None:
    real = os.dup(journal._file)
    full = os.open("/dev/full", os.O_RDWR)
    put(journal, "aa", "accepted")
    os.dup2(full, journal._file)
    journal._next_check = float("inf")  # Seeing that the file is another one would end the trouble.
    put(journal, "bb", "accepted", "started", "finished")
    os.dup2(real, journal._file)
    put(journal, "cc", "accepted")
    until(lambda: len(content(journal)) == 5)
    written = [(event.id, event.state) for each in content(journal) if (event := TaskEvent.from_line(each))]
    assert written[1:4] == [("bb", "accepted"), ("bb", "started"), ("bb", "finished")]
    assert ("cc", "accepted") in written
    assert capsys.readouterr().err.count("cannot be written (No space left on device)") == 1
    os.close(real)
    os.close(full)


def test_an_emptied_journal_is_followed_from_its_new_beginning(journal: Journal) -> None:
    put(journal, "aa", "accepted", "finished")
    _, offset = journal.read(0)
    os.truncate(journal.path, 0)
    put(journal, "bb", "accepted")
    lines, offset = journal.read(offset)
    assert (lines, offset) == (b"", 0)
    assert b'"bb"' in journal.read(offset)[0]


def test_unfinished_are_the_accepted_that_have_not_ended(journal: Journal) -> None:
    put(journal, "old", "accepted")
    since = journal.size()
    put(journal, "aa", "accepted", "started", "finished")
    put(journal, "bb", "accepted", "started")
    put(journal, "cc", "accepted")
    put(journal, "dd", "accepted", "cancelled")
    assert {task: event.message for task, event in unfinished(journal, since).items()} == {"bb": "m", "cc": "m"}


@pytest.mark.parametrize(
    ("states", "state"),
    [
        (["accepted"], "accepted"),
        (["started", "accepted"], "started"),
        (["accepted", "started", "lost"], "lost"),
        (["accepted", "started", "lost", "finished"], "finished"),
        (["accepted", "started", "finished", "lost"], "finished"),
        (["accepted", "started", "failed", "started", "finished"], "failed"),
    ],
)
def test_the_books_take_the_first_end_that_really_came(journal: Journal, states: list[TaskState], state: str) -> None:
    put(journal, "aa", *states)
    books = Books(journal)
    books.update()
    record = books.find("aa")
    assert record
    assert record.state == state


def test_the_books_read_on_and_page_in_the_order_of_acceptance(journal: Journal) -> None:
    books = Books(journal)
    for number in range(5):
        put(journal, f"{number}", "accepted")
        books.update()
    put(journal, "0", "started", "finished")
    books.update()
    assert [record.id for record in books.page(0, 10)] == ["0", "1", "2", "3", "4"]
    assert [record.id for record in books.page(3, 1)] == ["3"]
    record = books.find("0")
    assert record
    assert record.ended_at is not None
