"""Real servers for tests, on free ports and forked: what they say and journal, and that nothing is left of them."""

import json
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import psutil
import pytest

import forked
from commands import family_of
from taskdemo_server.contract.child_process import python
from taskdemo_server.contract.events import ENDED, TaskEvent
from taskdemo_server.contract.settings import Settings
from waiting import gone, in_group, until


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
        """The server's processes: itself, and all that were started or forked for it."""
        return [psutil.Process(self.process.pid), *family_of(self.process.pid)]

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
