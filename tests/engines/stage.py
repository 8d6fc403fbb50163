"""Brokers and workers for the tests of the engines: guarded, so that they die with the test, however it ends."""

import secrets
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qs, urlsplit

import psutil
import pytest

import forked
from commands import TASKDEMO, members
from parts import REAL_BROKERS, THERE, needs
from servers import RunningServer
from taskdemo_server.contract.child_process import python
from taskdemo_server.contract.modes import MODES, Engine, Mode
from taskdemo_server.contract.settings import WorkerSettings, WorkSettings
from taskdemo_server.engines import valkey
from taskdemo_server.engines.base import PRIVATE
from waiting import gone, until

if TYPE_CHECKING:
    import psycopg

T = TypeVar("T")

GUARD = """
import sys
from taskdemo_server.runtime.guard import guard
times, ready, *command = sys.argv[1:]
sys.exit(guard(command, ready, times=int(times)))
"""


def parameters(modes: Iterable[Mode]) -> list[Any]:
    """Return these modes as the parameters of a test."""
    return [pytest.param(mode, id=mode.name, marks=needs(mode)) for mode in modes]


def each(start: Callable[[Mode], T]) -> dict[str, T]:
    """Do this with each engine that is there, a few at a time, and return what comes of it, by the engine's name."""
    with ThreadPoolExecutor(3) as some:
        return dict(zip([mode.name for mode in THERE], some.map(start, THERE), strict=True))


EVERY_ENGINE = parameters(mode for mode in MODES if mode.engine is not None)
FIRST_WITH = {mode.engine.private_broker: mode for mode in reversed(MODES) if mode.engine is not None}
"""The first engine with each kind of private broker."""


@contextmanager
def own_database() -> "Iterator[tuple[str, psycopg.Connection[Any]]]":
    """Make a database of the machine's PostgreSQL; give its URL and a connection."""
    import psycopg

    server, name = REAL_BROKERS["postgres"], f"taskdemo_test_{secrets.token_hex(4)}"
    with psycopg.connect(f"{server}postgres", autocommit=True) as maker:
        maker.execute(f"CREATE DATABASE {name}")
        try:
            with psycopg.connect(server + name, autocommit=True) as connection:
                yield server + name, connection
        finally:
            maker.execute(f"DROP DATABASE {name} WITH (FORCE)")


def left_with(broker: str, names: Sequence[str]) -> list[str]:
    """Return what is still there by these names at a real Redis or RabbitMQ, and remove it; nothing else is touched."""
    if broker.startswith("redis"):
        import redis

        with redis.Redis.from_url(broker) as client:
            keys = [key for name in names for key in client.scan_iter(match=f"*{name}*")]
            client.delete("nothing", *keys)
            # Whoever asks Celery's workers anything leaves the bindings of the answers, which Celery itself ends later.
            return [str(key) for key in keys if b"pidbox" not in key and b"binding_deadlines" not in key]
    import amqp.exceptions
    from celery import Celery

    there = []
    for name in names:
        with Celery(broker=broker).connection_for_write() as connection:
            channel = connection.default_channel
            try:
                channel.queue_declare(name, passive=True)
            except amqp.exceptions.NotFound:
                continue
            there.append(name)
            channel.queue_delete(name)
            channel.exchange_delete(name)
    return there


def of(mode: Mode) -> Engine:
    assert mode.engine is not None
    return mode.engine


@dataclass
class Guarded:
    """A program that somebody would start in a terminal, run by a guard."""

    guard: "subprocess.Popen[bytes]"
    log: Path

    @property
    def printed(self) -> str:
        return self.log.read_text()

    @property
    def program(self) -> psutil.Process:
        """The program itself."""
        return psutil.Process(self.guard.pid).children()[0]

    def wait(self, within: float = 60.0) -> int:
        """Return its exit code, once it has ended by itself."""
        return self.guard.wait(within)

    def end(self) -> None:
        assert self.guard.stdin is not None
        assert self.guard.stdout is not None
        self.guard.stdin.close()
        self.guard.stdout.close()
        self.guard.wait(60)


@dataclass
class Stage:
    """A broker, a queue of its own in it, and what is started for one test; all of it is gone at the end."""

    folder: Path
    broker: str = ""
    queue: str = field(default_factory=lambda: f"taskdemo-test-{secrets.token_hex(4)}")
    stack: ExitStack = field(default_factory=ExitStack)
    _count: int = 0

    def run(self, ready: str, *command: str, times: int = 1, **options: Any) -> Guarded:
        """Start a program; `ready` is what it prints, so many times, when it is."""
        return self._guarded(subprocess.Popen, [sys.executable, "-c", GUARD, str(times), ready, *command], **options)

    def _guarded(self, start: Callable[..., Any], command: Sequence[str], **options: Any) -> Guarded:
        self._count += 1
        log = self.folder / f"{self._count}.log"
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with log.open("wb") as file:
            guarded = Guarded(start(command, stderr=file, start_new_session=True, **pipes, **options), log)
        self.stack.callback(guarded.end)
        return guarded

    def ready(self, *started: Guarded) -> None:
        """Wait until these are ready."""
        for one in started:
            assert one.guard.stdout is not None
            assert one.guard.stdout.readline() == b"ready\n", one.printed

    def valkey(self, port: int = 0, *options: str) -> Guarded:
        """Start a Valkey on loopback, and wait until it answers; `broker` is its URL from now on."""
        port = port or free_port()
        command = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder), *options]
        broker = self.run("Ready to accept connections", str(valkey.binary()), *command)
        self.ready(broker)
        self.broker = f"redis://127.0.0.1:{port}/0"
        return broker

    def a_broker(self, mode: Mode) -> None:
        """Have a broker of the kind that this engine's private one is; `broker` is its URL from now on."""
        kind = PRIVATE[of(mode).private_broker]
        if kind.module is None:
            self.broker = kind.url(str(self.folder))
            return
        broker = self._guarded(forked.popen, python(kind.module, kind.make_folder(None)))
        assert broker.guard.stdout is not None
        self.broker = broker.guard.stdout.readline().decode().strip()

    def worker(self, mode: Mode, work: str = "sleep", *, by_hand: bool = False, **given: Any) -> Guarded:
        """Start a worker on this stage's queue, with one process: as a server does or, `by_hand`, as somebody would."""
        processes = given.pop("processes", 1)
        settings = WorkerSettings(
            engine=mode.name,
            broker=self.broker,
            queue=self.queue,
            processes=processes,
            work=WorkSettings(mode=mode.name, work=work, console=True, **given),
            private=not by_hand,
        )
        command = python("taskdemo_server.worker", settings.to_json())
        if by_hand:
            return self.run(of(mode).ready, *command, times=processes if of(mode).ready_each else 1)
        return self._guarded(forked.popen, command)

    def command(self, mode: Mode, *options: str, **more: Any) -> Guarded:
        """Start `taskdemo worker` itself, which takes tasks from the usual queue."""
        command = [TASKDEMO, "worker", "--engine", mode.name, "--broker", self.broker, *options]
        return self.run(of(mode).ready, *command, **more)


@contextmanager
def staging(folder: Path) -> Iterator[Stage]:
    folder.mkdir(mode=0o700)
    stage = Stage(folder)
    with stage.stack:
        yield stage


def ask(server: RunningServer, **given: str) -> str:
    """Start a task, and return its id."""
    answer = server.get(params=given)
    assert answer.status_code == 200, answer.text
    return str(answer.headers["X-Task-ID"])


def own_broker(server: RunningServer) -> Path:
    """Return the folder of the private broker."""
    url = server.get("/health").json()["broker"]
    if url.startswith("postgresql:"):
        return Path(parse_qs(urlsplit(url).query)["host"][0])
    return Path(url.partition("://")[2]).parent


def nothing_is_left(processes: Sequence[psutil.Process], folder: Path) -> None:
    until(lambda: gone(processes) and not folder.exists())


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def all_of(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children(recursive=True)]


def private(server: RunningServer, module: str = "taskdemo_server.worker") -> psutil.Process:
    """Return the private worker of a server, or its broker: the program that this guard runs."""
    [guard] = members(server.process.pid, module)
    return guard.children()[0]
