"""The load process, fired at servers that count, wait, stall and break: nothing is lost and nothing hidden."""

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import psutil
import pytest

from certificates import server_context
from commands import in_process
from conftest import until
from talks import InThread
from taskdemo_cli.errors import UserError
from taskdemo_cli.loadgen import engine
from taskdemo_cli.loadgen.calibration import calibrate
from taskdemo_cli.loadgen.capacity import check_capacity, most_connections
from taskdemo_cli.loadgen.loader import Loader
from taskdemo_cli.loadgen.protocol import Batch, Done, Frame, Frames, Gone, Plan, Ready, Started, encode_command
from taskdemo_cli.loadgen.proxies import proxy_for

WAIT = InThread.PATIENCE_S


class Target(InThread):
    """A server that answers at once, or by path: /hold when `release` is set, /never."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls)
        self.requests: list[str] = []
        self.connections = 0
        self.open = 0
        self.release = asyncio.Event()
        self.expect = 0
        """/all answers nobody before this many have asked, /never nobody after them."""

    def let_go(self) -> None:
        self.loop.call_soon_threadsafe(self.release.set)

    def url(self, path: str = "/") -> str:
        return f"{'https' if self._tls else 'http'}://localhost:{self.port}{path}"

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while True:
                await self._answer(reader, writer)
        finally:
            self.open -= 1

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1].decode()
        self.requests.append(target)
        path = target.partition("?")[0]
        if path == "/hold":
            await self.release.wait()
        elif path == "/all":
            if len(self.requests) >= self.expect:
                self.release.set()
            await self.release.wait()
        elif path == "/never" and len(self.requests) > self.expect:
            await reader.read()
        body = b'{"message":"Hello World!"}'
        writer.write(
            b"HTTP/1.1 200 OK\r\nX-Task-ID: t%d\r\nContent-Length: %d\r\n\r\n%b" % (len(self.requests), len(body), body)
        )
        await writer.drain()


class Fired:
    """Everything one run's frames said."""

    def __init__(self, frames: Frames) -> None:
        self.batches: list[Batch] = []
        self.samples: list[Any] = []
        self.t0 = 0.0
        while True:
            name, frame = frames.get(timeout=WAIT)
            assert name == "load"
            match frame:
                case Started(t0):
                    self.t0 = t0
                case Batch(samples):
                    self.batches.append(frame)
                    self.samples += samples
                case Done():
                    self.done = frame
                    break
                case _:
                    assert isinstance(frame, Ready)
        self.samples.sort()

    @property
    def errors(self) -> list[str | None]:
        return [sample[6] for sample in self.samples]

    def most_at_once(self, since: int) -> int:
        """How many requests were under way at once, each from that stamp of its sample until it was done."""
        moments = sorted([(s[since], 1) for s in self.samples] + [(s[4], -1) for s in self.samples])
        return max(accumulate(step for _, step in moments))


@pytest.fixture
def target() -> Iterator[Target]:
    with Target() as target:
        yield target


Fire = Callable[..., Fired]


@pytest.fixture
def fire(loader: Loader, frames: Frames, target: Target) -> Fire:
    """Return a function that fires a plan at the target, and returns what its frames said."""

    def fire(path: str = "/", **plan: Any) -> Fired:
        loader.run(Plan(url=target.url(path), **plan))
        return Fired(frames)

    return fire


def test_a_run_begins_with_started_and_ends_with_done_and_every_request_is_sampled_once(
    loader: Loader, frames: Frames, target: Target
) -> None:
    assert frames.get(timeout=WAIT) == ("load", Ready())
    loader.run(Plan(url=target.url(), count=30, concurrency=4))
    name, started = frames.get(timeout=WAIT)
    assert name == "load"
    assert isinstance(started, Started)
    fired = Fired(frames)
    assert [sample[0] for sample in fired.samples] == list(range(1, 31))
    for _, planned, sent, first_byte, done, status, error, task_id, _ in fired.samples:
        assert started.t0 <= planned <= sent <= first_byte <= done
        assert (status, error) == (200, None)
        assert task_id.startswith("t")
    assert fired.done.not_sent == 0
    assert fired.done.late == 0
    assert 0 <= (fired.done.cpu_share or 0.0) <= 1.5
    assert fired.done.loop_lag_p99 is not None
    assert fired.done.wall >= fired.samples[-1][4] - started.t0


def test_a_closed_loop_uses_one_connection_a_caller_and_never_more_callers_than_asked(
    fire: Fire, target: Target
) -> None:
    fired = fire(count=200, concurrency=7)
    assert target.connections == 7
    assert fired.most_at_once(since=2) <= 7


def test_all_at_once_means_all_are_sent_before_any_is_answered(fire: Fire, target: Target) -> None:
    target.expect = 120
    fired = fire("/all", count=120)
    assert fired.errors == [None] * 120
    assert max(s[2] for s in fired.samples) <= min(s[4] for s in fired.samples)
    assert {s[1] for s in fired.samples} == {fired.t0}


def test_more_callers_than_requests_open_no_idle_connections(fire: Fire, target: Target) -> None:
    assert len(fire(count=3, concurrency=50).samples) == 3
    assert target.connections == 3


def test_the_message_is_url_encoded_numbered_and_appended_to_the_urls_own_query(fire: Fire, target: Target) -> None:
    fire("/p?a=1&b=%20", count=2, concurrency=1, message="nr {n}/{n} & ü?#")
    assert target.requests == [f"/p?a=1&b=%20&message=nr%20{n}%2F{n}%20%26%20%C3%BC%3F%23" for n in (1, 2)]
    fire(count=1, message="{x} {")
    assert target.requests[-1] == "/?message=%7Bx%7D%20%7B"


def test_an_open_loop_keeps_its_schedule_while_the_server_holds_every_answer(
    loader: Loader, frames: Frames, target: Target
) -> None:
    loader.run(Plan(url=target.url("/hold"), count=60, rate=200))
    until(lambda: len(target.requests) == 60, WAIT)
    target.let_go()
    fired = Fired(frames)
    assert fired.errors == [None] * 60
    for n, planned, *_ in fired.samples:
        assert planned == pytest.approx(fired.t0 + (n - 1) / 200, abs=1e-6)
    assert target.connections == 60


def test_an_open_loop_uses_an_idle_connection_before_it_opens_one(fire: Fire, target: Target) -> None:
    fired = fire(count=40, rate=100)
    assert target.connections <= fired.most_at_once(since=1)


def test_sends_that_could_not_be_made_on_time_are_counted_as_late_and_still_made(
    loader: Loader, frames: Frames, target: Target
) -> None:
    process = loader._child
    assert process is not None
    loader.run(Plan(url=target.url(), count=100, rate=100))
    until(lambda: len(target.requests) > 10, WAIT)
    os.kill(process.pid, signal.SIGSTOP)
    until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED, WAIT)
    time.sleep(0.2)  # the length of the trouble
    os.kill(process.pid, signal.SIGCONT)
    fired = Fired(frames)
    assert len(fired.samples) == 100
    late = [s for s in fired.samples if s[2] - s[1] > 0.1]
    assert late
    assert fired.done.late >= len(late)


def test_for_s_bounds_the_beginning_of_requests_in_both_loops(fire: Fire) -> None:
    fired = fire(for_s=0.6, concurrency=2)
    assert len(fired.samples) > 2
    assert all(s[1] < fired.t0 + 0.6 for s in fired.samples)
    assert set(fired.errors) == {None}
    assert fired.done.not_sent == 0
    assert len(fire(for_s=0.3, rate=100).samples) == 30


def test_the_deadline_ends_unanswered_requests_as_read_timeouts_and_counts_the_unsent(fire: Fire) -> None:
    fired = fire("/never", count=10, concurrency=4, timeout_s=0.6)
    assert fired.errors == ["ReadTimeout"] * 4
    assert fired.done.not_sent == 6
    assert fired.done.timed_out
    assert 0.55 <= fired.done.wall <= 10
    fired = fire("/never", count=1000, rate=100, timeout_s=0.3)
    assert fired.done.timed_out
    assert set(fired.errors) <= {"ReadTimeout", "ConnectTimeout"}  # the last one may still be connecting
    assert len(fired.samples) + fired.done.not_sent == 1000
    fired = fire(count=3, rate=0.5, timeout_s=0.8)  # it comes while nothing is in flight
    assert (fired.errors, fired.done.not_sent, fired.done.timed_out) == ([None], 2, True)


def test_a_request_that_has_had_its_own_time_fails_and_the_next_one_is_sent(fire: Fire, target: Target) -> None:
    for loop in ({"concurrency": 2}, {"rate": 50}):
        fired = fire("/never", count=6, request_timeout_s=0.6, **loop)
        assert fired.errors == ["ReadTimeout"] * 6
        assert all(done - sent >= 0.6 for _, _, sent, _, done, *_ in fired.samples)
        assert fired.done.not_sent == 0
    until(lambda: target.open == 0, WAIT)
    assert fire(count=20, concurrency=2, request_timeout_s=WAIT).errors == [None] * 20


@pytest.mark.skipif(sys.platform != "linux", reason="a full backlog keeps callers waiting on Linux alone")
def test_a_connection_that_does_not_come_about_in_a_requests_own_time_is_given_up(
    loader: Loader, frames: Frames
) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.create_connection(full.getsockname()):
        loader.run(Plan(url=f"http://127.0.0.1:{full.getsockname()[1]}/", count=4, rate=100, request_timeout_s=0.2))
        fired = Fired(frames)
    assert fired.errors == ["ConnectTimeout"] * 4
    assert all(0.2 <= done - planned < WAIT for _, planned, _, _, done, *_ in fired.samples)


def test_stop_reports_what_is_in_flight_as_cancelled_and_the_next_run_is_unharmed(
    loader: Loader, frames: Frames, target: Target
) -> None:
    loader.run(Plan(url=target.url("/hold"), count=10, concurrency=4))
    until(lambda: len(target.requests) == 4, WAIT)
    loader.stop()
    fired = Fired(frames)
    assert fired.errors == ["Cancelled"] * 4
    assert fired.done.not_sent == 6
    target.let_go()
    until(lambda: target.open == 0, WAIT)
    loader.stop()  # with nothing to stop
    loader.run(Plan(url=target.url(), count=5))
    assert Fired(frames).errors == [None] * 5


def test_a_stop_that_comes_with_its_plan_is_not_lost(loader: Loader, frames: Frames) -> None:
    assert frames.get(timeout=WAIT)[1] == Ready()
    for _ in range(20):
        loader.run(Plan(url="http://127.0.0.1:1/", rate=1, count=3))
        loader.stop()
        assert Fired(frames).done.not_sent > 0


def test_a_bystander_goes_on_until_it_is_stopped(loader: Loader, frames: Frames, target: Target) -> None:
    loader.run(Plan(url=target.url("/ping"), rate=100, until_stopped=True))
    until(lambda: len(target.requests) > 15, WAIT)
    loader.stop()
    fired = Fired(frames)
    assert len(fired.samples) >= 15
    assert set(fired.errors) <= {None, "Cancelled"}
    assert fired.done.not_sent == 0


def test_a_bystander_that_is_stopped_still_hears_the_answers_that_come_soon(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def errors(path: str, sent: int) -> set[str | None]:
        frames: list[Frame] = []
        run = engine.Run(Plan(url=target.url(path), rate=100, until_stopped=True), frames.append, connections=100)
        going = asyncio.create_task(run.go())
        await asyncio.to_thread(until, lambda: len(target.requests) > sent, WAIT)
        run.stop()
        target.let_go()
        await going
        return {sample[6] for frame in frames if isinstance(frame, Batch) for sample in frame.samples}

    with monkeypatch.context() as patch:
        patch.setattr(engine, "LAST_ANSWERS_S", WAIT)  # however slow the machine is
        assert asyncio.run(errors("/hold", 3)) == {None}
    assert asyncio.run(errors("/never", 30)) == {"Cancelled"}


def test_a_timeout_of_next_to_nothing_accounts_for_every_request(fire: Fire) -> None:
    for timeout in (1e-9, 1e-4):
        fired = fire("/never", count=3, timeout_s=timeout)
        assert len(fired.samples) + fired.done.not_sent == 3


def test_every_refused_request_is_counted(loader: Loader, frames: Frames) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        loader.run(Plan(url=url, count=25, concurrency=5))
        fired = Fired(frames)
        assert [s[0] for s in fired.samples] == list(range(1, 26))
        assert fired.errors == ["ConnectError"] * 25
        assert all(s[2] is None and s[5] is None for s in fired.samples)
        loader.run(Plan(url=url, count=25, rate=500))
        assert Fired(frames).errors == ["ConnectError"] * 25


def test_a_server_that_dies_during_the_run_leaves_no_request_unaccounted(loader: Loader, frames: Frames) -> None:
    with Target() as target:
        target.expect = 500
        loader.run(Plan(url=target.url("/never"), count=3000, concurrency=10))
        until(lambda: len(target.requests) > 500, WAIT)
    fired = Fired(frames)
    assert [s[0] for s in fired.samples] == list(range(1, 3001))
    assert None in fired.errors
    assert "ConnectError" in fired.errors


def test_frames_show_the_oldest_fifty_in_flight(loader: Loader, frames: Frames, target: Target) -> None:
    loader.run(Plan(url=target.url("/hold"), count=80))
    until(lambda: len(target.requests) == 80, WAIT)
    while True:
        _, frame = frames.get(timeout=WAIT)
        if isinstance(frame, Batch) and frame.sent == 80:
            break
    assert [n for n, _ in frame.in_flight] == list(range(1, 51))
    assert sorted(sent for _, sent in frame.in_flight) == [sent for _, sent in frame.in_flight]
    target.let_go()
    Fired(frames)


def command() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "taskdemo_cli.loadgen.process"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


def test_the_end_of_standard_input_ends_the_process_at_once_even_in_a_run(target: Target) -> None:
    with command() as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(encode_command(Plan(url=target.url("/hold"), count=5)))
        process.stdin.flush()
        until(lambda: len(target.requests) == 5, WAIT)
        process.stdin.close()
        assert process.wait(30) == 0
        process.stdout.read()


def test_a_reader_that_does_not_read_does_not_hold_up_the_load(target: Target) -> None:
    with command() as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(encode_command(Plan(url=target.url(), count=3000, concurrency=20)))
        process.stdin.flush()
        until(lambda: len(target.requests) == 3000, WAIT)
        process.stdin.close()
        process.stdout.read()


def test_ctrl_c_is_left_to_the_command_line(loader: Loader, frames: Frames, target: Target) -> None:
    process = loader._child
    assert process is not None
    assert frames.get(timeout=WAIT)[1] == Ready()
    os.kill(process.pid, signal.SIGINT)
    loader.run(Plan(url=target.url(), count=2))
    assert Fired(frames).errors == [None, None]


def test_a_load_process_that_is_killed_is_reported_as_gone(loader: Loader, frames: Frames) -> None:
    assert loader._child is not None
    loader._child.kill()
    while frames.get(timeout=WAIT)[1] != Gone(-signal.SIGKILL):
        pass
    loader.run(Plan(url="http://127.0.0.1:1/", count=1))  # says nothing more, and does not raise


def test_https_is_measured_like_http_and_to_connect_is_no_part_of_a_response_time(
    frames: Frames, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = server_context(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    loader = Loader(frames, log=2)
    try:
        with Target(tls) as target:
            loader.run(Plan(url=target.url("/?a=1"), count=12, concurrency=3, message="m{n}"))
            fired = Fired(frames)
            assert sorted(target.requests) == sorted(f"/?a=1&message=m{n}" for n in range(1, 13))
            assert target.connections == 3
            loader.run(Plan(url=target.url("/never"), count=2, timeout_s=0.9))
            assert Fired(frames).errors == ["ReadTimeout"] * 2
            # To connect takes longer over TLS, and is not the client's CPU: it is named for what it is.
            loader.run(Plan(url=target.url(), count=4, rate=1_000_000))
            late = Fired(frames).done
            assert late.late_connecting == late.late > 0
            monkeypatch.delenv("SSL_CERT_FILE")
            done = in_process("fire", "--url", target.url())
            assert done.returncode == 2
            assert "a certificate that is not trusted (self-signed certificate)" in done.stderr
            assert "SSL_CERT_FILE=" in done.stderr
            done = in_process("fire", "--url", target.url().replace("https", "http"), "--json", "--timeout", "20")
            assert done.returncode == 1
    finally:
        loader.close()
    assert fired.errors == [None] * 12
    for _, planned, sent, first_byte, done, status, _, task_id, _ in fired.samples:
        assert planned <= sent <= first_byte <= done
        assert status == 200
        assert task_id


def test_a_proxy_of_the_environment_is_used_and_never_for_loopback(
    frames: Frames, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://somebody:secret@127.0.0.1:{target.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert proxy_for("http://127.0.0.1:8000/") is None
    assert proxy_for("http://[::1]:8000/") is None
    loader = Loader(frames, log=2)
    try:
        loader.run(Plan(url="http://taskdemo.invalid/x", count=2, concurrency=1))
        fired = Fired(frames)
    finally:
        loader.close()
    assert fired.errors == [None, None]
    assert target.requests == ["http://taskdemo.invalid/x"] * 2
    done = in_process("fire", "--url", "http://taskdemo.invalid/x", "--json")
    assert json.loads(done.stdout)["proxy"] == f"http://somebody:***@127.0.0.1:{target.port}"
    assert "secret" not in done.stdout + done.stderr


def test_calibration_gives_a_small_share_and_leaves_the_loader_and_its_frames_alone(
    loader: Loader, frames: Frames, target: Target
) -> None:
    assert frames.get(timeout=WAIT)[1] == Ready()
    for plan in (Plan(url=target.url(), count=400, concurrency=20), Plan(url=target.url(), rate=500, for_s=1)):
        overhead = calibrate(loader, plan, 2000)
        assert overhead is not None
        assert 0 < overhead < 0.1
    assert frames.empty()
    loader.run(Plan(url=target.url(), count=2))
    assert Fired(frames).errors == [None, None]


def test_the_client_is_calibrated_with_the_requests_of_the_run(loader: Loader, frames: Frames, target: Target) -> None:
    assert frames.get(timeout=WAIT)[1] == Ready()
    bare = Plan(url=target.url(), count=4, concurrency=1)
    costly = Plan(url=target.url(), count=4, concurrency=1, method="POST", body="x" * 20_000_000)
    head = Plan(url=target.url(), count=4, concurrency=1, method="HEAD", headers=[("X-Large", "y" * 60_000)])
    least, most, also = (calibrate(loader, plan, 100) for plan in (bare, costly, head))
    assert least is not None
    assert most is not None
    assert also is not None
    assert most > least  # 20 MB take longer to hand over than nothing


def test_a_calibration_that_fails_says_none(loader: Loader) -> None:
    loader.close()
    assert calibrate(loader, Plan(url="http://127.0.0.1/", count=5), 1000) is None


def test_more_connections_than_the_machine_can_open_are_named_before_the_run() -> None:
    with pytest.raises(UserError, match=r"^100000000 connections at once .* type --concurrency "):
        check_capacity(Plan(url="http://127.0.0.1/", count=100_000_000))
    check_capacity(Plan(url="http://127.0.0.1/", count=100_000_000, concurrency=50))
    check_capacity(Plan(url="http://127.0.0.1/", count=20, concurrency=100_000_000))


def test_an_open_loop_waits_where_local_ports_end_as_where_files_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = tmp_path / "ip_local_port_range"
    ports.write_text("40000\t40004\n")
    monkeypatch.setattr("taskdemo_cli.loadgen.capacity._PORT_RANGE", ports)
    assert most_connections() == 5
    with pytest.raises(UserError, match="more than the 5 local ports"):
        check_capacity(Plan(url="http://127.0.0.1/", count=6))


def test_an_open_loop_too_needs_one_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taskdemo_cli.loadgen.capacity.raise_file_limit", lambda: 60)
    with pytest.raises(UserError, match="ulimit -n 65"):
        check_capacity(Plan(url="http://127.0.0.1/", count=20, rate=5))
