"""How a connection comes about, or why it does not: alone, in a queue for others, by a proxy, with TLS."""

import asyncio
import contextlib
import gc
import socket
import ssl
import sys
import threading
from typing import Any

import httpx
import pytest

from in_process_load import answering, errors, fired, in_loop, read_request, reported, url_of
from talks import OK, listening
from taskdemo_cli.loadgen import tls as tls_connection
from taskdemo_cli.loadgen.connection import Connection
from taskdemo_cli.loadgen.engine import Run
from taskdemo_cli.loadgen.origin import Origin
from taskdemo_cli.loadgen.protocol import LATE_S, Batch, Done, Frame, Plan, Sample


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
    assert done - planned > 1.49  # a timer of the loop may be early by a millisecond


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
        assert {sample[8] for sample in samples} == {f"the proxy refused to connect: HTTP/1.1 {refusal}"}
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
@pytest.mark.parametrize("timeout_s", [0.1, 30], ids=["ours", "the request's"])
def test_an_address_that_says_nothing_is_left_for_the_next(timeout_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskdemo_cli.loadgen.origin.CONNECT_TIMEOUT_S", timeout_s)

    async def fire() -> list[Sample]:
        origin = Origin(httpx.URL("http://several.test"), None)
        origin._addresses = [full.getsockname(), good.getsockname()]
        if timeout_s > 1:
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
