"""Whatever the other side does, `fire` ends, accounts for every request, and says what happened."""

import asyncio
import json
import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

import samples
from commands import taskdemo
from samples import sample
from talks import Scripted, Talk, by_path, drip, hang, saying
from taskdemo_cli.loadgen.origin import Origin
from taskdemo_cli.loadgen.protocol import Batch, Plan
from taskdemo_cli.loadgen.request_options import ParsedUrl
from taskdemo_cli.processes import event_stream, servers
from taskdemo_cli.processes.event_stream import Condition, Watcher
from taskdemo_cli.processes.signals import StopRequest
from taskdemo_cli.runner import rig
from taskdemo_cli.runner.rig import Rig
from taskdemo_cli.runner.target import find_target, running_target


def test_a_server_that_does_not_say_what_it_is_is_fired_at_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(servers, "timed_json", partial(servers.timed_json, timeout=0.3))
    with Scripted(hang) as server:
        found = running_target(ParsedUrl(server.url, "/"), None, named=True)
        assert (found.url, found.is_followed) == (server.url, False)
    assert "does not identify itself" in capsys.readouterr().err


HEALTH = {"server": "taskdemo", "version": "0", "mode": "background", "work": "sleep", "duration_s": 1.0}
HEALTH |= {"journal_offset": 0, "clock": 1.0}


def http(body: bytes, kind: str = "application/json") -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


LYING: dict[str, tuple[Any, ...]] = {
    "mode": (5, {}),
    "work": (["sleep"],),
    "app": ("evil:app",),
    "duration_s": (float("nan"), "1", -1, True),
    "clock": (float("inf"), None),
    "journal_offset": (-1, 1.5, 10**30, "0\r\nHost: evil"),
}


@pytest.mark.parametrize(
    "lie",
    [
        b"",
        b"null",
        b'"taskdemo"',
        b"[" * 100_000,
        b'{"server": "taskdemo"}',
        b'{"server": "taskdemo", "journal_offset": ' + b"9" * 5000 + b"}",
        b"\xff\xfe{}",
        b"{" + b" " * 2_000_000 + b"}",
        *(json.dumps(HEALTH | {name: value}).encode() for name, values in LYING.items() for value in values),
    ],
    ids=lambda lie: lie[:60].decode("latin-1"),
)
def test_a_server_that_lies_about_itself_is_taken_for_a_stranger(lie: bytes) -> None:
    with Scripted(saying(http(lie))) as server:
        assert not find_target(server.url).is_followed


@pytest.mark.parametrize(
    ("url", "port"), [("http://[::1]/", 80), ("https://[::1]", 443), ("http://[2001:db8::7]:81", 81)]
)
def test_an_address_of_ipv6_needs_no_port(url: str, port: int) -> None:
    asked, fired = servers.connect(url, 1), Origin(httpx.URL(url), None)
    assert (asked.host, asked.port) == (fired._host, fired._port) == (urlsplit(url).hostname, port)


def test_the_clock_of_a_server_is_not_off_by_the_time_that_connecting_took(monkeypatch: pytest.MonkeyPatch) -> None:
    connected: list[float] = []

    class Slow(HTTPConnection):
        def connect(self) -> None:
            time.sleep(0.2)  # the length of the way
            super().connect()
            connected.append(time.monotonic())

    monkeypatch.setattr(servers, "connect", lambda url, timeout: Slow(urlsplit(url).netloc, timeout=timeout))
    body = json.dumps({"server": "taskdemo", "journal_offset": 0, "clock": (ahead := 1e9)}).encode()
    with Scripted(saying(http(body))) as server:
        found = find_target(server.url)
    assert ahead - found.offset > connected[0]


def test_an_answer_that_drips_is_not_waited_for() -> None:
    with Scripted(drip) as server, pytest.raises(servers.SilentError):
        servers.get_json(server.url, "/health", timeout=0.3)


def event(**given: Any) -> bytes:
    fields = json.loads(samples.event("t1", "started", 1.0).to_line())
    return b"data: " + json.dumps(fields | given).encode() + b"\n\n"


LIES = b"".join(
    [
        b"id: 7\r\nHost: evil\n\n",
        b"id: " + b"9" * 100 + b"\n\n",
        b"id: \xff\n\n",
        b"data\n\ndata:\n\ndata: {}\n\n: \xff\xfe\n\n",
        b"data: " + b"[" * 50_000 + b"\n\n",
        b'data: {"id": "\xff\xfe"}\n\n',
        event(state=["finished"]),
        event(state="exploded"),
        event(clock=float("nan")),
        event(clock=float("inf")),
        event(clock=-1e300),
        event(at="yesterday"),
        event(message={"not": "a text"}),
        event(error=7),
        event(output=[]),
        event(id="t2", message="\x1b]0;owned\x07" + "\u202e" * 10, clock=1e9),
    ]
)


def follow(serve: Talk, patient: Callable[[], bool] = lambda: False) -> list[tuple[str, Any]]:
    """Return what a watcher of such a server reports until it says that the server is gone."""
    sink: queue.Queue[tuple[str, Any]] = queue.Queue()
    with pytest.MonkeyPatch.context() as patch, Scripted(serve) as server:
        patch.setattr(event_stream, "_RETRY_AFTER_S", 0.02)
        watcher = Watcher(server.url, sink, 0, patient=patient)
        watcher.start()
        reported: list[tuple[str, Any]] = []
        while not reported or not isinstance(reported[-1][1], Condition):
            reported.append(sink.get(timeout=60))
        watcher.join(30)
        assert not watcher.is_alive()
    return reported


def test_events_that_are_none_are_passed_over() -> None:
    sink: queue.Queue[tuple[str, Any]] = queue.Queue()
    watcher = Watcher("http://127.0.0.1:1", sink, 0)
    watcher._hand_over(LIES.split(b"\n\n"))
    events = [one for _, heard in list(sink.queue) for one in heard.events]
    assert [(one.id, one.state) for one in events] == [("t2", "started")]
    assert watcher._last_id == "7", "the only number"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_a_stream_of_events_that_never_brings_any_is_given_up(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)

    assert [content.server for _, content in follow(serve)] == ["gone"]


def test_a_server_whose_event_loop_is_blocked_is_not_gone_while_it_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_stream, "SILENCE_TIMEOUT_S", 0.02)
    connections = []

    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        connections.append(1)
        await reader.read()  # until it is hung up

    assert [content.server for _, content in follow(serve, patient=lambda: len(connections) < 4)] == ["gone"]
    assert len(connections) >= 4


@pytest.mark.parametrize(
    ("ran", "work", "given_up"),
    [(False, "sleep", True), (True, "reports:build", False), (True, "sleep", True)],
    ids=["none runs", "one runs", "one runs for much longer than it takes"],
)
def test_tasks_of_which_none_is_begun_are_given_up_after_a_minute_although_a_worker_answers(
    ran: bool, work: str, given_up: bool
) -> None:
    told = HEALTH | {"mode": "celery", "broker": "redis://here", "worker": True, "work": work}
    with Scripted(saying(http(json.dumps(told).encode()))) as server:
        run = rig._Run(Rig(StopRequest()), find_target(server.url), Plan(url=server.url, count=2))
        run.recorder.load(Batch([sample(n, 0.01, task=f"t{n}") for n in (1, 2)]))
        if ran:
            run.recorder.event(samples.event("t1", "started", 0.1))
        assert not any(run._is_stalled(after) for after in (0.0, 30.0, rig.STALLED_S - 1))
        assert run._is_stalled(rig.STALLED_S + 30) == given_up
    why = "no task began for 60 s, although a worker answers on the broker; only a worker started with"
    assert run.server == ("stalled" if given_up else "well")
    assert not given_up or str(run.because).startswith(f"{why} --server {server.url} reports its tasks")


@pytest.mark.parametrize(("broker", "state"), [({}, "lost"), ({"worker": True}, "accepted")], ids=["own", "of others"])
def test_a_task_is_lost_with_its_server_unless_a_broker_of_others_keeps_it(broker: dict[str, bool], state: str) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> None:
        if path == "/":
            writer.write(b"HTTP/1.1 200 OK\r\nX-Task-ID: t1\r\nContent-Length: 2\r\n\r\nok")
        elif path == "/events":
            writer.close()
        else:
            writer.write(http(json.dumps(HEALTH | {"mode": "celery"} | broker).encode()))

    with Scripted(by_path(talk)) as server:
        done = taskdemo("fire", "--url", server.url, "--timeout", "20", "--json")
    assert done.returncode == 1, done.stderr
    run = json.loads(done.stdout)
    assert ([task["state"] for task in run["tasks"]], run["ended_because"]) == ([state], "the server stopped answering")


def test_an_event_without_an_end_is_not_kept() -> None:
    cut = threading.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\ndata: ")
        try:
            while True:
                writer.write(b"x" * 1_000_000)
                await writer.drain()
        finally:
            cut.set()

    # Each connection brings bytes, so it is tried again; what matters is that nobody dies of it.
    sink: queue.Queue[tuple[str, Any]] = queue.Queue()
    with Scripted(serve) as server:
        watcher = Watcher(server.url, sink, 0)
        watcher.start()
        assert cut.wait(30)
        watcher.stop()
        watcher.join(30)
        assert not watcher.is_alive()
    assert sink.empty()


async def lie(_: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> None:
    if path == "/health":
        about = HEALTH | {"mode": "\x1b[31mblocking\u202e", "work": "[red]sleep", "duration_s": 1e9}
        writer.write(http(json.dumps(about).encode()))
    elif path == "/events":
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + LIES)
        writer.close()
    elif path == "/":
        writer.write(b"HTTP/1.1 200 OK\r\nX-Task-ID: \x1b[31m\xff t2 [bold]\r\nContent-Length: 2\r\n\r\nok")
    else:
        writer.write(http(b"{}"))


def test_whatever_a_liar_says_it_ends_in_time_and_steers_no_terminal() -> None:
    with Scripted(by_path(lie)) as server:
        done = taskdemo("fire", "--url", server.url, "--count", "3", "--timeout", "1")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert not any(evil in done.stdout + done.stderr for evil in ("\x1b", "\u202e"))
