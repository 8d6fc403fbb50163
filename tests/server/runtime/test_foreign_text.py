"""Text and bytes of every kind, from whoever sends or writes them: all of it is read, none of it is obeyed."""

import asyncio
import logging
import queue
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import samples
from strategies import events, foreign, hostile
from taskdemo_cli.processes.event_stream import Watcher
from taskdemo_server.access import Access
from taskdemo_server.api.events import stream
from taskdemo_server.api.state import State
from taskdemo_server.contract.events import TaskEvent
from taskdemo_server.contract.settings import Settings
from taskdemo_server.contract.text import escape, shortened, without_password
from taskdemo_server.journal.file import Journal
from taskdemo_server.journal.index import Index
from taskdemo_server.runtime.console import Briefly
from taskdemo_server.work.task_output import LONGEST_LINE, TaskOutput

few = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@given(hostile)
def test_visible_text_is_printable_and_what_was_visible_stays_as_it_was(text: str) -> None:
    shown = escape(text)
    assert shown.isprintable()
    assert escape(shown) == shown
    assert (shown == text) == text.isprintable()


@given(hostile, st.integers(0, 80))
def test_shortened_text_is_printable_and_fits_and_says_where_it_was_cut(text: str, width: int) -> None:
    shown = shortened(text, width)
    assert shown.isprintable()
    assert len(shown) <= max(width, 1)
    if len(escape(text)) <= width:
        assert shown == escape(text)
    else:
        assert shown.endswith("…")


@few
@given(st.one_of(foreign, st.binary(), st.text().map(lambda text: text.encode(errors="replace"))))
@example(b"[" * 100_000)
@example(b'{"id":' * 50_000)
@example(
    b'{"id":"a","state":"accepted","at":1,"clock":' + b"9" * 5000 + b',"mode":"m","host":"h","pid":1,"thread":"t"}'
)
@example(b'{"id":"a","state":["accepted"],"at":1,"clock":1,"mode":"m","host":"h","pid":1,"thread":"t"}')
@example(b'{"id":"a","state":"accepted","at":NaN,"clock":1,"mode":"m","host":"h","pid":1,"thread":"t"}')
def test_a_line_is_an_event_with_all_its_fields_or_none_at_all(line: bytes) -> None:
    event = TaskEvent.from_line(line)
    if event is not None:
        assert TaskEvent.from_line(event.to_line()) == event


@few
@given(events, events, st.data())
def test_an_event_is_one_line_and_survives_it_even_after_a_torn_one(
    torn: TaskEvent, event: TaskEvent, data: st.DataObject
) -> None:
    line = event.to_line()
    assert line.count(b"\n") == 1
    assert line.isascii()
    assert b"\r" not in line
    read = TaskEvent.from_line(line)
    assert read
    assert read.to_line() == line  # Not `read == event`: half a character is written as its escape.
    beginning = torn.to_line()[:-1][: data.draw(st.integers(0, len(torn.to_line()) - 1))]
    assert TaskEvent.from_line(beginning + line) == read


def journal_of(content: bytes, use: Callable[[Journal], Any]) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal"
        path.write_bytes(content)
        return use(Journal(str(path)))


OURS = [
    TaskEvent("0123456789abcdef", "accepted", 1.0, 1.0, "background", "here", 7, "event loop"),
    TaskEvent("0123456789abcdef", "started", 2.0, 2.0, "background", "here", 7, "thread", "m"),
    TaskEvent("fedcba9876543210", "accepted", 3.0, 3.0, "background", "here", 7, "event loop", samples.HOSTILE),
]


@few
@given(st.lists(foreign, max_size=6), st.lists(foreign, max_size=6))
def test_the_index_finds_our_tasks_among_whatever_else_is_in_the_journal(
    before: list[bytes], after: list[bytes]
) -> None:
    lines = [*before, *(event.to_line()[:-1] for event in OURS), *after, b"torn"]

    def use(journal: Journal) -> None:
        index = Index(journal)
        index.update()
        known = {record.id: record for record in index.page(0, 1000)}
        started, waiting = known[OURS[0].id], known[OURS[2].id]
        assert (started.state, started.message, started.starts) == ("started", "m", [OURS[1]])
        assert (waiting.state, waiting.message) == ("accepted", samples.HOSTILE.replace("\ud800", "\\ud800"))
        assert {OURS[0].id, OURS[2].id} <= {record.id for record in index.unfinished()}
        assert len(known) <= index.total

    journal_of(b"\n".join(lines), use)


def streamed(journal: Journal) -> bytes:
    async def read() -> bytes:
        draining = asyncio.Event()
        draining.set()
        state = SimpleNamespace(tracking=SimpleNamespace(journal=journal, draining=draining, awaited=False))
        return b"".join([piece async for piece in stream(cast("State", state), 0)])

    return asyncio.run(read())


@few
@given(st.lists(foreign | events.map(lambda event: event.to_line()[:-1]), max_size=8), st.data())
def test_who_follows_the_events_gets_those_of_the_journal_in_pieces_of_any_size(
    lines: list[bytes], data: st.DataObject
) -> None:
    content = b"".join(line + b"\n" for line in lines)
    sent = journal_of(content, streamed)
    heard: queue.Queue[tuple[str, Any]] = queue.Queue()
    watcher = Watcher("http://127.0.0.1:1", heard, 0)
    rest = b""
    while sent:
        size = data.draw(st.integers(1, len(sent)))
        *blocks, rest = (rest + sent[:size]).split(b"\n\n")
        watcher._hand_over(blocks)
        sent = sent[size:]
    assert rest == b""
    got = [event for _, each in list(heard.queue) for event in each.events]
    assert got == [event for line in lines if (event := TaskEvent.from_line(line.replace(b"\r", b" ")))]
    assert watcher._last_id == str(len(content))


@given(st.text() | st.from_regex(r"\[[0-9a-f:.]*\].{0,5}|[0-9.:a-z@-]{0,20}(:[0-9]*)?", fullmatch=True))
@example("localhost.evil.example")
@example("[::1].evil.example")
@example("127.0.0.1.evil.example")
@example("evil.example:80@127.0.0.1")
def test_only_addresses_and_our_own_names_are_ours(host: str) -> None:
    async def nobody(*_: Any) -> None:
        raise AssertionError

    access = Access(nobody, Settings(mode="background", journal=""))
    if access._is_ours(host.encode("latin-1", "replace")):
        name = host.lower()
        assert not any(letter in name for letter in "@/?# ")
        bare = name.rpartition("]")[0].removeprefix("[") if name.startswith("[") else name.partition(":")[0]
        assert bare in access._names or all(letter in "0123456789abcdef:.%" for letter in bare.partition("%")[0])


@given(st.lists(hostile, max_size=5))
def test_what_a_task_prints_is_shown_as_visible_lines(pieces: list[str]) -> None:
    said: list[str] = []
    output = TaskOutput("task 01234567", said.append)
    for piece in pieces:
        output.write(piece)
    output.end()
    assert all(line.isprintable() and len(line) <= LONGEST_LINE + 20 for line in said)


@given(hostile, hostile)
def test_what_the_log_says_is_one_visible_line(text: str, error: str) -> None:
    caught = ValueError(error)
    record = logging.LogRecord("uvicorn.error", logging.ERROR, __file__, 1, "%s", (text,), (ValueError, caught, None))
    line = Briefly().format(record)
    assert line.isprintable()
    assert len(line) <= 1000


@given(st.text(), st.text(min_size=8).filter(lambda text: text.strip("*")))
@example("[::1:6379", "pa/ss:wo@rd#?")
def test_a_brokers_password_is_never_shown(host: str, password: str) -> None:
    shown = without_password(f"redis://user:{password}@{host.replace('@', '')}")
    assert shown.isprintable()
    assert escape(password) not in shown.replace(escape(host.replace("@", "")), "")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://host:6379/0?password=hush&db=1", "redis://host:6379/0?password=***&db=1"),
        ("postgresql:///tasks?user=me&password=hu@sh", "postgresql:///tasks?user=me&password=***"),
        ("host=db password=hush user=me", "host=db password=*** user=me"),
        ("host=db password = 'hu sh' user=me", "host=db password = *** user=me"),
    ],
)
def test_a_password_elsewhere_in_the_address_of_a_broker_is_not_shown_either(url: str, shown: str) -> None:
    assert without_password(url) == shown
