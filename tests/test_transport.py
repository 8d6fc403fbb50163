"""The wire against raw sockets that misbehave: a right answer or a clear httpx exception, on both of its halves."""

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from talks import Talk, listening
from taskdemo_cli.transport import Transport
from taskdemo_cli.wire import HEAD_LIMIT, Connection, Origin, serialise

LOOPS = ["asyncio", "uvloop"]


def run(loop: str, work: Coroutine[Any, Any, None]) -> None:
    factory = None
    if loop == "uvloop":
        factory = pytest.importorskip("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(asyncio.wait_for(work, 10))


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-length:"):
            return head + await reader.readexactly(int(line.split(b":")[1]))
    if b"transfer-encoding: chunked" in head.lower():
        return head + await reader.readuntil(b"0\r\n\r\n")
    return head


@asynccontextmanager
async def serving(script: Talk, *, host: str = "127.0.0.1", path: str | None = None) -> AsyncIterator[str]:
    async with listening(script, host=host, path=path) as server:
        if path is None:
            yield str(httpx.URL(scheme="http", host=host, port=server.sockets[0].getsockname()[1], path="/"))
        else:
            yield "http://unix/"


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
    """What the server writes, and what must be seen: status and body, or an exception; and is the connection kept?"""

    parts: tuple[bytes, ...]
    status: int | None = 200
    body: bytes = b""
    error: type[Exception] | None = None
    kept: bool = True
    close: bool = False
    reset: bool = False
    method: str = "GET"


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
CASES = {
    "plain": Case((OK,), body=b"hi"),
    "byte by byte": Case(tuple(OK[i : i + 1] for i in range(len(OK))), body=b"hi"),
    "no reason phrase": Case((b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nhi",), body=b"hi"),
    "empty body": Case((b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",)),
    "chunked": Case(
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", b"1\r\n!\r\n0\r\n\r\n"),
        body=b"hello!",
    ),
    "chunk extensions and trailers": Case(
        (
            b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b;c="d"\r\nhello\r\n',
            b"0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n",
        ),
        body=b"hello",
    ),
    "bad chunk size": Case(
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n",),
        error=httpx.RemoteProtocolError,
        kept=False,
    ),
    "connection close": Case(
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",), body=b"hi", kept=False
    ),
    "body until the end of the connection": Case(
        (b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo"), body=b"hello", close=True, kept=False
    ),
    "HTTP/1.0 with a length": Case((b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",), body=b"hi", kept=False),
    "HTTP/1.0 without one": Case((b"HTTP/1.0 200 OK\r\n\r\nhi",), body=b"hi", close=True, kept=False),
    "HTTP/1.0 keep-alive": Case(
        (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi",), body=b"hi"
    ),
    "100 Continue first": Case((b"HTTP/1.1 100 Continue\r\n\r\n" + OK,), body=b"hi"),
    "103 Early Hints first, twice": Case(
        (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n", OK), body=b"hi"
    ),
    "only 100 Continue": Case(
        (b"HTTP/1.1 100 Continue\r\n\r\n",), error=httpx.RemoteProtocolError, close=True, kept=False
    ),
    "HEAD": Case((b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n",), method="HEAD"),
    "HEAD, chunked": Case((b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",), method="HEAD"),
    "HEAD, empty": Case((b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",), method="HEAD"),
    "HEAD, with a body all the same": Case(
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",), method="HEAD", kept=False
    ),
    "204": Case((b"HTTP/1.1 204 No Content\r\n\r\n",), status=204),
    "304 with a length": Case((b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",), status=304),
    "404": Case((b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno",), status=404, body=b"no"),
    "closed without a byte": Case((), error=httpx.RemoteProtocolError, close=True, kept=False),
    "cut short in the status line": Case((b"HTTP/1.",), error=httpx.RemoteProtocolError, close=True, kept=False),
    "cut short in the headers": Case(
        (b"HTTP/1.1 200 OK\r\nContent-",), error=httpx.RemoteProtocolError, close=True, kept=False
    ),
    "cut short in the body": Case(
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhi",),
        error=httpx.RemoteProtocolError,
        close=True,
        kept=False,
    ),
    "cut short in a chunk": Case(
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhe",),
        error=httpx.RemoteProtocolError,
        close=True,
        kept=False,
    ),
    "garbage": Case((b"\x00\xff SSH-2.0-OpenSSH\r\n\r\n",), error=httpx.RemoteProtocolError, kept=False),
    "two lengths": Case(
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nhi",),
        error=httpx.RemoteProtocolError,
        kept=False,
    ),
    "unasked 101": Case(
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nxx",),
        error=httpx.RemoteProtocolError,
        kept=False,
    ),
    "reset": Case((b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",), error=httpx.ReadError, reset=True, kept=False),
    "bytes beyond the response": Case((OK + b"HTTP/1.1 200 OK\r\nContent-Le",), body=b"hi", kept=False),
    "a whole second response": Case((OK + OK,), body=b"hi", kept=False),
    "garbage beyond the response": Case((OK + b"\x00\x01",), body=b"hi", kept=False),
    "endless headers": Case(
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * (HEAD_LIMIT + 300_000),), error=httpx.RemoteProtocolError, kept=False
    ),
    "headers just small enough": Case(
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: " + b"a" * (HEAD_LIMIT - 100) + b"\r\n\r\n",)
    ),
    "a long body": Case(
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n" + b"b" * 5_000_000,), body=b"b" * 5_000_000
    ),
}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("name", CASES)
def test_httpx_client_gets_the_right_answer_or_a_clear_exception(name: str, loop: str) -> None:
    case = CASES[name]
    script, connections = answering(*case.parts, close=case.close, reset=case.reset)

    async def scenario() -> None:
        async with serving(script) as url, httpx.AsyncClient(transport=Transport(), timeout=None) as client:
            for _ in range(3):
                if case.error is not None:
                    with pytest.raises(case.error):
                        await client.request(case.method, url)
                else:
                    response = await client.request(case.method, url)
                    assert response.status_code == case.status
                    assert response.content == case.body
                    timing = response.extensions["timing"]
                    assert timing["planned"] <= timing["sent"] <= timing["first_byte"] <= timing["done"]
                    assert "X-Sum" not in response.headers
            assert len(connections) == (1 if case.kept else 3)

    run(loop, scenario())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("name", CASES)
def test_lean_connection_sees_the_same(name: str, loop: str) -> None:
    case = CASES[name]
    script, _ = answering(*case.parts, close=case.close, reset=case.reset)

    async def scenario() -> None:
        async with serving(script) as url:
            request = httpx.Request(case.method, url)
            over: asyncio.Future[httpx.TransportError | None] = asyncio.get_running_loop().create_future()
            connection = Connection(lambda _, error: over.set_result(error))
            await Origin(request.url).connect(connection)
            for _ in range(2 if case.kept else 1):
                over = asyncio.get_running_loop().create_future()
                connection.start(serialise(request), is_head=case.method == "HEAD")
                error = await over
                assert type(error) is (case.error or type(None))
                if case.error is None:
                    assert connection.status == case.status
                assert connection.done is not None
                assert connection.sent <= (connection.first_byte or connection.done) <= connection.done
            assert connection.closed is not case.kept
            connection.abort()

    run(loop, scenario())


def test_a_task_id_is_read_whatever_its_case_and_never_from_a_trailer_or_an_informational_response() -> None:
    parts = (
        (
            b"HTTP/1.1 103 Early Hints\r\nX-Task-ID: early\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nx-TASK-id: right\r\n\r\n0\r\nX-Task-ID: trailer\r\n\r\n"
        ),
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    )
    seen: list[str | None] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            await read_request(reader)
            writer.write(part)

    async def scenario() -> None:
        async with serving(script) as url:
            request = httpx.Request("GET", url)
            over: asyncio.Future[None]
            connection = Connection(lambda _, __: over.set_result(None))
            await Origin(request.url).connect(connection)
            for _ in parts:
                over = asyncio.get_running_loop().create_future()
                connection.start(serialise(request))
                await over
                seen.append(connection.task_id)
            connection.abort()

    run("uvloop", scenario())
    assert seen == ["right", None]


def test_slow_headers_are_waited_for_and_stamped_at_their_first_and_last_byte() -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK[:10])
        await asyncio.sleep(0.1)
        writer.write(OK[10:])

    async def scenario() -> None:
        async with serving(script) as url, httpx.AsyncClient(transport=Transport(), timeout=None) as client:
            timing = (await client.get(url)).extensions["timing"]
            assert timing["done"] - timing["first_byte"] >= 0.09
            assert timing["first_byte"] - timing["sent"] < 0.09

    run("uvloop", scenario())


def test_a_server_that_never_answers_is_a_read_timeout_after_the_callers_time() -> None:
    async def script(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async def scenario() -> None:
        async with serving(script) as url, httpx.AsyncClient(transport=Transport(), timeout=0.1) as client:
            begun = time.monotonic()
            with pytest.raises(httpx.ReadTimeout):
                await client.get(url)
            assert time.monotonic() - begun >= 0.09

    run("uvloop", scenario())


def test_a_body_that_stops_coming_is_a_read_timeout() -> None:
    script, _ = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhi")

    async def scenario() -> None:
        async with serving(script) as url, httpx.AsyncClient(transport=Transport(), timeout=0.1) as client:
            with pytest.raises(httpx.ReadTimeout):
                await client.get(url)

    run("uvloop", scenario())


def test_a_refused_connection_is_a_connect_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"

        async def scenario() -> None:
            async with httpx.AsyncClient(transport=Transport(), timeout=None) as client:
                with pytest.raises(httpx.ConnectError):
                    await client.get(url)

        run("uvloop", scenario())


def test_an_unknown_host_is_a_connect_error() -> None:
    async def scenario() -> None:
        async with httpx.AsyncClient(transport=Transport(), timeout=None) as client:
            with pytest.raises(httpx.ConnectError):
                await client.get("http://no-such-host.invalid/")

    run("uvloop", scenario())


def test_an_idle_connection_that_the_server_closed_is_replaced() -> None:
    closed = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(OK)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        closed.set()

    async def scenario() -> None:
        async with serving(script) as url, httpx.AsyncClient(transport=Transport(), timeout=None) as client:
            assert (await client.get(url)).content == b"hi"
            await closed.wait()
            await asyncio.sleep(0.01)
            assert (await client.get(url)).content == b"hi"

    run("uvloop", scenario())


def test_a_request_is_not_sent_a_second_time_when_a_kept_connection_breaks_under_it() -> None:
    requests: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await read_request(reader))
        writer.write(OK)
        requests.append(await read_request(reader))

    async def scenario() -> None:
        async with serving(script) as url, httpx.AsyncClient(transport=Transport(), timeout=None) as client:
            await client.get(url)
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get(url)
        assert len(requests) == 2

    run("uvloop", scenario())


def test_bytes_on_an_idle_connection_close_it() -> None:
    connections: list[int] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        await read_request(reader)
        writer.write(OK)
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.write(OK)
        await reader.read()

    async def scenario() -> None:
        async with serving(script) as url, httpx.AsyncClient(transport=Transport(), timeout=None) as client:
            await client.get(url)
            await asyncio.sleep(0.05)
            assert (await client.get(url)).content == b"hi"
        assert len(connections) == 2

    run("uvloop", scenario())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_request_body_arrives_whole_even_when_it_is_larger_than_the_sockets_buffer(loop: str, chunked: bool) -> None:
    body = b"x" * 8_000_000
    got: list[bytes] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            if b"chunked" in head:
                size = int(await reader.readline(), 16)
                got.append(await reader.readexactly(size))
                assert await reader.readexactly(7) == b"\r\n0\r\n\r\n"
            else:
                got.append(await reader.readexactly(len(body)))
            writer.write(OK)

    async def pieces() -> AsyncIterator[bytes]:
        yield body[:10]
        yield body[10:]

    async def scenario() -> None:
        async with serving(script) as url, httpx.AsyncClient(transport=Transport(), timeout=None) as client:
            for _ in range(2):
                response = await client.post(url, content=pieces() if chunked else body)
                assert response.content == b"hi"

    run(loop, scenario())
    assert got == [body, body]


def test_a_body_can_be_streamed_and_left_unread() -> None:
    parts = (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc", b"def")
    script, connections = answering(*parts)

    async def scenario() -> None:
        async with serving(script) as url, httpx.AsyncClient(transport=Transport(), timeout=None) as client:
            async with client.stream("GET", url) as response:
                assert b"".join([part async for part in response.aiter_bytes()]) == b"abcdef"
            async with client.stream("GET", url) as response:
                assert response.status_code == 200
            assert (await client.get(url)).content == b"abcdef"
        assert len(connections) == 2

    run("uvloop", scenario())


def test_a_reader_that_is_behind_holds_the_server_back() -> None:
    sent = 0

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        for _ in range(1000):
            writer.write(b"x" * 100_000)
            await writer.drain()
            sent += 100_000

    async def scenario() -> None:
        async with serving(script) as url, httpx.AsyncClient(transport=Transport(), timeout=None) as client:
            async with client.stream("GET", url) as response:
                await asyncio.sleep(0.2)
                assert sent < 50_000_000
                size = 0
                async for part in response.aiter_raw():
                    size += len(part)
            assert size == 100_000_000

    run("uvloop", scenario())


def test_many_requests_at_once_each_have_a_connection_and_keep_it() -> None:
    script, connections = answering(OK)

    async def scenario() -> None:
        async with serving(script) as url, httpx.AsyncClient(transport=Transport(), timeout=None) as client:
            for _ in range(2):
                answers = await asyncio.gather(*(client.get(url) for _ in range(150)))
                assert all(answer.content == b"hi" for answer in answers)
        assert len(connections) == 150

    run("uvloop", scenario())


def test_many_connect_at_once_to_a_name_whose_first_address_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    script, connections = answering(OK)
    asked: list[str] = []

    async def scenario() -> None:
        async with serving(script) as url, httpx.AsyncClient(transport=Transport(), timeout=None) as client:
            port = httpx.URL(url).port

            def resolve(host: str, *_: object, **__: object) -> list[object]:
                asked.append(host)
                addresses = (f"127.0.0.{last}" for last in (3, 2, 1))
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

            monkeypatch.setattr(socket, "getaddrinfo", resolve)
            answers = await asyncio.gather(*(client.get(f"http://several.test:{port}/") for _ in range(50)))
            assert all(answer.content == b"hi" for answer in answers)
        assert len(connections) == 50
        assert asked == ["several.test"]

    run("asyncio", scenario())


@pytest.mark.parametrize("header", [{"X": "a\r\nEvil: 1"}, {"X\r\nEvil": "1"}, {"X": "a\0b"}, {"a b": "c"}])
def test_a_header_that_would_break_out_of_its_line_is_refused(header: dict[str, str]) -> None:
    with pytest.raises(httpx.LocalProtocolError):
        serialise(httpx.Request("GET", "http://127.0.0.1/", headers=header))


def test_a_unix_socket_is_reached(tmp_path: Path) -> None:
    script, _ = answering(OK)
    path = str(tmp_path / "s")

    async def scenario() -> None:
        async with serving(script, path=path) as url, httpx.AsyncClient(transport=Transport(uds=path)) as client:
            assert (await client.get(url)).content == b"hi"

    run("uvloop", scenario())


def test_an_ipv6_literal_is_reached() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    script, _ = answering(OK)

    async def scenario() -> None:
        async with serving(script, host="::1") as url, httpx.AsyncClient(transport=Transport()) as client:
            assert "[::1]" in url
            assert (await client.get(url)).content == b"hi"

    run("uvloop", scenario())


def test_only_plain_http_is_spoken() -> None:
    async def scenario() -> None:
        async with httpx.AsyncClient(transport=Transport()) as client:
            with pytest.raises(httpx.UnsupportedProtocol):
                await client.get("https://127.0.0.1:1/")

    run("uvloop", scenario())
