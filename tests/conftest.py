"""Fixtures that more than one test file uses: above all, real servers on free ports, gone when the test ends."""

import json
import os
import queue
import re
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import httpx
import hypothesis
import psutil
import pytest

import chromium
import forked
from taskdemo_cli.loadgen.loader import Loader
from taskdemo_cli.loadgen.protocol import Frames
from taskdemo_server.contract.child_process import python
from taskdemo_server.contract.events import ENDED, TaskEvent
from taskdemo_server.contract.settings import Settings

if TYPE_CHECKING:
    from engines.stage import Stage

for one in ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"):  # people have none; what is different has its own tests
    os.environ.pop(one, None)
hypothesis.settings.register_profile(
    "any speed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any speed")

T = TypeVar("T")
LONGEST = (
    *("engine_limits", "brokers_away", "engine_ends", "lifecycle", "celery", "real_brokers", "live_page", "contract"),
    *("verdicts_of_modes", "docs"),
)
"""The files that take longest: they begin, so that nobody waits for the last of them at the end."""
HELD = """
import pathlib, time

def work(message):
    while not pathlib.Path(__file__).with_name("go").exists():
        time.sleep(0.01)
"""
QUIETEST = "own_app_table"
"""What is said of an application is "not clear" on a busy machine: it comes last, beside the fewest others."""


def pytest_configure(config: pytest.Config) -> None:
    """Start the process that forks, one for all who run tests; it imports while these are collected."""
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        forked.forks_at()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files in that order."""
    place = {f"test_{name}.py": 0 for name in LONGEST} | {f"test_{QUIETEST}.py": 2}
    items.sort(key=lambda item: place.get(item.path.name, 1))


def until(condition: Callable[[], T], within: float = 60.0) -> T:
    """Return `condition()` soon after it is true; fail the test when it is not within so many seconds.

    The longer that takes, the more seldom it is looked at: others need the processor for what is waited for.
    """
    begun = time.monotonic()
    while not (value := condition()):
        waited = time.monotonic() - begun
        if waited > within:
            pytest.fail(f"still {value!r} after {within} s", pytrace=True)
        time.sleep(min(0.01 + waited / 20, 0.1))
    return value


@contextmanager
def another_thread_waits() -> Iterator[list[None]]:
    """Let a thread wait for the interpreter; what is yielded fills once it has had it."""
    turns: list[None] = []
    begin, usual = threading.Event(), sys.getswitchinterval()

    def compute() -> None:
        begin.wait()
        turns.append(None)

    other = threading.Thread(target=compute)
    other.start()
    try:
        sys.setswitchinterval(20)  # so long does whoever keeps it keep it, unless he lets it go
        begin.set()
        yield turns
    finally:
        sys.setswitchinterval(usual)
        other.join()


def lives(process: psutil.Process) -> bool:
    """Tell whether this one runs: a zombie has ended, though init may take seconds to notice."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def gone(processes: Iterable[psutil.Process]) -> bool:
    """Tell whether all of these have ended."""
    return not any(map(lives, processes))


def in_group(group: int) -> Iterator[psutil.Process]:
    """Give the processes of this group."""
    with suppress(ProcessLookupError):
        os.killpg(group, 0)  # mostly nobody is left, which is quicker to see so
        for process in psutil.process_iter():
            with suppress(ProcessLookupError):
                if os.getpgid(process.pid) == group:
                    yield process


def call(url: str, count: int) -> list[threading.Thread]:
    """Send so many requests at the same time, at whose answers nobody looks; return the callers."""

    def one() -> None:
        with suppress(httpx.HTTPError):
            httpx.get(url, timeout=60, trust_env=False)

    callers = [threading.Thread(target=one, daemon=True) for _ in range(count)]
    for caller in callers:
        caller.start()
    return callers


STARTING = re.compile(r"^(still starting|Process \d+ is still importing \S+)\n", re.MULTILINE)


def read_events(journal: Path | str) -> list[TaskEvent]:
    """Return what can be read of a journal."""
    return [event for line in Path(journal).read_bytes().splitlines() if (event := TaskEvent.from_line(line))]


@dataclass
class RunningServer:
    """A server that serves, and the files it writes."""

    settings: Settings
    process: "subprocess.Popen[Any]"
    folder: Path
    url: str = ""
    port: int = 0
    client: httpx.Client = field(default_factory=httpx.Client)

    @property
    def journal(self) -> Path:
        return Path(self.settings.journal)

    @property
    def printed(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def complained(self) -> str:
        """What stands on its standard error, without that its start takes long, which is the machine's doing."""
        return STARTING.sub("", (self.folder / "err").read_text())

    def get(self, path: str = "/", **given: Any) -> httpx.Response:
        return self.client.get(path, **given)

    def burst(self, count: int) -> list[httpx.Response]:
        """Ask from so many callers at the same time; return what each was answered."""
        with httpx.Client(timeout=60, trust_env=False) as client, ThreadPoolExecutor(count) as callers:
            return list(callers.map(lambda _: client.get(self.url), range(count)))

    def events(self) -> list[TaskEvent]:
        """What the journal has, in the order of the clock: processes write beside each other."""
        return sorted(read_events(self.journal), key=lambda event: event.clock)

    def states(self, task_id: str | None = None) -> list[str]:
        return [event.state for event in self.events() if task_id in (None, event.id)]

    def running(self) -> set[str]:
        """The tasks that have started and not ended."""
        ended = {event.id for event in self.events() if event.state in ENDED}
        return {event.id for event in self.events() if event.state == "started"} - ended

    def ended(self, count: int, within: float = 60.0) -> list[TaskEvent]:
        """Wait until `count` tasks have ended, and return the events that say so."""

        def ends() -> list[TaskEvent]:
            return [event for event in self.events() if event.state in ENDED]

        until(lambda: len(ends()) >= count, within)
        return ends()

    @contextmanager
    def another(self) -> Iterator[httpx.Client]:
        """Give a connection to another server process than the one that `client` talks to."""
        one = psutil.Process(self.get("/health").json()["pid"])
        with httpx.Client(base_url=self.url, timeout=60, trust_env=False) as client:
            one.suspend()
            try:
                until(lambda: one.status() == psutil.STATUS_STOPPED)  # whoever is awake takes the connection
                client.get("/health")
            finally:
                one.resume()
            yield client

    def family(self) -> list[psutil.Process]:
        """The server's processes: itself, and all it has started."""
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, within: float = 60.0) -> int:
        return self.process.wait(within)


Start: TypeAlias = Callable[..., RunningServer]
"""Starts a server with these settings; it ends with the test."""


@contextmanager
def serving(folder: Path, /, *, anew: bool = False, piped: bool = False, **given: Any) -> Iterator[RunningServer]:
    """Start a server, wait until it serves, and leave nothing of it behind.

    `anew`: it imports everything itself. `piped`: what it prints goes into a pipe.
    """
    folder.mkdir(parents=True, exist_ok=True)
    announce = folder / "announce"
    announce.unlink(missing_ok=True)
    fields = {"mode": "background", "journal": str(folder / "journal"), "announce": str(announce)}
    settings = Settings(**fields | {"port": 0, "duration": 0.1} | given)
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        start: Callable[..., Any] = subprocess.Popen if anew else forked.popen
        command = python("taskdemo_server.serve", settings.to_json())
        printed = subprocess.PIPE if piped else out
        process = start(command, stdin=subprocess.PIPE, stdout=printed, stderr=err, start_new_session=True)
    try:
        with httpx.Client(timeout=60, trust_env=False) as client:
            until(lambda: announce.exists() or process.poll() is not None)
            if process.poll() is not None:
                pytest.fail(f"the server ended with {process.returncode}: {(folder / 'err').read_text()}")
            told = json.loads(announce.read_text())
            client.base_url = told["url"]
            yield RunningServer(settings, process, folder, told["url"], told["port"], client)
    finally:
        process.stdin.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(30)
            pytest.fail("the server outlived its lifeline")
        finally:
            # The server leads a process group of its own, so whoever is left is in it.
            until(lambda: gone(in_group(process.pid)))


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a server with the given settings; all of them end with the test."""
    with ExitStack() as stack:
        count = 0

        def start(**given: Any) -> RunningServer:
            nonlocal count
            count += 1
            return stack.enter_context(serving(tmp_path / f"server{count}", **given))

        yield start


def refusal(start_server: Start, **given: Any) -> str:
    """Start a server that cannot start; return the one sentence that it says."""
    with pytest.raises(pytest.fail.Exception) as failed:
        start_server(**given)
    nothing, begin, said = str(failed.value).partition("the server ended with 2: taskdemo: ")
    assert (nothing, bool(begin), said.count("\n")) == ("", True, 1), failed.value
    return said


def own_work(folder: Path, code: str) -> dict[str, Any]:
    """Return the settings of a server or a worker whose work is the function `work` of this code."""
    (folder / "mine.py").write_text(code)
    return {"work": "mine:work", "folder": str(folder)}


@pytest.fixture
def held(tmp_path: Path) -> dict[str, Any]:
    """Settings of a server whose work lasts until the test touches `tmp_path / "go"`, however slow the machine is."""
    return own_work(tmp_path, HELD)


@pytest.fixture
def frames() -> Frames:
    return queue.Queue()


@pytest.fixture
def loader(frames: Frames) -> Iterator[Loader]:
    """A load process that puts what it reports into `frames`."""
    with forked.forking():
        loader = Loader(frames, log=2)
        yield loader
        loader.close()


@pytest.fixture
def stage(tmp_path: Path) -> "Iterator[Stage]":
    """A queue of one's own for brokers and workers of the engines."""
    from engines.stage import staging

    with staging(tmp_path / "stage") as stage:
        yield stage


@pytest.fixture(scope="module")
def shared_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One `background` server with short work, for all the tests of a file that leave it as it was."""
    with serving(tmp_path_factory.mktemp("shared"), duration=0) as server:
        yield server


def without(what: str) -> None:
    """Skip for want of a real part, or fail where all parts must be there."""
    if os.environ.get("TASKDEMO_REQUIRE_PARTS") == "1":
        pytest.fail(f"needs {what}, and TASKDEMO_REQUIRE_PARTS=1 says that it is there")
    pytest.skip(f"needs {what}")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Browser]:
    program = chromium.found()
    if program is None:
        without("Chromium or Chrome")
        return
    with chromium.browser(program, tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, from the file that $TASKDEMO_AXE names: a test fetches nothing."""
    path = Path(os.environ.get("TASKDEMO_AXE", ""))
    if not path.is_file():
        without("axe-core: `npm pack axe-core@4`, and TASKDEMO_AXE naming the axe.min.js in it")
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ssl.SSLContext]:
    """What a server needs that the client trusts."""
    from certificates import server_context  # which imports from here

    folder = tmp_path_factory.mktemp("tls")
    context = server_context(folder)
    trusting = ssl.create_default_context(cafile=folder / "certificate.pem")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("taskdemo_cli.loadgen.tls.context", lambda: trusting)
        yield context
