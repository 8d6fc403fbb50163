"""Whatever the other side does, `fire` ends, accounts for every request, and says what happened; so it does without
room on the disk, without a terminal, and without file descriptors."""

import contextlib
import json
import os
import queue
import resource
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

import samples
from commands import TASKDEMO, all_gone, eventually, family_of, one_sentence, running, serving, taskdemo
from samples import sample
from taskdemo_cli.loadgen.connection import Origin
from taskdemo_cli.loadgen.protocol import Batch, Plan
from taskdemo_cli.processes import event_stream, servers
from taskdemo_cli.processes.event_stream import Heard, ServerGone, Watcher
from taskdemo_cli.processes.signals import StopRequest
from taskdemo_cli.runner import rig
from taskdemo_cli.runner.rig import Rig, Unseen
from taskdemo_cli.runner.target import find_target

Answer = Callable[[socket.socket, str], None]
"""What a server does with a connection on which this path was asked for."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


class RawServer:
    """A server that does with each connection what it is told, and can vanish and come back."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self.port = 0
        self.appear()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def appear(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(128)
        self.port = listener.getsockname()[1]
        self._open = [listener]
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def vanish(self) -> None:
        with self._lock:
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with self._lock:
                    if listener.fileno() < 0:  # it has vanished meanwhile
                        connection.close()
                        return
                    self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while head := connection.recv(65536):
                self._answer(connection, head.split()[1].decode().partition("?")[0])


@contextlib.contextmanager
def raw_server(answer: Answer) -> Iterator[RawServer]:
    server = RawServer(answer)
    try:
        yield server
    finally:
        server.vanish()


def stranger(answer: Callable[[socket.socket], object]) -> Answer:
    """A server that is none of ours, and treats every other request so."""

    def serve(connection: socket.socket, path: str) -> None:
        if path == "/health":
            connection.sendall(NOT_FOUND)
        else:
            answer(connection)

    return serve


def after(seconds: float) -> Callable[[socket.socket], object]:
    """Answer, as slowly as that."""

    def answer(connection: socket.socket) -> None:
        time.sleep(seconds)
        connection.sendall(OK)

    return answer


def hang(connection: socket.socket) -> None:
    connection.recv(1)


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def half(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it")
    connection.shutdown(socket.SHUT_RDWR)


def stop_half_way(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")
    hang(connection)


def garbage(connection: socket.socket) -> None:
    connection.sendall(b"\x00\xff\x1b[31mSSH-2.0-nonsense\r\n\r\n" * 100)


def close(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_RDWR)


def endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"400\r\n" + b"x" * 1024 + b"\r\n")
        time.sleep(0.001)


def drip(connection: socket.socket) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"s" * 1000:
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


def huge_headers(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Huge: " + b"h" * 4_000_000)


def test_every_request_to_a_server_that_misbehaves_is_accounted_for() -> None:
    in_silence = [hang, stop_half_way, endless, drip]
    in_error = [half, garbage, huge_headers, close, reset]
    behaviours = iter([*in_silence, *in_error])
    count = len(in_silence) + len(in_error)
    with raw_server(stranger(lambda connection: next(behaviours)(connection))) as server:
        done = taskdemo("fire", "--url", server.url, "--count", str(count), "--timeout", "1", "--json", timeout=30)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    run = json.loads(done.stdout)
    errors = run["summary"]["requests"]["errors"]
    assert run["summary"]["requests"]["failed"] == len(run["requests"]) == sum(errors.values()) == count
    assert errors["ReadTimeout"] == len(in_silence)
    assert errors["RemoteProtocolError"] >= 2  # what is half an answer or none, whatever came of the connection
    assert errors.keys() <= {"ReadTimeout", "RemoteProtocolError", "WriteError", "ReadError"}
    assert any(error in run["verdict"] for error in errors)
    assert run["tasks"] == []


def test_a_server_that_vanishes_and_comes_back_is_fired_at_again() -> None:
    with (
        raw_server(stranger(after(0.02))) as server,
        running("fire", "--url", server.url, "--for", "2", "--concurrency", "2", "--json") as process,
    ):
        assert process.stderr is not None
        assert any("answered" in line for line in process.stderr)
        server.vanish()
        time.sleep(0.4)
        server.appear()
        out, err = process.communicate(timeout=30)
    assert process.returncode == 1, err
    run = json.loads(out)
    requests = run["summary"]["requests"]
    assert requests["errors"]["ConnectError"] > 0
    assert requests["ok"] + requests["failed"] == len(run["requests"])
    last = run["requests"][-1]
    assert last["status"] == 200


def silent_about_itself(connection: socket.socket, path: str) -> None:
    if path == "/health":
        hang(connection)
    connection.sendall(OK)


def test_a_server_that_does_not_say_what_it_is_is_fired_at_all_the_same() -> None:
    with raw_server(silent_about_itself) as server:
        done = taskdemo("fire", "--url", server.url, "--count", "2", "--json")
    assert done.returncode == 0, done.stderr
    assert "did not say what it is" in done.stderr
    assert json.loads(done.stdout)["summary"]["requests"]["ok"] == 2


HEALTH = {
    "server": "taskdemo",
    "version": "0",
    "mode": "background",
    "work": "sleep",
    "duration_s": 1.0,
    "journal_offset": 0,
    "clock": 1.0,
}


def http(body: bytes, kind: str = "application/json") -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


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
        *(
            json.dumps(HEALTH | {name: value}).encode()
            for name, value in [
                ("mode", 5),
                ("mode", {}),
                ("work", ["sleep"]),
                ("app", "evil:app"),
                ("duration_s", float("nan")),
                ("duration_s", "1"),
                ("duration_s", -1),
                ("duration_s", True),
                ("clock", float("inf")),
                ("clock", None),
                ("journal_offset", -1),
                ("journal_offset", 1.5),
                ("journal_offset", 10**30),
                ("journal_offset", "0\r\nHost: evil"),
            ]
        ),
    ],
    ids=lambda lie: lie[:60].decode("latin-1"),
)
def test_a_server_that_lies_about_itself_is_taken_for_a_stranger(lie: bytes) -> None:
    with raw_server(lambda connection, _: connection.sendall(http(lie))) as server:
        assert servers.health(server.url) is None


@pytest.mark.parametrize(
    ("url", "port"), [("http://[::1]/", 80), ("https://[::1]", 443), ("http://[2001:db8::7]:81", 81)]
)
def test_an_address_of_ipv6_needs_no_port(url: str, port: int) -> None:
    asked, fired = servers.connect(url, 1), Origin(httpx.URL(url))
    assert (asked.host, asked.port) == (fired._host, port) == (urlsplit(url).hostname, port)
    assert fired._port == port or url.startswith("https")  # which goes through httpx


def test_an_answer_that_drips_is_not_waited_for() -> None:
    with raw_server(lambda connection, _: drip(connection)) as server, pytest.raises(servers.SilentError):
        servers.get_json(server.url, "/health", timeout=0.3)


def event(**given: Any) -> bytes:
    fields = {
        "id": "t1",
        "state": "started",
        "at": 1.0,
        "clock": 1.0,
        "mode": "background",
        "host": "here",
        "pid": 1,
        "thread": "x",
    }
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


def follow(serve: Answer, within: float = 20, patient: Callable[[], bool] = lambda: False) -> list[tuple[str, Any]]:
    """Return what a watcher of such a server reports until it says that the server is gone."""
    sink: queue.Queue[tuple[str, Any]] = queue.Queue()
    with raw_server(serve) as server:
        watcher = Watcher(server.url, sink, 0, patient=patient)
        watcher.start()
        reported: list[tuple[str, Any]] = []
        while not reported or not isinstance(reported[-1][1], ServerGone):
            reported.append(sink.get(timeout=within))
        watcher.join(5)
        assert not watcher.is_alive()
    return reported


def test_events_that_are_none_are_passed_over() -> None:
    answered = []

    def serve(connection: socket.socket, _: str) -> None:
        answered.append(1)
        if len(answered) == 1:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + LIES)
        connection.shutdown(socket.SHUT_RDWR)

    reported = follow(serve)
    events = [one for _, content in reported if isinstance(content, Heard) for one in content.events]
    assert {(one.id, one.state) for one in events} == {("t2", "started")}


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
    def serve(connection: socket.socket, _: str) -> None:
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_RDWR)

    assert [type(content) for _, content in follow(serve)] == [ServerGone]


def test_a_server_whose_event_loop_is_blocked_is_not_gone_while_it_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(event_stream, "SILENCE_S", 0.02)
    connections = []

    def serve(connection: socket.socket, _: str) -> None:
        connections.append(1)
        connection.recv(1)  # until it is hung up

    assert [type(content) for _, content in follow(serve, patient=lambda: len(connections) < 4)] == [ServerGone]
    assert len(connections) >= 4


@pytest.mark.parametrize(("ran", "given_up"), [(False, True), (True, False)], ids=["none runs", "one runs"])
def test_tasks_of_which_none_is_begun_are_given_up_after_a_minute_although_a_worker_answers(
    ran: bool, given_up: bool
) -> None:
    told = HEALTH | {"mode": "celery", "broker": "redis://here", "worker": True}
    with raw_server(lambda connection, _: connection.sendall(http(json.dumps(told).encode()))) as server:
        run = rig._Run(Rig(StopRequest()), find_target(server.url), Plan(url=server.url, count=2), Unseen())
        run.recorder.load(Batch([sample(n, 0.01, task=f"t{n}") for n in (1, 2)]))
        if ran:
            run.recorder.event(samples.event("t1", "started", 0.1))
        assert not any(run._is_stalled(after) for after in (0.0, 30.0, rig.STALLED_S - 1))
        assert run._is_stalled(rig.STALLED_S + 30) == given_up
    why = "for 60 s no task was heard to begin, although a worker answers on the broker: one that was started with"
    assert run.stalled == (f"{why} --server {server.url} tells of what it does" if given_up else None)


def test_an_event_without_an_end_is_not_kept() -> None:
    sending = threading.Event()

    def serve(connection: socket.socket, _: str) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\ndata: ")
        sending.set()
        for _round in range(6):
            connection.sendall(b"x" * 1_000_000)
        connection.shutdown(socket.SHUT_RDWR)

    # Each connection brings bytes, so it is tried again; what matters is that nobody dies of it.
    sink: queue.Queue[tuple[str, Any]] = queue.Queue()
    with raw_server(serve) as server:
        watcher = Watcher(server.url, sink, 0)
        watcher.start()
        assert sending.wait(10)
        watcher.stop()
        watcher.join(10)
        assert not watcher.is_alive()
    assert sink.empty()


def liar(connection: socket.socket, path: str) -> None:
    if path == "/health":
        lie = HEALTH | {"mode": "\x1b[31mblocking\u202e", "work": "[red]sleep", "duration_s": 1e9}
        connection.sendall(http(json.dumps(lie).encode()))
    elif path == "/events":
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + LIES)
        connection.shutdown(socket.SHUT_RDWR)
    else:
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nX-Task-ID: \x1b[31m\xff t2 [bold]\r\nContent-Length: 2\r\n\r\nok"
            if path == "/"
            else http(b"{}")
        )


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_whatever_a_liar_says_it_ends_in_time_and_steers_no_terminal(more: list[str]) -> None:
    with raw_server(liar) as server:
        done = taskdemo("fire", "--url", server.url, "--count", "3", "--timeout", "3", *more, timeout=40)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert not any(evil in done.stdout + done.stderr for evil in ("\x1b", "\u202e"))


# --- our own processes -------------------------------------------------------------------------------------


def member(pid: int, module: str) -> int:
    """Return the process of that module, of those that a command has started, once it is there."""
    found: list[int] = []

    def look() -> bool:
        with contextlib.suppress(Exception):
            found[:] = [one.pid for one in family_of(pid) if module in one.cmdline()]
        return bool(found)

    assert eventually(look), module
    return found[-1]


@pytest.mark.parametrize(("which", "name"), [(0, "load"), (1, "bystander")])
def test_a_measuring_process_that_dies_ends_the_command_with_one_sentence(which: int, name: str) -> None:
    with running("fire", "--mode", "blocking", "--duration", "2", "--count", "9", "--json", anew=True) as process:
        assert process.stderr is not None
        assert any("request 1" in line for line in process.stderr)
        family = family_of(process.pid)
        loads = sorted(one.pid for one in family if "taskdemo_cli.loadgen.process" in one.cmdline())
        os.kill(loads[which], signal.SIGKILL)
        out, err = process.communicate(timeout=15)
    assert process.returncode == 2, err
    assert out == ""
    assert err.strip().splitlines()[-1] == f"taskdemo: the {name} process ended unexpectedly (exit -9); run it again"
    assert all_gone(family)


def test_a_fork_server_that_dies_takes_its_servers_along_and_is_not_waited_for() -> None:
    with running("compare", "--modes", "blocking,background", "--duration", "5", anew=True) as process:
        fork_server = member(process.pid, "taskdemo_server.runtime.fork_server")
        family = family_of(process.pid)
        os.kill(fork_server, 9)
        started = time.monotonic()
        process.communicate(timeout=30)
        assert time.monotonic() - started < 20
        assert process.returncode in {1, 2}
        assert all_gone(family)


# --- this side's own want ----------------------------------------------------------------------------------


def test_a_full_disk_under_stdout_is_said_and_fails(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    saved = tmp_path / "run.json"
    with Path("/dev/full").open("w") as full:
        done = taskdemo("fire", "--mode=background", "--duration=0", "--json", "--save", str(saved), stdout=full)
    assert done.returncode == 1
    assert "could not be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert json.loads(saved.read_text())["summary"]["requests"]["ok"] == 1


@pytest.mark.parametrize("arguments", [["--help"], ["fire", "--help"], ["--version"]], ids=" ".join)
def test_help_for_which_there_is_no_room_is_said_and_fails_and_a_reader_may_leave(arguments: list[str]) -> None:
    if Path("/dev/full").exists():
        with Path("/dev/full").open("w") as full:
            done = taskdemo(*arguments, stdout=full)
        assert (done.returncode, one_sentence(done.stderr)) == (1, True), done.stderr
        assert "could not be written" in done.stderr
    reading, writing = os.pipe()
    os.close(reading)
    done = taskdemo(*arguments, stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_standard_stream_keeps_nothing_from_being_saved(closed: str, tmp_path: Path) -> None:
    saved = tmp_path / "run.json"
    line = f"{TASKDEMO} fire --mode background --duration 0 --count 2 --save {saved} {closed}"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert json.loads(saved.read_text())["summary"]["requests"]["ok"] == 2


def test_a_result_for_which_there_is_no_room_is_said_and_leaves_no_half_file(tmp_path: Path) -> None:
    saved = tmp_path / "run.json"
    page = tmp_path / "run.html"
    with serving("--duration", "0") as (_, port):
        line = f"ulimit -f 4; {TASKDEMO} fire --port {port} --count 200 --save {saved} --html {page}"
        # Coverage, where it is measured, would have no room for its own file either, and say so.
        env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
        done = subprocess.run(
            ["bash", "-c", line],
            env={**env, "TMPDIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 1, done.stderr
    assert str(saved) in done.stderr
    assert str(page) in done.stderr
    assert "Traceback" not in done.stderr
    assert not [file for file in tmp_path.rglob("*") if file.name != f"taskdemo-{os.getuid()}"]


def test_a_server_whose_journal_finds_no_room_is_not_waited_for_without_end(tmp_path: Path) -> None:
    saved = tmp_path / "run.json"
    line = f"ulimit -f 1; {TASKDEMO} fire --mode background --duration 0 --count 50 --json"
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    with saved.open("w") as out:
        process = subprocess.run(
            # What is printed must not count: the limit is on files, and a pipe is none.
            ["bash", "-c", f"({line}) | cat"], stdout=out, stderr=subprocess.PIPE, check=False, timeout=60, env=env
        )  # fmt: skip
    assert process.returncode == 0  # of cat
    run = json.loads(saved.read_text())
    assert "journal cannot be written" in run["ended_because"]
    assert run["summary"]["requests"]["ok"] == 50
    assert run["summary"]["tasks"]["lost"] == 0
    assert run["summary"]["tasks"]["accepted"] >= run["summary"]["tasks"]["unfinished"] > 0


def test_nothing_is_imported_from_the_current_folder(tmp_path: Path) -> None:
    names = ("queue", "signal", "httpx", "uvloop", "redis", "celery", "uvicorn", "fastapi", "taskdemo_server")
    for name in names:
        (tmp_path / f"{name}.py").write_text("open('imported', 'w'); raise ImportError")
    modes = ("--modes", "background,process,celery")
    done = taskdemo("compare", *modes, "--duration", "0", "--count", "2", anew=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(f"{name}.py" for name in names)


def test_a_server_that_falls_silent_before_it_ends_is_said_to_have_ended(tmp_path: Path) -> None:
    fatal = "import os, time\ndef work(message): os.closerange(3, 1000); time.sleep(0.6); os._exit(7)\n"
    (tmp_path / "fatal.py").write_text(fatal)
    done = taskdemo("fire", "--mode", "blocking", "--work", "fatal:work", "--count", "2", "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert "exit 7" in json.loads(done.stdout)["ended_because"]


def limited(files: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))


@pytest.mark.parametrize("command", [["fire", "--mode", "background"], ["compare", "--modes", "background"]])
def test_more_connections_than_file_descriptors_are_refused_before_the_run(command: list[str]) -> None:
    done = taskdemo(*command, "--count", "500", anew=True, preexec_fn=limited(256))
    assert done.returncode == 2
    assert done.stdout == ""
    assert "ulimit" in done.stderr
    assert "192" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_open_loop_beyond_the_file_descriptors_waits_and_says_so() -> None:
    with raw_server(stranger(after(0.3))) as server:
        arguments = ["fire", "--url", server.url, "--rate", "400", "--for", "0.5", "--json"]
        done = taskdemo(*arguments, anew=True, preexec_fn=limited(96))
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)
    counts = run["summary"]["requests"]
    assert (counts["ok"], counts["failed"], counts["errors"]) == (200, 0, {})
    assert run["late_sends"] > 0
