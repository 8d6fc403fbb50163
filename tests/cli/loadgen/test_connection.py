"""The wire against raw sockets that misbehave: a right answer or a clear error, alone and in a whole run."""

import asyncio
import ssl
import time
import tracemalloc
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from in_process_load import answering, errors, fired, in_loop, read_request, url_of
from talks import listening
from taskdemo_cli.loadgen import engine
from taskdemo_cli.loadgen.connection import HEAD_LIMIT
from taskdemo_cli.loadgen.protocol import Done, Frame, Plan, Sample


@pytest.fixture(params=[False, True], ids=["plain", "TLS"])
def wire(request: pytest.FixtureRequest) -> ssl.SSLContext | None:
    return request.getfixturevalue("tls") if request.param else None


@dataclass
class Case:
    """What the server writes, and what must be seen: a status, or an error and why; and is the connection kept?"""

    parts: tuple[bytes, ...]
    status: int | None = 200
    error: str | None = None
    reason: str = ""
    """How it begins: the parser's own words differ from release to release."""
    kept: bool = True
    close: bool = False
    reset: bool = False
    method: str = "GET"


def answer(*parts: bytes, **given: Any) -> Case:
    return Case(parts, **given)


def last_answer(*parts: bytes, **given: Any) -> Case:
    return Case(parts, kept=False, **given)


def none(*parts: bytes, reason: str, error: str = "RemoteProtocolError", **given: Any) -> Case:
    return Case(parts, error=error, reason=reason, kept=False, **given)


def no_http(*parts: bytes, why: str = "") -> Case:
    return none(*parts, reason=f"The response is not HTTP: {why}")


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
CUT = "Server disconnected before the response was complete"
SILENT = "Server disconnected without sending a response"
CASES = {
    "plain": answer(OK),
    "byte by byte": answer(*(OK[i : i + 1] for i in range(len(OK)))),
    "no reason phrase": answer(b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nhi"),
    "empty body": answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    "chunked": answer(CHUNKED + b"5\r\nhello\r\n", b"1\r\n!\r\n0\r\n\r\n"),
    "chunk extensions and trailers": answer(
        CHUNKED + b'5;a=b;c="d"\r\nhello\r\n', b"0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n"
    ),
    "bad chunk size": no_http(CHUNKED + b"zz\r\nhello\r\n"),
    "connection close": last_answer(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi"),
    "body until the end of the connection": last_answer(b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo", close=True),
    "HTTP/1.0 with a length": last_answer(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
    "HTTP/1.0 without one": last_answer(b"HTTP/1.0 200 OK\r\n\r\nhi", close=True),
    "HTTP/1.0 keep-alive": answer(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi"),
    "100 Continue first": answer(b"HTTP/1.1 100 Continue\r\n\r\n" + OK),
    "103 Early Hints first, twice": answer(HINTS, b"HTTP/1.1 103 Early Hints\r\n\r\n", OK),
    "only 100 Continue": none(b"HTTP/1.1 100 Continue\r\n\r\n", reason=SILENT, close=True),
    "HEAD": answer(b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n", method="HEAD"),
    "HEAD, chunked": answer(CHUNKED, method="HEAD"),
    "HEAD, no length": answer(b"HTTP/1.1 200 OK\r\n\r\n", method="HEAD"),
    "HEAD, no length, the last": last_answer(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", method="HEAD"),
    "HEAD, no length, HTTP/1.0": last_answer(b"HTTP/1.0 200 OK\r\n\r\n", method="HEAD"),
    "HEAD, empty": answer(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", method="HEAD"),
    "HEAD, with a body all the same": last_answer(OK, method="HEAD"),
    "204": answer(b"HTTP/1.1 204 No Content\r\n\r\n", status=204),
    "304 with a length": answer(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", status=304),
    "404": answer(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno", status=404),
    "closed without a byte": none(reason=SILENT, close=True),
    "cut short in the status line": none(b"HTTP/1.", reason=CUT, close=True),
    "cut short in the headers": none(b"HTTP/1.1 200 OK\r\nContent-", reason=CUT, close=True),
    "cut short in the body": none(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhi", reason=CUT, close=True),
    "cut short in a chunk": none(CHUNKED + b"5\r\nhe", reason=CUT, close=True),
    "garbage": no_http(b"\x00\xff SSH-2.0-OpenSSH\r\n\r\n", why="Expected HTTP/"),
    "folded header": no_http(b"HTTP/1.1 200 OK\r\nX-Long: one\r\n two\r\nContent-Length: 2\r\n\r\nhi"),
    "lines that end with LF alone": no_http(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi"),
    "two lengths": no_http(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi", why="Duplicate Content-Length"
    ),
    "a status that is none": no_http(OK.replace(b"200", b"099"), why="its status is 99"),
    "another protocol, asked for or not": none(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nxx",
        reason="The server switched protocols, which is not supported",
    ),
    "reset": none(OK[:-2], error="ReadError", reason="Connection reset by peer", reset=True),
    "bytes beyond the response": last_answer(OK + b"HTTP/1.1 200 OK\r\nContent-Le"),
    "a whole second response": last_answer(OK + OK),
    "garbage beyond the response": last_answer(OK + b"\x00\x01"),
    "endless headers": none(
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * (HEAD_LIMIT + 300_000),
        reason=f"The headers are longer than {HEAD_LIMIT} bytes",
    ),
    "headers just small enough": answer(
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: " + b"a" * (HEAD_LIMIT - 100) + b"\r\n\r\n"
    ),
    "a long body": answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n" + b"b" * 5_000_000),
}


@pytest.mark.parametrize("name", CASES)
def test_every_answer_counts_or_says_why_it_is_none_and_only_good_connections_are_kept(
    name: str, wire: ssl.SSLContext | None
) -> None:
    case = CASES[name]
    script, connections = answering(*case.parts, close=case.close, reset=case.reset)
    samples = fired(script, tls=wire, method=case.method, count=3, concurrency=1)
    assert errors(samples) == [case.error] * 3
    for *moments, status, error, _, reason in samples:
        known = [moment for moment in moments[1:] if moment is not None]
        assert known == sorted(known)
        assert error is not None or (status, len(known)) == (case.status, 4)
        assert str(reason or "").startswith(case.reason)
    assert len(connections) == (1 if case.kept else 3)


def test_who_is_silent_stops_half_way_drips_or_never_ends_is_waited_for_until_time_is_up() -> None:
    drips, endless = [b"HTTP/1.1 200 OK\r\nX: ", *[b"s"] * 5000], [CHUNKED, *[b"400\r\n%b\r\n" % (b"x" * 1024)] * 5000]
    scripts = iter([answering(*parts)[0] for parts in ([], [OK[:25]], drips, endless)])
    samples = fired(lambda *streams: next(scripts)(*streams), count=4, timeout_s=1.6)
    assert errors(samples) == ["ReadTimeout"] * 4
    assert [first_byte is None for _, _, _, first_byte, *_ in samples].count(True) == 1


def test_a_task_id_is_read_whatever_its_case_and_never_from_a_trailer_or_an_informational_response() -> None:
    parts = (
        (
            b"HTTP/1.1 103 Early Hints\r\nX-Task-ID: early\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nx-TASK-id: right\r\n\r\n0\r\nX-Task-ID: trailer\r\n\r\n"
        ),
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    )

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            await read_request(reader)
            writer.write(part)

    assert [sample[7] for sample in fired(script, count=2, concurrency=1)] == ["right", None]


@pytest.mark.parametrize(
    ("before", "after", "counts"),
    [(OK[:10], OK[10:], False), (HINTS, OK, True)],
    ids=["slow headers", "an interim response"],
)
def test_the_first_byte_is_that_of_the_answer_however_slow_and_not_of_an_interim_response(
    before: bytes, after: bytes, counts: bool
) -> None:
    went_on: list[float] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(before)
        for _ in range(10):  # turns of the loop, however long each: the client has read that by then
            await asyncio.sleep(0.01)
        went_on.append(time.monotonic())
        writer.write(after)

    ((_, _, _, first_byte, done, _, error, _, _),) = fired(script, count=1)
    assert error is None
    assert first_byte is not None
    assert done is not None
    assert (first_byte >= went_on[0]) is counts
    assert done >= went_on[0]


PIECES = st.sampled_from(
    [
        OK,
        OK[:9],
        OK[:-1],
        OK.replace(b"200", b"503"),
        OK.replace(b"200", b"099"),
        OK.replace(b"200 OK", b"307 X\r\nLocation: /other"),
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nX-Task-ID: early\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\n",
        b"\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x00\xff",
        b"",
    ]
)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(PIECES, st.booleans()), max_size=5), *[st.booleans()] * 4)
def test_whatever_is_answered_every_request_has_one_end_and_times_in_their_order(
    tls: ssl.SSLContext, pieces: list[tuple[bytes, bool]], early: bool, close: bool, long_body: bool, secure: bool
) -> None:
    """Interim, cut, early, slow, foreign: in any order and in any pieces."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            if early:  # before it has read anything
                await asyncio.sleep(0)
            else:
                await read_request(reader)
            for piece, slowly in pieces:
                writer.write(piece)
                if slowly:
                    await writer.drain()
                    await asyncio.sleep(0.001)
            if early:
                await read_request(reader)
            if close:
                return

    body = "x" * (3_000_000 if long_body else 3)
    samples = fired(
        script, tls=tls if secure else None, method="POST", body=body, count=4, concurrency=2, timeout_s=0.2
    )
    assert 1 <= len(samples) <= 4
    assert len({n for n, *_ in samples}) == len(samples)
    for _, planned, sent, first, done, status, error, _, reason in samples:
        known = [moment for moment in (planned, sent, first, done) if moment is not None]
        assert known == sorted(known)
        assert error is not None or (status is not None and status >= 200)
        assert error is not None or reason is None


def test_a_server_that_speaks_first_is_not_said_to_have_hung_up(wire: ssl.SSLContext | None) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        greeted.append(1)
        writer.write(b"220 mail.example ESMTP\r\n")
        await reader.read()

    greeted: list[int] = []
    samples = fired(script, tls=wire, count=8)
    assert len(greeted) == 8
    reasons = {str(sample[8]) for sample in samples}
    assert "The server sent bytes before it was asked" in reasons
    assert SILENT not in reasons


@pytest.mark.parametrize(("method", "size"), [("GET", 2), ("HEAD", 0)])
def test_what_follows_a_response_is_no_part_of_its_body(method: str, size: int) -> None:
    async def fire() -> list[Sample]:
        async with listening(answering(OK + OK)[0]) as server:
            await engine.Run(Plan(url=url_of(server), method=method, count=3), frames.append, connections=9).go()
        return []

    frames: list[Frame] = []
    in_loop(fire())
    assert [frame.body_bytes for frame in frames if isinstance(frame, Done)] == [3 * size]


def test_an_answer_that_has_arrived_counts_although_sending_the_rest_failed(
    wire: ssl.SSLContext | None,
) -> None:
    refusal = b"HTTP/1.1 413 Payload Too Large\r\nConnection: close\r\nContent-Length: 9\r\n\r\ntoo large"

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(refusal)  # and closes with the body unread, which resets the connection

    samples = fired(script, tls=wire, method="POST", body="x" * 20_000_000, count=6, concurrency=2)
    assert [sample[5] for sample in samples] == [413] * 6
    assert errors(samples) == [None] * 6


def test_what_is_refused_early_is_given_up_so_that_connections_and_memory_do_not_grow_with_the_requests(
    wire: ssl.SSLContext | None,
) -> None:
    body, at_once = "x" * 5_000_000, 2
    kept: list[int] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        port = writer.get_extra_info("sockname")[1]
        ends = psutil.Process().net_connections("tcp")
        kept.append(sum(bool(end.raddr) and end.raddr.port == port for end in ends))
        writer.write(b"HTTP/1.1 413 Payload Too Large\r\nContent-Length: 0\r\n\r\n")
        await asyncio.sleep(10)  # and reads no more

    tracemalloc.start()
    try:
        peaks = []
        for count in (2, 12):
            tracemalloc.reset_peak()
            samples = fired(script, tls=wire, method="POST", body=body, count=count, concurrency=at_once)
            peaks.append(tracemalloc.get_traced_memory()[1])
            assert [sample[5] for sample in samples] == [413] * count
    finally:
        tracemalloc.stop()
    assert max(kept) == at_once
    assert peaks[1] < 3 * peaks[0]  # and not 5 times as much: bodies that are given up may wait for the collector


def test_a_request_that_says_it_is_the_last_on_its_connection_is() -> None:
    script, connections = answering(OK)
    samples = fired(script, headers=[("Connection", "close")], count=3, concurrency=1)
    assert (errors(samples), len(connections)) == ([None] * 3, 3)


def test_a_stall_of_the_clients_own_loop_counts_for_as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(engine, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(engine, "Timer", lambda *_: SimpleNamespace(at=lambda when: None, close=lambda: None))
    with asyncio.Runner() as runner:
        lag = engine.LoopLag(runner.get_loop())
    for _ in range(900):
        now += engine.LAG_TICK_S
        lag._tick()
    now += 1.0
    lag._tick()
    assert 0.85 < lag.close() < 1.0


def test_a_request_is_not_sent_a_second_time_when_a_kept_connection_breaks_under_it() -> None:
    requests: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await read_request(reader))
        writer.write(OK)
        requests.append(await read_request(reader))

    assert errors(fired(script, count=2, concurrency=1)) == [None, "RemoteProtocolError"]
    assert len(requests) == 2


@pytest.mark.parametrize("more", [b"", OK], ids=["closed", "with bytes that nobody asked for"])
def test_an_idle_connection_that_is_no_good_any_more_is_replaced(more: bytes) -> None:
    connections: list[int] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        await read_request(reader)
        writer.write(OK)
        await asyncio.sleep(0.01)
        if more:
            writer.write(more)
            await reader.read()

    assert errors(fired(script, count=2, rate=1)) == [None, None]
    assert len(connections) == 2


def test_a_request_body_arrives_whole_even_when_it_is_larger_than_the_sockets_buffer() -> None:
    body = b"x" * 8_000_000
    got: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            got.append(await reader.readexactly(len(body)))
            writer.write(OK)

    samples = fired(script, method="POST", body=body.decode(), count=2, concurrency=1)
    assert errors(samples) == [None, None]
    assert got == [body, body]
