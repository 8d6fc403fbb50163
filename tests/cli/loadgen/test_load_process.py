"""The load process, fired at servers that count, wait, stall and break: nothing is lost and nothing hidden."""

import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

import psutil
import pytest
from msgspec.structs import replace

from certificates import server_context
from commands import in_process
from talks import Scripted, after, stranger
from taskdemo_cli.errors import UserError
from taskdemo_cli.loadgen import engine
from taskdemo_cli.loadgen.calibration import calibrate
from taskdemo_cli.loadgen.loader import Loader
from taskdemo_cli.loadgen.os_limits import check_os_limits, most_connections
from taskdemo_cli.loadgen.protocol import Batch, Done, Frame, Frames, Gone, Plan, Ready, Started, encode_command
from taskdemo_cli.loadgen.request_options import proxy_for
from waiting import until

WAIT = Scripted.PATIENCE_S


class Target(Scripted):
    """A server that answers at once, or by path: /hold when it is let go, /never."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(self.talk, tls)
        self.requests: list[str] = []
        self.connections = 0
        self.open = 0
        self.release = asyncio.Event()

    def let_go(self) -> None:
        self.loop.call_soon_threadsafe(self.release.set)

    def at(self, path: str = "/") -> str:
        return f"{self.url}{path}"

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while True:
                await self._answer(reader, writer)
        finally:
            self.open -= 1

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1].decode()
        self.requests.append(path)
        if path == "/hold":
            await self.release.wait()
        elif path == "/never":
            await reader.read()
        writer.write(b"HTTP/1.1 200 OK\r\nX-Task-ID: t%d\r\nContent-Length: 2\r\n\r\nok" % len(self.requests))
        await writer.drain()


class Fired:
    """Everything one run's frames said."""

    def __init__(self, frames: Frames) -> None:
        self.samples: list[Any] = []
        self.t0 = 0.0
        while True:
            name, frame = frames.get(timeout=WAIT)
            assert name == "load"
            match frame:
                case Started(t0):
                    self.t0 = t0
                case Batch(samples):
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


class Load:
    """A load process, and the target that it fires at."""

    def __init__(self, loader: Loader, frames: Frames, target: Target) -> None:
        self.loader = loader
        self.frames = frames
        self.target = target

    def begin(self, path: str = "/", *, asked: int = 0, **plan: Any) -> None:
        """Begin a run, and wait until the target was asked so often."""
        self.loader.run(Plan(url=self.target.at(path), **plan))
        until(lambda: len(self.target.requests) >= asked, WAIT)

    def fired(self) -> Fired:
        """Wait until the run is over."""
        return Fired(self.frames)

    def fire(self, path: str = "/", **plan: Any) -> Fired:
        self.begin(path, **plan)
        return self.fired()


@pytest.fixture
def load(loader: Loader, frames: Frames, target: Target) -> Load:
    return Load(loader, frames, target)


def test_a_run_begins_with_started_and_ends_with_done_and_every_request_is_sampled_once(load: Load) -> None:
    assert load.frames.get(timeout=WAIT) == ("load", Ready())
    load.begin(count=30, concurrency=4)
    name, started = load.frames.get(timeout=WAIT)
    assert name == "load"
    assert isinstance(started, Started)
    fired = load.fired()
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


def test_a_closed_loop_uses_one_connection_a_caller_and_never_more_callers_than_asked(load: Load) -> None:
    fired = load.fire(count=200, concurrency=7)
    assert load.target.connections == 7
    assert fired.most_at_once(since=2) <= 7


def test_all_at_once_means_all_are_sent_before_any_is_answered(load: Load) -> None:
    load.begin("/hold", count=120, asked=120)
    load.target.let_go()
    fired = load.fired()
    assert fired.errors == [None] * 120
    assert {s[1] for s in fired.samples} == {fired.t0}


def test_more_callers_than_requests_open_no_idle_connections(load: Load) -> None:
    assert len(load.fire(count=3, concurrency=50).samples) == 3
    assert load.target.connections == 3


def test_an_open_loop_keeps_its_schedule_while_the_server_holds_every_answer(load: Load) -> None:
    load.begin("/hold", count=60, rate=200, asked=60)
    load.target.let_go()
    fired = load.fired()
    assert fired.errors == [None] * 60
    for n, planned, *_ in fired.samples:
        assert planned == pytest.approx(fired.t0 + (n - 1) / 200, abs=1e-6)
    assert load.target.connections == 60


def test_an_open_loop_uses_an_idle_connection_before_it_opens_one(load: Load) -> None:
    fired = load.fire(count=40, rate=100)
    assert load.target.connections <= fired.most_at_once(since=1)


def test_an_open_loop_that_cannot_keep_up_reads_answers_meanwhile_and_is_ended_by_its_timeout(load: Load) -> None:
    assert load.fire(count=3000, rate=1_000_000).errors == [None] * 3000
    assert load.target.connections < 3000, "some are used again"
    fired = load.fire("/never", count=1_000_000, rate=1_000_000, timeout_s=0.3)
    assert fired.done.timed_out
    assert len(fired.samples) < 100_000
    assert len(fired.samples) + fired.done.not_sent == 1_000_000


def test_sends_that_could_not_be_made_on_time_are_counted_as_late_and_still_made(load: Load) -> None:
    process = load.loader._child
    load.begin(count=100, rate=100, asked=11)
    os.kill(process.pid, signal.SIGSTOP)
    until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_STOPPED, WAIT)
    time.sleep(0.2)  # the length of the trouble
    os.kill(process.pid, signal.SIGCONT)
    fired = load.fired()
    assert len(fired.samples) == 100
    late = [s for s in fired.samples if s[2] - s[1] > 0.1]
    assert late
    assert fired.done.late >= len(late)


def test_for_s_bounds_the_beginning_of_requests_in_both_loops(load: Load) -> None:
    fired = load.fire(for_s=0.3, concurrency=2)
    assert len(fired.samples) > 2
    assert all(s[1] < fired.t0 + 0.3 for s in fired.samples)
    assert set(fired.errors) == {None}
    assert fired.done.not_sent == 0
    assert len(load.fire(for_s=0.2, rate=100).samples) == 20


def test_the_deadline_ends_unanswered_requests_as_read_timeouts_and_counts_the_unsent(load: Load) -> None:
    fired = load.fire("/never", count=10, concurrency=4, timeout_s=0.4)
    assert fired.errors == ["ReadTimeout"] * 4
    assert fired.done.not_sent == 6
    assert fired.done.timed_out
    assert 0.35 <= fired.done.wall <= 10
    fired = load.fire("/never", count=1000, rate=100, timeout_s=0.3)
    assert fired.done.timed_out
    assert set(fired.errors) <= {"ReadTimeout", "ConnectTimeout"}  # the last one may still be connecting
    assert len(fired.samples) + fired.done.not_sent == 1000
    fired = load.fire(count=3, rate=1, timeout_s=0.9)  # it comes while nothing is in flight
    assert (fired.errors, fired.done.not_sent, fired.done.timed_out) == ([None], 2, True)


def test_a_request_that_has_had_its_own_time_fails_and_the_next_one_is_sent(load: Load) -> None:
    for loop in ({"concurrency": 2}, {"rate": 50}):
        fired = load.fire("/never", count=4, request_timeout_s=0.3, **loop)
        assert fired.errors == ["ReadTimeout"] * 4
        assert all(done - sent >= 0.3 for _, _, sent, _, done, *_ in fired.samples)
        assert fired.done.not_sent == 0
    until(lambda: load.target.open == 0, WAIT)
    assert load.fire(count=20, concurrency=2, request_timeout_s=WAIT).errors == [None] * 20


def test_stop_reports_what_is_in_flight_as_cancelled_and_the_next_run_is_unharmed(load: Load) -> None:
    load.begin("/hold", count=10, concurrency=4, asked=4)
    load.loader.stop()
    fired = load.fired()
    assert fired.errors == ["Cancelled"] * 4
    assert fired.done.not_sent == 6
    load.target.let_go()
    until(lambda: load.target.open == 0, WAIT)
    load.loader.stop()  # with nothing to stop
    assert load.fire(count=5).errors == [None] * 5


def test_a_stop_that_comes_with_its_plan_is_not_lost(loader: Loader, frames: Frames) -> None:
    assert frames.get(timeout=WAIT)[1] == Ready()
    for _ in range(8):
        loader.run(Plan(url="http://127.0.0.1:1/", rate=1, count=3))
        loader.stop()
        assert Fired(frames).done.not_sent > 0


def test_a_bystander_goes_on_until_it_is_stopped_and_still_hears_the_answers_that_come_soon(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def errors(path: str, sent: int) -> set[str | None]:
        frames: list[Frame] = []
        run = engine.Run(Plan(url=target.at(path), rate=100, until_stopped=True), frames.append, connections=100)
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


def test_a_timeout_of_next_to_nothing_accounts_for_every_request(load: Load) -> None:
    for timeout in (1e-9, 1e-4):
        fired = load.fire("/never", count=3, timeout_s=timeout)
        assert len(fired.samples) + fired.done.not_sent == 3


def test_what_the_client_computes_before_a_run_is_no_part_of_its_share_of_a_core(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Slow(engine.LoopLag):
        def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
            end = time.process_time() + 0.05
            while time.process_time() < end:
                pass
            super().__init__(loop)

    monkeypatch.setattr(engine, "LoopLag", Slow)
    frames: list[Frame] = []

    async def run() -> None:
        await engine.Run(Plan(url="http://127.0.0.1:1/", count=1, timeout_s=1e-6), frames.append, connections=1).go()

    asyncio.run(run())
    done = frames[-1]
    assert isinstance(done, Done)
    assert (done.cpu_share or 0.0) * done.wall < 0.05


def test_a_server_that_vanishes_and_comes_back_is_fired_at_again_and_every_request_is_accounted_for(
    loader: Loader, frames: Frames
) -> None:
    samples: list[Any] = []
    with Scripted(stranger(after(0))) as server:
        loader.run(Plan(url=server.url, for_s=WAIT, concurrency=10))
        for last, then in ((None, server.vanish), ("ConnectError", server.appear), (None, loader.stop)):
            came = len(samples)
            while [sample[6] for sample in samples[came:]][-1:] != [last]:
                samples += getattr(frames.get(timeout=WAIT)[1], "samples", ())
            then()
        samples += Fired(frames).samples
    assert sorted(sample[0] for sample in samples) == list(range(1, len(samples) + 1))


def test_frames_show_the_oldest_fifty_in_flight(load: Load) -> None:
    load.begin("/hold", count=80, asked=80)
    while True:
        _, frame = load.frames.get(timeout=WAIT)
        if isinstance(frame, Batch) and frame.sent == 80:
            break
    assert [n for n, _ in frame.in_flight] == list(range(1, 51))
    assert sorted(sent for _, sent in frame.in_flight) == [sent for _, sent in frame.in_flight]
    load.target.let_go()
    load.fired()


@pytest.mark.parametrize(
    ("path", "plan"),
    [("/hold", {"count": 5}), ("/", {"count": 3000, "concurrency": 20})],
    ids=["in a run", "where nobody reads, which does not hold up the load"],
)
def test_the_end_of_standard_input_ends_the_process_at_once(target: Target, path: str, plan: dict[str, Any]) -> None:
    command = [sys.executable, "-m", "taskdemo_cli.loadgen.process"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(encode_command(Plan(url=target.at(path), **plan)))
        process.stdin.flush()
        until(lambda: len(target.requests) == plan["count"], WAIT)
        process.stdin.close()
        assert process.wait(30) == 0
        process.stdout.read()


def test_ctrl_c_is_left_to_the_command_line(load: Load) -> None:
    process = load.loader._child
    assert load.frames.get(timeout=WAIT)[1] == Ready()
    os.kill(process.pid, signal.SIGINT)
    assert load.fire(count=2).errors == [None, None]


def test_a_load_process_that_is_killed_is_reported_as_gone(loader: Loader, frames: Frames) -> None:
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
            loader.run(Plan(url=target.at(), count=12, concurrency=3))
            assert (Fired(frames).errors, target.connections) == ([None] * 12, 3)
            # To connect takes longer over TLS, and is not the client's CPU: it is named for what it is.
            loader.run(Plan(url=target.at(), count=4, rate=1_000_000))
            late = Fired(frames).done
            assert late.late_connecting == late.late > 0
            monkeypatch.delenv("SSL_CERT_FILE")
            done = in_process("fire", "--url", target.at())
            assert done.returncode == 2
            assert "a certificate that is not trusted (self-signed certificate)" in done.stderr
            assert "SSL_CERT_FILE=" in done.stderr
            done = in_process("fire", "--url", target.at().replace("https", "http"), "--json", "--timeout", "20")
            assert done.returncode == 1
    finally:
        loader.close()


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


def test_the_client_is_calibrated_with_the_requests_of_the_run(load: Load) -> None:
    assert load.frames.get(timeout=WAIT)[1] == Ready()
    bare = Plan(url=load.target.at(), count=4, concurrency=1)
    plans = {
        "bare": bare,
        "costly": replace(bare, method="POST", body="x" * 20_000_000),
        "head": replace(bare, method="HEAD", headers=[("X-Large", "y" * 60_000)]),
        "many": replace(bare, count=400, concurrency=20),
        "rated": replace(bare, count=None, concurrency=None, rate=500, for_s=1),
    }
    overheads = {name: calibrate(load.loader, plan, 2000) or 0.0 for name, plan in plans.items()}
    assert all(0 < overhead < 10 for overhead in overheads.values()), overheads  # in seconds, on a slow machine
    assert overheads["costly"] > overheads["bare"]  # 20 MB take longer to hand over than nothing
    assert load.frames.empty()
    assert load.fire(count=2).errors == [None, None]


def test_a_calibration_that_fails_says_none(loader: Loader) -> None:
    loader.close()
    assert calibrate(loader, Plan(url="http://127.0.0.1/", count=5), 1000) is None


def test_more_connections_than_the_machine_can_open_are_named_before_the_run() -> None:
    with pytest.raises(UserError, match=r"^100000000 connections at once .* type --concurrency "):
        check_os_limits(Plan(url="http://127.0.0.1/", count=100_000_000))
    check_os_limits(Plan(url="http://127.0.0.1/", count=100_000_000, concurrency=50))
    check_os_limits(Plan(url="http://127.0.0.1/", count=20, concurrency=100_000_000))


def test_connections_end_where_local_ports_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ports = tmp_path / "ip_local_port_range"
    ports.write_text("40000\t40004\n")
    monkeypatch.setattr("taskdemo_cli.loadgen.os_limits._PORT_RANGE", ports)
    assert most_connections() == 5
    with pytest.raises(UserError, match="exceed the 5 that this machine's local ports allow"):
        check_os_limits(Plan(url="http://127.0.0.1/", count=6))
