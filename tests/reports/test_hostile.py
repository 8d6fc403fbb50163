"""Text and bytes of every kind, from whoever sends or writes them: all of it is read, none of it is obeyed."""

import asyncio
import copy
import io
import json
import logging
import queue
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console, RenderableType
from taskdemo_server.accepting import message_of
from taskdemo_server.app import stream

import samples
from taskdemo_cli.processes.event_stream import Watcher
from taskdemo_cli.reports.terminal.limits import limits_report
from taskdemo_cli.reports.terminal.report import comparison_report, run_report
from taskdemo_cli.reports.terminal.timeline import timeline
from taskdemo_server import broker
from taskdemo_server.access import Gate
from taskdemo_server.contract.events import MESSAGE_LIMIT, TaskEvent
from taskdemo_server.contract.settings import Settings
from taskdemo_server.contract.text import escape, shortened
from taskdemo_server.journal.file import Journal, unfinished
from taskdemo_server.journal.index import Books
from taskdemo_server.runtime.console import Briefly
from taskdemo_server.work.task_output import LONGEST_LINE, Printed

few = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])

WORST = [
    samples.HOSTILE,
    "\x1b]8;;http://evil.example\x07link\x1b]8;;\x07",
    "\x9b31m\x90q\x9c",
    "\u2066\u202e\u200b\u2028\u2029\ufeff",
    "[/] [bold] [link=file:///etc] :smile: \\[",
    "\r\n\0\x08\x7f\t",
    "\udfff\ud800\U000e0001\ue000",
    "<b>&amp;'\"</b>",
    "e\u0301\u0301\u0301 \U0001f468\u200d\U0001f469 \uff57\uff49\uff44\uff45",
]
hostile = st.one_of(st.sampled_from(WORST), st.text(st.characters(), max_size=60))  # Surrogates too.
states = st.sampled_from(["accepted", "started", "finished", "failed", "cancelled", "lost"])
times = st.floats(0, 1e10).map(lambda value: round(value, 6))
events = st.builds(
    TaskEvent,
    id=st.text("0123456789abcdef", min_size=1, max_size=16),
    state=states,
    at=times,
    clock=times,
    mode=hostile,
    where=hostile,
    message=st.none() | hostile,
    error=st.none() | hostile,
    output=st.none() | hostile,
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | hostile,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "state", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
nearly = st.fixed_dictionaries(
    {
        "id": values,
        "state": values | states,
        "at": values | times,
        "clock": values | times,
        "mode": values,
        "where": values,
    },
    optional={"message": values, "error": values, "output": values},
).map(lambda fields: json.dumps(fields, separators=(",", ":")).encode())
foreign = st.one_of(nearly, st.binary(max_size=200), values.map(lambda value: json.dumps(value).encode())).map(
    lambda line: line.replace(b"\n", b"")
)


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


@given(st.one_of(foreign, st.binary(), st.text().map(lambda text: text.encode(errors="replace"))))
@example(b"[" * 100_000)
@example(b'{"id":' * 50_000)
@example(b'{"id":"a","state":"accepted","at":1,"clock":' + b"9" * 5000 + b',"mode":"m","where":"w"}')
@example(b'{"id":"a","state":["accepted"],"at":1,"clock":1,"mode":"m","where":"w"}')
@example(b'{"id":"a","state":"accepted","at":NaN,"clock":1,"mode":"m","where":"w"}')
def test_a_line_is_an_event_with_all_its_fields_or_none_at_all(line: bytes) -> None:
    event = TaskEvent.from_line(line)
    if event is not None:
        assert event.is_sound()
        assert TaskEvent.from_line(event.to_line()) == TaskEvent.from_line(event.to_line().decode())


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
    assert read.to_line() == line  # Not `read == event`: JSON makes one character of two surrogates that are a pair.
    beginning = torn.to_line()[:-1][: data.draw(st.integers(0, len(torn.to_line()) - 1))]
    assert TaskEvent.from_line(beginning + line) == read


def journal_of(content: bytes, use: Callable[[Journal], Any]) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal"
        path.write_bytes(content)
        journal = Journal(str(path))
        try:
            return use(journal)
        finally:
            journal.close()


OURS = [
    TaskEvent("0123456789abcdef", "accepted", 1.0, 1.0, "background", "here", "m"),
    TaskEvent("0123456789abcdef", "started", 2.0, 2.0, "background", "here"),
    TaskEvent("fedcba9876543210", "accepted", 3.0, 3.0, "background", "here", samples.HOSTILE),
]


@few
@given(st.lists(foreign, max_size=6), st.lists(foreign, max_size=6))
def test_the_books_find_our_tasks_among_whatever_else_is_in_the_journal(
    before: list[bytes], after: list[bytes]
) -> None:
    lines = [*before, *(event.to_line()[:-1] for event in OURS), *after, b"torn"]

    def use(journal: Journal) -> None:
        books = Books(journal)
        books.update()
        known = {record.id: record for record in books.page(0, 1000)}
        started, waiting = known[OURS[0].id], known[OURS[2].id]
        assert (started.state, started.message, started.where) == ("started", "m", "here")
        assert (waiting.state, waiting.message) == ("accepted", samples.HOSTILE)
        assert {OURS[0].id, OURS[2].id} <= set(unfinished(journal))
        assert len(known) <= books.total

    journal_of(b"\n".join(lines), use)


def streamed(journal: Journal) -> bytes:
    async def read() -> bytes:
        ending = asyncio.Event()
        ending.set()
        return b"".join([piece async for piece in stream(journal, 0, ending, set())])

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
    got = [event for _, each in list(heard.queue) for event in each]
    assert got == [event for line in lines if (event := TaskEvent.from_line(line.replace(b"\r", b" ")))]
    assert watcher._last_id == str(len(content))


def test_the_events_after_a_hole_carry_the_offset_after_them() -> None:
    sent = journal_of(b"\0\0\n", streamed)
    assert sent.endswith(b"id: 3\ndata: \n\n")


@given(st.lists(st.binary() | st.just(b"id: 7\ndata: x") | foreign.map(lambda line: b"data:" + line), max_size=5))
def test_whatever_a_server_streams_only_events_and_numbers_are_taken_from_it(blocks: list[bytes]) -> None:
    heard: queue.Queue[tuple[str, Any]] = queue.Queue()
    watcher = Watcher("http://127.0.0.1:1", heard, 0)
    watcher._hand_over(blocks)
    assert all(isinstance(event, TaskEvent) for _, each in list(heard.queue) for event in each)
    assert watcher._last_id.isdigit()


@given(st.binary(max_size=300) | st.text(max_size=60).map(lambda text: b"message=" + text.encode(errors="replace")))
@example(b"message=%ff%00%ed%a0%80")
@example(b"message=" + b"%c3%a4" * (MESSAGE_LIMIT + 1))
def test_a_query_gives_a_message_that_is_text_or_is_refused(query: bytes) -> None:
    try:
        message = message_of(query)
    except RequestValidationError:
        return
    assert len(message) <= MESSAGE_LIMIT
    assert message.encode().decode() == message


@given(st.text() | st.from_regex(r"\[[0-9a-f:.]*\].{0,5}|[0-9.:a-z@-]{0,20}(:[0-9]*)?", fullmatch=True))
@example("localhost.evil.example")
@example("[::1].evil.example")
@example("127.0.0.1.evil.example")
@example("evil.example:80@127.0.0.1")
def test_only_addresses_and_our_own_names_are_ours(host: str) -> None:
    async def nobody(*_: Any) -> None:
        raise AssertionError

    gate = Gate(nobody, Settings(mode="background", journal=""))
    if gate._is_ours(host.encode("latin-1", "replace")):
        name = host.lower()
        assert not any(letter in name for letter in "@/?# ")
        bare = name.rpartition("]")[0].removeprefix("[") if name.startswith("[") else name.partition(":")[0]
        assert bare in gate._names or all(letter in "0123456789abcdef:.%" for letter in bare.partition("%")[0])


@given(st.lists(hostile, max_size=5))
def test_what_a_task_prints_is_shown_as_visible_lines(pieces: list[str]) -> None:
    said: list[str] = []
    printed = Printed("task 01234567", said.append)
    for piece in pieces:
        printed.write(piece)
    printed.end()
    assert all(line.isprintable() and len(line) <= LONGEST_LINE + 20 for line in said)


@given(hostile, hostile)
def test_what_the_log_says_is_one_visible_line(text: str, error: str) -> None:
    caught = ValueError(error)
    record = logging.LogRecord("uvicorn.error", logging.ERROR, __file__, 1, "%s", (text,), (ValueError, caught, None))
    line = Briefly().format(record)
    assert line.isprintable()
    assert len(line) <= 1000


@settings(deadline=None)
@given(hostile)
@example("((((" * 3000)
@example("E({[]: 1})")
@example("E('a', b'\\xff', 1)")
def test_what_celery_says_of_an_error_is_text(exception: str) -> None:
    pytest.importorskip("celery", reason="the extra `celery` is not installed")
    from taskdemo_server.celery_events import _said

    assert isinstance(_said(exception), str)


@given(st.text(), st.text(min_size=8).filter(lambda text: text.strip("*")))
@example("[::1:6379", "pa/ss:wo@rd#?")
def test_a_brokers_password_is_never_shown(host: str, password: str) -> None:
    shown = broker.shown(f"redis://user:{password}@{host.replace('@', '')}")
    assert shown.isprintable()
    assert escape(password) not in shown.replace(escape(host.replace("@", "")), "")


def lines_of(report: RenderableType, width: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, markup=False, emoji=False, highlight=False).print(report)
    return out.getvalue().split("\n")


def with_texts(value: Any, text: str, path: str = "") -> Any:
    """Replace every text that comes from outside; those which the program itself chooses from few stay."""
    if isinstance(value, dict):
        return {key: with_texts(item, text, key) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [with_texts(item, text, path) for item in value]
    free = {"url", "error", "where", "message", "text", "verdict", "why", "command", "ended_because", "work", "output"}
    return text if isinstance(value, str) and path in free and value not in ("yes", "no", "partly") else value


def documents() -> list[Callable[[str], RenderableType]]:
    comparison, limits = json.loads(json.dumps(samples.comparison_document(2), default=list)), samples.limits_document()
    runs = [samples.saved(make()) for make in samples.ALL_RUNS.values()]
    return [
        *(lambda text, run=run: run_report(with_texts(copy.deepcopy(run), text)) for run in runs),
        lambda text: comparison_report(with_texts(comparison, text)),
        lambda text: timeline([with_texts(run, text) for run in comparison["runs"]]),
        lambda text: limits_report(with_texts(json.loads(json.dumps(limits)), text)),
    ]


@pytest.mark.parametrize("number", range(len(documents())))
@settings(max_examples=5, deadline=None)
@given(text=hostile, width=st.sampled_from([60, 80, 120]))
@example(text="x" * 10_000, width=60)
@example(text=samples.HOSTILE, width=80)
def test_no_text_reaches_the_terminal_but_as_visible_text_that_fits(number: int, text: str, width: int) -> None:
    for line in lines_of(documents()[number](text), width):
        assert line.isprintable()
        assert cell_len(line) <= width
