"""Conducts runs: one burst at one server, or the same burst at a server of every mode. Knows no screen's insides.

The command's main thread is here: it drains what the load process, the bystander process and the event stream
report, folds it into the recorder, and lets a screen draw between two helpings.
"""

import contextlib
import functools
import math
import os
import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol, Self

from msgspec import UNSET, convert
from msgspec.structs import replace

from taskdemo_cli.documents.run import OwnFunction, RunDocument, RunHeader, Skipped
from taskdemo_cli.errors import UserError
from taskdemo_cli.loadgen.calibration import calibrate
from taskdemo_cli.loadgen.loader import Loader
from taskdemo_cli.loadgen.protocol import Done, Gone, Plan, Refused, Started
from taskdemo_cli.loadgen.proxies import proxy_for
from taskdemo_cli.processes import servers
from taskdemo_cli.processes.event_stream import Heard, JournalTrouble, ServerGone, Watcher, clock_offset
from taskdemo_cli.processes.signals import StopRequest
from taskdemo_cli.recording.recorder import Recorder
from taskdemo_cli.recording.sightings import Sightings, fold
from taskdemo_cli.recording.summary import doubted
from taskdemo_server.contract.events import WARM_UP
from taskdemo_server.contract.modes import MODE_BY_NAME
from taskdemo_server.contract.settings import BUILT_IN_WORKS
from taskdemo_server.contract.text import shortened

TICK_S = 0.125
"""Seconds between two looks of the screen at the figures."""
UNHEARD_S = 5.0
"""How long a server that cannot write its journal is waited for, to be able to again."""
SETTLE_S = 0.75
"""How long the user's own application is watched before the first request: what blocks it then is not the endpoint."""
QUIET_S = 0.5
"""So long after a run, what the application does next has been seen."""
STIRRING_S = 3.0
"""How long to wait for an event loop that is still blocked after the run, and for tasks that have not ended."""
LAST_BREATH_S = 2.0
"""How long it may take until the end of a server that has just broken off, or fallen silent, is known."""
BYSTANDER_RATE = 10.0
"""Calls of GET /ping per second, sent on schedule whatever the answers do."""
WARM_UP_MOST = 40
"""Requests of a warm-up at the most: FastAPI has so many threads, and each may open a connection to a broker."""
WARM_UP_S = 20.0
"""How long a warm-up may take: what a server has not done by then, it will not do."""


ServerState = Literal["well", "unheard", "gone", "ended"]
"""`unheard`: it cannot say what becomes of its tasks; `gone`: it answers nobody; `ended`: its process is no more."""
End = Literal["done", "asked to stop", "deadline", "gone", "unheard"]
"""Why a part of a run was over."""


class Screen(Protocol):
    """Whatever shows a run while it goes on."""

    def update(self, source: Recorder, now: float) -> None:
        """Show the figures at the moment `now` of the monotonic clock."""
        ...


class ComparisonScreen(Screen, Protocol):
    """Whatever shows mode after mode."""

    def start(self, mode: str, stage: str = "") -> None:
        """Show that the next run begins, in this mode."""
        ...

    def done(self, run: RunDocument) -> None:
        """Show how it ended."""
        ...

    def skip(self, mode: str, why: str) -> None:
        """Show that a mode cannot be run, and why."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """A server to fire at."""

    url: str
    path: str = "/"
    health: dict[str, Any] | None = None
    """What its /health said; None where it is not a taskdemo server."""
    server: servers.Server | None = None
    """The process, where it is our own."""
    token: str | None = None
    offset: float = 0.0
    """Seconds that its clock is ahead of ours."""
    under: str = ""
    """Where taskdemo's own paths are."""

    @property
    def mode(self) -> str | None:
        """The mode it is in, where it is a taskdemo server."""
        return self._said("mode")

    @property
    def work(self) -> str | None:
        """The work that it does, where it is a taskdemo server in a mode."""
        return None if self.app else self._said("work")

    @property
    def app(self) -> str | None:
        """The user's own application, where it serves that."""
        return self._said("app")

    @property
    def own_work(self) -> OwnFunction | None:
        """How it calls the user's own function, where its work is one."""
        called = self.health.get("own_work") if self.health else None
        return called and convert(called, OwnFunction)

    @property
    def duration_s(self) -> float | None:
        """Seconds that its work takes, where the work is one of the built-in ones."""
        return float(self.health["duration_s"]) if self.health and self.work in BUILT_IN_WORKS else None

    @property
    def slots(self) -> int | None:
        """How many works it can run at once, where it knows."""
        return self.health.get("slots") if self.health else None

    @property
    def bystander_path(self) -> str | None:
        """What a bystander asks for; None where the server offers nothing that costs it nothing."""
        return f"{self.under}/ping" if self.health else None

    @property
    def threads_path(self) -> str | None:
        """What a second bystander asks for, whom worker threads answer: beside the user's own application."""
        return f"{self.under}/ping/sync" if self.app else None

    def mark(self) -> int:
        """Return how far the server's journal has come: what is `found` from there on is of the run that follows."""
        return Path(self._journal).stat().st_size if self._journal else 0

    def settle(self, stopping: StopRequest) -> None:
        """Let the user's own application be watched for a while before anybody asks it anything."""
        end = time.monotonic() + SETTLE_S
        while self.app is not None and time.monotonic() < end and not stopping.asked:
            time.sleep(TICK_S)

    def found(self, mark: int, stopping: StopRequest, *, wait: bool = True) -> Sightings:
        """Return what the server of the user's own application has seen of it since `mark`.

        With `wait`, once the event loop is quiet and the tasks that were left behind have ended, or STIRRING_S later.
        Read from the journal, because a loop that is blocked answers nobody.
        """
        began = time.monotonic()
        while True:
            seen = self._seen(mark)
            waited = time.monotonic() - began
            if not wait or stopping.asked or waited > STIRRING_S or (waited > QUIET_S and seen.is_quiet):
                return seen
            time.sleep(min(TICK_S, QUIET_S - waited) if waited < QUIET_S else TICK_S)

    def _seen(self, mark: int) -> Sightings:
        if self._journal is None:
            return Sightings()
        with open(self._journal, "rb") as file:  # noqa: PTH123  a binary file, read from the middle
            file.seek(mark)
            return fold(file)

    @property
    def _journal(self) -> str | None:
        return None if self.server is None else self.server.settings.journal

    def _said(self, name: str) -> str | None:
        said = self.health.get(name) if self.health else None
        return None if said is None else str(said)


def find_target(
    url: str, path: str = "/", server: servers.Server | None = None, token: str | None = None, under: str = ""
) -> Target:
    """Ask the server of `url` who it is. Raises OSError where nobody answers, UserError where `url` is none.

    One that can only be reached through a proxy is not asked: it is none that this tool could follow.
    """
    asked = time.monotonic()
    health = None if proxy_for(url) else servers.health(url, token, under)
    offset = clock_offset(health, asked, time.monotonic()) if health else 0.0
    return Target(url.rstrip("/"), path, health, server, token, offset, under)


def check_worker(target: Target) -> None:
    """Raise UserError where nobody would do the work: no worker answers on the broker of the target's server."""
    health = target.health or {}
    if health.get("worker") is False:
        raise UserError(
            f"no worker answers on this broker: taskdemo worker --engine {target.mode} --broker {health.get('broker')}"
        )


class Rig:
    """The processes that measure: one that fires, the others are bystanders; all are started once and used again.

    `threads`: whether there is to be a second bystander, for the worker threads.
    """

    def __init__(self, stopping: StopRequest, *, threads: bool = False) -> None:
        self.stopping = stopping
        self.inbox: queue.Queue[tuple[str, Any]] = queue.Queue()
        self.load = Loader(self.inbox, name="load")
        self.bystander = Loader(self.inbox, name="bystander")
        self.threads = Loader(self.inbox, name="threads") if threads else None

    def __enter__(self) -> Self:
        for loader in self._loaders():
            loader.start()
        return self

    def __exit__(self, *_: object) -> None:
        for loader in self._loaders():
            loader.close()

    def _loaders(self) -> list[Loader]:
        return [self.load, self.bystander, *([self.threads] if self.threads else [])]

    def measure(
        self,
        target: Target,
        plan: Plan,
        screen: Screen,
        header: RunHeader,
        *,
        wait: bool = True,
        enough: Callable[[], bool] = lambda: False,
    ) -> RunDocument:
        """Fire `plan` at `target`, wait for the accepted tasks to end if `wait`, and return the whole run.

        Whatever ends it early (Ctrl-C, `plan.timeout_s`, a server that dies) is said in the run; nothing measured
        is lost. `header` holds the document's fields that only the caller knows. Once `enough`, which is asked again
        and again, has been seen, requests in flight are Cancelled and no task is waited for.
        """
        _step_back()
        return _Run(self, target, plan, screen).conduct(header, wait=wait, enough=enough)

    def warmed_up(self, target: Target, plan: Plan) -> tuple[Target, int]:
        """Fire the plan's first requests at a server of ours, for work that does nothing; nothing of it is counted.

        So the run does not pay for first connections, imports and processes. Returns the target as it is afterwards,
        and how many requests that took.
        """
        count = min(plan.concurrency or plan.count or WARM_UP_MOST, WARM_UP_MOST)
        headers = [*plan.headers, (WARM_UP, "1")]
        fired = replace(
            plan, count=count, for_s=None, rate=None, concurrency=count, timeout_s=WARM_UP_S, headers=headers
        )
        _Run(self, target, fired, _Unseen()).conduct({}, wait=True, enough=lambda: False)
        return again(target), count

    def doubted(self, plan: Plan, runs: Sequence[RunDocument]) -> list[RunDocument]:
        """Measure what a response costs the client itself, at the fastest run's pace, and return the runs with it.

        For the slower runs of the same plan that figure is an upper bound. Skipped where the user wants to stop.
        """
        if self.stopping.asked or not runs:
            return list(runs)
        pace = max(run.summary.requests_per_s for run in runs)
        overhead_s = calibrate(self.load, plan, pace)
        return [doubted(run, overhead_s) for run in runs]


@functools.cache
def _step_back() -> None:
    """Let the screen and the bookkeeping, which are this process, wait for the server and the load."""
    os.nice(10)


class _Unseen:
    """A screen that shows nothing."""

    def update(self, source: Recorder, now: float) -> None:
        """Show nothing."""


class _Run:
    """One run while it goes on: the inbox is drained, folded, and shown."""

    def __init__(self, rig: Rig, target: Target, plan: Plan, screen: Screen) -> None:
        self.rig = rig
        self.target = target
        self.plan = plan
        self.screen = screen
        self.recorder = Recorder(
            private=target.server is not None,
            clock_offset=target.offset,
            count=plan.count,
            follows=target.health is not None,
            rated=plan.rate is not None,
            waits=(mode := MODE_BY_NAME.get(target.mode or "")) is not None and not mode.answers_first,
        )
        self.folds = {
            "load": self.recorder.load,
            "bystander": self.recorder.bystander,
            "threads": self.recorder.bystander_threads,
        }
        self.running: set[str] = set()
        """The load processes that are on their way."""
        self.begun: set[str] = set()
        self.server: ServerState = "well"
        self.because: str | None = None
        """Why the server is as it is; None where it is well."""
        self.since = 0.0
        self.broken: str | None = None
        """Which process of ours died, so that the figures are not whole."""
        self.next_look = 0.0

    def conduct(self, header: RunHeader, *, wait: bool, enough: Callable[[], bool]) -> RunDocument:
        started_at = datetime.now(UTC)
        deadline = math.inf
        with contextlib.suppress(queue.Empty):
            while True:  # what came too late for the run before
                self.rig.inbox.get_nowait()
        watcher = self._watch()
        end: End = "done"
        bystanders: list[Loader] = []
        try:
            bystanders = self._start_bystanders()
            self.running.add("load")
            self.rig.load.run(self.plan)
            end = self._drain(lambda: "load" not in self.running or enough())
            if end == "asked to stop" or "load" in self.running:
                self.rig.load.stop()
                self._drain(lambda: "load" not in self.running, stoppable=False)
            elif wait and self.target.health:
                if self.plan.timeout_s is not None and self.recorder.t0 is not None:
                    deadline = self.recorder.t0 + self.plan.timeout_s
                end = self._drain(lambda: self.recorder.unended == 0, deadline, until_gone=True)
            if self.target.server is not None and (self.server == "gone" or self.recorder.broken_off):
                self._drain(lambda: self.server == "ended", time.monotonic() + LAST_BREATH_S, stoppable=False)
        finally:
            for bystander in bystanders:
                bystander.stop()
            self._drain(lambda: not self.running - {"load"}, stoppable=False)
            if watcher is not None:
                watcher.stop()
        if self.broken is not None:
            raise UserError(self.broken)
        self.screen.update(self.recorder, time.monotonic())
        return self.recorder.finish(
            {
                "url": self.target.url,
                "path": self.target.path,
                "mode": self.target.mode,
                "work": self.target.work,
                "duration_s": self.target.duration_s,
                "app": self.target.app or UNSET,
                "own_work": self.target.own_work or UNSET,
                "slots": self.target.slots,
                "started_at": started_at.isoformat(timespec="milliseconds"),
                **header,
            },
            interrupted=end == "asked to stop",
            timed_out=end == "deadline",
            server_gone=self.server in {"gone", "ended"},
            ended_because=self.because,
        )

    def _watch(self) -> Watcher | None:
        if self.target.health is None:
            return None
        target = self.target
        offset = int(self.target.health["journal_offset"])
        watcher = Watcher(target.url, self.rig.inbox, offset, target.token, f"{target.under}/events")
        watcher.start()
        return watcher

    def _start_bystanders(self) -> list[Loader]:
        """Send the bystanders ahead, so that they are on their way when the burst comes."""
        started = []
        paths = (
            ("bystander", self.rig.bystander, self.target.bystander_path),
            ("threads", self.rig.threads, self.target.threads_path),
        )
        for name, loader, path in paths:
            if loader is not None and path is not None:
                started.append(loader)
                self.running.add(name)
                loader.run(Plan(url=self.target.url + path, rate=BYSTANDER_RATE, until_stopped=True))
        self._drain(lambda: self.begun >= self.running)
        return started

    def _drain(
        self,
        done: Callable[[], bool],
        deadline: float = math.inf,
        *,
        stoppable: bool = True,
        until_gone: bool = False,
    ) -> End:
        """Take in what is reported until `done`, and say what ended it."""
        while not done() and not (stoppable and self.broken):
            now = time.monotonic()
            if stoppable and self.rig.stopping.asked:
                return "asked to stop"
            if until_gone and self.server in {"gone", "ended"}:
                return "gone"
            if until_gone and self.server == "unheard" and now - self.since > UNHEARD_S:
                return "unheard"
            if now >= deadline:
                return "deadline"
            if now >= self.next_look:
                self._look_after_server()
                self.screen.update(self.recorder, now)
                self.next_look = time.monotonic() + TICK_S
            with contextlib.suppress(queue.Empty):
                self._take(*self.rig.inbox.get(timeout=max(self.next_look - time.monotonic(), 0.001)))
        return "done"

    def _take(self, name: str, content: Any) -> None:
        match content:
            case Heard(events):
                for event in events:
                    self.recorder.event(event)
            case ServerGone(why):
                self._note("gone", why)
            case JournalTrouble(why) if why:
                self._note("unheard", f"the server's journal cannot be written ({why})")
            case JournalTrouble():
                self._note("well", None)
            case Gone(returncode):
                if name in self.running:
                    self.broken = f"the {name} process ended unexpectedly (exit {returncode}); run it again"
                self.running.discard(name)
            case Refused(why):
                where = self.target.url + (self.target.path if name == "load" else "")
                self.broken = f"{shortened(where, 100)} cannot be fired at ({shortened(why, 200)}); type another"
                self.running.discard(name)
            case _:
                self.folds[name](content)
                self.begun |= {name} if isinstance(content, Started) else set()
                self.running -= {name} if isinstance(content, Done) else set()

    def _look_after_server(self) -> None:
        server = self.target.server
        if server is not None and self.server != "ended" and (code := server.poll()) is not None:
            self._note("ended", f"the {server.settings.mode} server ended (exit {code}) while it was fired at")

    def _note(self, server: ServerState, because: str | None) -> None:
        """Take note of how the server is: one that is gone can only be seen to have ended, and then that is it."""
        if self.server in {"well", "unheard"} or (self.server, server) == ("gone", "ended"):
            self.server, self.because, self.since = server, because, time.monotonic()


def compare(
    rig: Rig,
    started: Sequence[servers.Server],
    plan: Callable[[Target], Plan],
    screen: ComparisonScreen,
    facts: RunHeader,
    *,
    rounds: int = 1,
    cold: bool = False,
    keep: Callable[[list[RunDocument]], None] = lambda _: None,
) -> tuple[list[RunDocument], list[Skipped]]:
    """Fire the same plan at each of the servers that were `started`, one after the other, and return every run.

    All of them serve before the first measurement, so that no run is disturbed by another's imports. With several
    `rounds` the order is reversed from one to the next, so that a machine that warms up or slows down favours
    nobody. Each is warmed up before it is measured, unless `cold`. `keep` is called with the runs so far after each. A
    server that does not start is skipped, and says why.
    """
    runs: list[RunDocument] = []
    skipped: list[Skipped] = []
    targets: list[Target] = []
    for server in started:
        try:
            servers.await_ready(server, rig.stopping.check)
            target = find_target(server.url, server=server)
            check_worker(target)
            targets.append(target)
        except (UserError, OSError) as error:
            skipped.append(Skipped(mode=server.settings.mode, why=str(error)))
    if targets or len({one.why for one in skipped}) > 1:  # otherwise that one reason is the command's error
        for one in skipped:
            screen.skip(one.mode, one.why)
    for number in range(1, rounds + 1):
        for served in targets if number % 2 else reversed(targets):
            stage = f"round {number} of {rounds}" if rounds > 1 else ""
            screen.start(str(served.mode), stage)
            target, warm_up = served if number == 1 else again(served), 0
            if not cold:
                target, warm_up = rig.warmed_up(target, plan(target))
            run = rig.measure(target, plan(target), screen, {**facts, "round": number, "warm_up": warm_up})
            runs.append(run)
            screen.done(run)
            keep(runs)
            if rig.stopping.asked:
                return runs, skipped
    return runs, skipped


def again(target: Target) -> Target:
    """Return the target as it is now: where its journal ends, so that the tasks before are not of the next run."""
    with contextlib.suppress(OSError, UserError):  # a server that has ended shows in the round itself
        return find_target(target.url, target.path, target.server, target.token, target.under)
    return target
