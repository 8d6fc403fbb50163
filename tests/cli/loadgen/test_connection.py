"""The wire against raw sockets that misbehave: a right answer or a clear error, alone and in a whole run."""

import asyncio
import contextlib
import gc
import socket
import ssl
import struct
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import httpx
import psutil
import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates import server_context
from talks import Talk, listening
from taskdemo_cli.loadgen import engine
from taskdemo_cli.loadgen import tls as tls_connection
from taskdemo_cli.loadgen.connection import HEAD_LIMIT, Connection
from taskdemo_cli.loadgen.engine import Run
from taskdemo_cli.loadgen.origin import Origin
from taskdemo_cli.loadgen.protocol import LATE_S, Batch, Done, Frame, Plan, Sample

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ssl.SSLContext]:
    """What a server needs that the client trusts."""
    folder = tmp_path_factory.mktemp("tls")
    context = server_context(folder)
    trusting = ssl.create_default_context(cafile=folder / "certificate.pem")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tls_connection, "context", lambda: trusting)
        yield context


@pytest.fixture(params=[False, True], ids=["plain", "TLS"])
def wire(request: pytest.FixtureRequest) -> ssl.SSLContext | None:
    return request.getfixturevalue("tls") if request.param else None


async def reported(plan: Plan) -> list[Sample]:
    """What the load process reports of each request of a plan, in the order of their numbers."""
    frames: list[Frame] = []
    await Run(plan, frames.append, connections=100).go()
    return sorted(sample for frame in frames if isinstance(frame, Batch) for sample in frame.samples)


def url_of(server: asyncio.Server, host: str = "127.0.0.1", *, secure: bool = False) -> str:
    port = server.sockets[0].getsockname()[1]
    return str(httpx.URL(scheme="https" if secure else "http", host=host, port=port, path="/"))


def fired(
    script: Talk,
    *,
    loop: LoopFactory = uvloop.new_event_loop,
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
    path: str = "",
    name: str | None = None,
    **plan: Any,
) -> list[Sample]:
    """Fire a plan at a server of this script, by another name of it where one is given."""

    async def fire() -> list[Sample]:
        async with listening(script, host=host, tls=tls) as server:
            url = url_of(server, name or host, secure=tls is not None)
            return await reported(Plan(url=url + path, **plan))

    return in_loop(fire(), loop)


def in_loop(work: Coroutine[Any, Any, list[Sample]], loop: LoopFactory = uvloop.new_event_loop) -> list[Sample]:
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(asyncio.wait_for(work, 60))


def errors(samples: list[Sample]) -> list[str | None]:
    return [sample[6] for sample in samples]


async def read_request(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


def answering(*parts: bytes, close: bool = False, reset: bool = False) -> tuple[Talk, list[int]]:
    """A server that gives every request the same answer, in separate writes; the list counts its connections."""
    connections: list[int] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        while True:
            await read_request(reader)
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0.001)
            if reset:
                raw = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
            if close or reset:
                return

    return script, connections


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
    "unasked 101": none(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nxx",
        reason="The server switched protocols without being asked",
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


@pytest.mark.parametrize("limit", [{"timeout_s": 1.5}, {"request_timeout_s": 1.5}], ids=["the run's", "its own"])
def test_a_connection_that_does_not_come_about_in_time_is_given_up_and_keeps_no_other_from_its_request(
    limit: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, script = Origin.connect, answering(OK)[0]
    begun: list[int] = []

    async def connect(origin: Origin, connection: Connection) -> None:
        begun.append(1)
        await (asyncio.sleep(60) if len(begun) == 5 else real(origin, connection))

    monkeypatch.setattr(Origin, "connect", connect)
    samples = fired(script, count=5, **limit)
    assert errors(samples) == [None] * 4 + ["ConnectTimeout"]
    _, planned, sent, _, done, *_ = samples[4]
    assert sent is None
    assert done is not None
    assert done - planned >= 1.5


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


@pytest.mark.parametrize("refused", [False, True])
def test_a_connection_that_is_made_or_refused_as_the_run_is_stopped_counts_as_not_sent(
    refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Done] = []

    async def fire() -> list[Sample]:
        opened, go_on = asyncio.Event(), asyncio.Event()
        real = Origin.connect

        async def connect(origin: Origin, connection: Connection) -> None:
            if not refused:
                await real(origin, connection)
            opened.set()
            await go_on.wait()
            if refused:
                raise ConnectionRefusedError

        monkeypatch.setattr(Origin, "connect", connect)
        frames: list[Frame] = []
        run = Run(Plan(url=f"http://127.0.0.1:{server.getsockname()[1]}/", count=1, rate=1), frames.append, 10)
        going = asyncio.create_task(run.go())
        await opened.wait()
        go_on.set()
        run.stop()
        await going
        done.extend(frame for frame in frames if isinstance(frame, Done))
        return [sample for frame in frames if isinstance(frame, Batch) for sample in frame.samples]

    with socket.create_server(("127.0.0.1", 0)) as server:
        assert in_loop(fire()) == []
        if not refused:
            with server.accept()[0] as end, contextlib.suppress(ConnectionResetError):
                assert end.recv(100) == b""
    assert done[0].not_sent == 1


def test_requests_that_are_given_up_in_the_queue_for_connections_open_no_more_of_them() -> None:
    most = 0
    frames: list[Frame] = []

    async def fire() -> list[Sample]:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal most
            most = max(most, len(run._waiting) + len(run._in_flight))
            await reader.read()

        async with listening(script) as server:
            plan = Plan(url=url_of(server), rate=100, count=60, request_timeout_s=0.5)
            run = Run(plan, frames.append, connections=4)
            await run.go()
        return [sample for frame in frames if isinstance(frame, Batch) for sample in frame.samples]

    samples = in_loop(fire())
    assert len(samples) == 60
    assert {"ReadTimeout", "PoolTimeout"} <= set(errors(samples)) <= {"ReadTimeout", "PoolTimeout", "ConnectTimeout"}
    late = [sent for _, planned, sent, *_ in samples if sent is not None and sent - planned > LATE_S]
    (done,) = (frame for frame in frames if isinstance(frame, Done))
    assert 0 < done.late_unconnected <= done.late == len(late), "sent late, though never answered"
    assert most <= 2 * 4  # on a machine so slow that connecting takes too long, one is given up as the next is opened


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(("host", "reason"), [("127.0.0.1:9", "Connection refused"), ("no-such-host.invalid", "known")])
def test_why_a_connection_could_not_be_opened_is_told(host: str, reason: str, scheme: str) -> None:
    url = f"{scheme}://{host}/"
    for plan in (Plan(url=url, count=3, concurrency=2), Plan(url=url, count=3, rate=500)):
        for at, (n, _, sent, _, _, status, error, _, told) in enumerate(in_loop(reported(plan)), 1):
            assert (n, sent, status, error) == (at, None, None, "ConnectError")
            assert reason in str(told)
        assert at == 3


@pytest.mark.parametrize("refusal", ["", "407 Proxy Authentication Required"])
def test_https_goes_through_a_tunnel_of_the_proxy_that_the_environment_names(
    refusal: str, tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await read_request(reader))
        writer.write(f"HTTP/1.1 {refusal or '200 Connection established'}\r\n\r\n".encode())
        if not refusal:
            await writer.start_tls(tls)
            while True:
                asked.append(await read_request(reader))
                writer.write(OK)

    async def fire() -> list[Sample]:
        async with listening(proxy) as server:
            address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            monkeypatch.setenv("https_proxy", f"http://me:secret@{address}")
            for name in ("no_proxy", "NO_PROXY"):
                monkeypatch.delenv(name, raising=False)
            return await reported(Plan(url="https://taskdemo.invalid/x", count=2, concurrency=1))

    samples = in_loop(fire(), asyncio.new_event_loop)
    assert asked[0].startswith(b"CONNECT taskdemo.invalid:443 HTTP/1.1\r\nHost: taskdemo.invalid:443\r\n")
    assert b"\r\nProxy-Authorization: Basic bWU6c2VjcmV0\r\n" in asked[0]
    if refusal:
        assert {sample[8] for sample in samples} == {f"the proxy does not connect: HTTP/1.1 {refusal}"}
        return
    assert errors(samples) == [None, None]
    assert [request.partition(b"\r\n")[0] for request in asked[1:]] == [b"GET /x HTTP/1.1"] * 2
    assert not any(b"Proxy-" in request for request in asked[1:])


def test_a_server_that_wants_a_certificate_says_so_to_callers_who_wait_for_others_too(
    tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tls, "verify_mode", ssl.CERT_REQUIRED)

    def refuse() -> None:
        """Shake hands with one after another: the first has its refusal before the last is connected."""
        for _ in range(10):
            ends.append(tls.wrap_socket(listener.accept()[0], server_side=True, do_handshake_on_connect=False))
            with contextlib.suppress(ssl.SSLError):
                ends[-1].do_handshake()

    ends: list[ssl.SSLSocket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)
        refusing = threading.Thread(target=refuse)
        refusing.start()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        try:
            samples = in_loop(reported(Plan(url=url, count=10, concurrency=5)))
        finally:
            refusing.join()
            for end in ends:
                end.close()
    assert errors(samples) == ["ReadError"] * 10
    assert {sample[8] for sample in samples} == {"TLS: tlsv13 alert certificate required"}


def test_a_handshake_that_fails_leaves_nothing_for_the_collector_which_is_off_in_a_run(tls: ssl.SSLContext) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)

    async def fire() -> list[Sample]:
        async with listening(script) as server:
            gc.collect()
            gc.disable()
            try:
                samples = await reported(Plan(url=url_of(server, secure=True), count=50, concurrency=4))
                await asyncio.sleep(0)
                left.extend(one for one in gc.get_objects() if isinstance(one, tls_connection.TlsConnection))
            finally:
                gc.enable()
            return samples

    left: list[tls_connection.TlsConnection] = []
    assert errors(in_loop(fire())) == ["ConnectError"] * 50
    assert not left


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

    assert errors(fired(script, count=2, rate=3)) == [None, None]
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


def test_many_connect_at_once_to_a_name_whose_first_address_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    script, connections = answering(OK)
    asked: list[str] = []

    def resolve(host: str, port: int, *_: object, **__: object) -> list[object]:
        asked.append(host)
        addresses = (f"127.0.0.{last}" for last in (3, 2, 1))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    assert errors(fired(script, loop=asyncio.new_event_loop, name="several.test", count=50)) == [None] * 50
    assert len(connections) == 50
    assert asked == ["several.test"]


@pytest.mark.skipif(sys.platform != "linux", reason="a full backlog keeps callers waiting on Linux alone")
@pytest.mark.parametrize("patience_s", [0.1, 30], ids=["ours", "the request's"])
def test_an_address_that_says_nothing_is_left_for_the_next(patience_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskdemo_cli.loadgen.origin.CONNECT_S", patience_s)

    async def fire() -> list[Sample]:
        origin = Origin(httpx.URL("http://several.test"), None)
        origin._addresses = [full.getsockname(), good.getsockname()]
        if patience_s > 1:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(origin.connect(origin.connection(lambda *_: None)), 0.1)
        connection = origin.connection(lambda *_: None)
        await origin.connect(connection)
        connection.abort()
        assert origin._addresses[0] == good.getsockname()
        return []

    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as full,
        socket.create_connection(full.getsockname()),
        socket.create_server(("127.0.0.1", 0)) as good,
    ):
        in_loop(fire())


def test_where_one_of_several_addresses_speaks_no_tls_that_is_told(tls: ssl.SSLContext) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def fire() -> list[Sample]:
        origin = Origin(httpx.URL("https://several.test"), None)
        async with listening(script) as server:
            origin._addresses = [server.sockets[0].getsockname(), ("127.0.0.1", 9)]
            with pytest.raises(ssl.SSLError, match="WRONG_VERSION_NUMBER"):
                await origin.connect(origin.connection(lambda *_: None))
        return []

    in_loop(fire())


def test_an_ipv6_literal_is_reached() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    script, _ = answering(OK)
    assert errors(fired(script, host="::1", count=1)) == [None]
