"""Conducts a run: one burst at one server. Knows no screen's internals.

The command's main thread runs here: it takes the reports of the load process, the bystanders and the event stream
from one queue, folds them into the recorder, and updates the screen in between.
"""

import contextlib
import functools
import math
import os
import queue
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, Self, TypeAlias, Unpack, get_args

from msgspec import UNSET

from taskdemo_cli.documents.run import RunDocument
from taskdemo_cli.errors import UserError
from taskdemo_cli.loadgen.calibration import calibrate
from taskdemo_cli.loadgen.loader import Loader
from taskdemo_cli.loadgen.protocol import Done, Gone, Plan, Refused, Started
from taskdemo_cli.processes.event_stream import Condition, Heard, ServerState, Watcher
from taskdemo_cli.processes.signals import StopRequest
from taskdemo_cli.recording.recorder import Recorder
from taskdemo_cli.recording.summary import doubted
from taskdemo_cli.runner.burst import Known, at, burst, header
from taskdemo_cli.runner.target import TICK_S, Target, again, no_worker
from taskdemo_cli.units import format_exit
from taskdemo_server.contract.events import WARM_UP, TaskEvent
from taskdemo_server.contract.modes import MODE_BY_NAME
from taskdemo_server.contract.text import shortened

START_TIMEOUT_S = 5.0
"""How long to wait for our processes to start before measuring how busy the processors are."""
UNHEARD_TIMEOUT_S = 5.0
"""How long to wait for a server that cannot write its journal to recover."""
STALLED_S = 60.0
"""How long to wait for tasks that do not begin although a worker answers, because it may be busy with others' tasks."""
EXIT_TIMEOUT_S = 2.0
"""How long to wait for the exit of a server that has just broken its connections or stopped answering."""
BYSTANDER_RATE = 10.0
"""Calls of GET /ping per second, sent on schedule regardless of the responses."""
WARM_UP_MOST = 40
"""Most requests of a warm-up: FastAPI has this many threads, and each may open a connection to a broker."""
WARM_UP_TIMEOUT_S = 60.0
"""How long a warm-up may take; as long as a server's start, because a pool's processes import the work only then."""
End = Literal["done", "asked to stop", "deadline"]
"""Why a part of a run ended."""
Show: TypeAlias = Callable[[Recorder, float], None]
"""Shows the figures of a run in progress, at a time in `time.monotonic()` seconds."""


class Rig:
    """The measuring processes: the load process and the bystanders; started once and used for every run.

    `threads`: add a second bystander, which worker threads answer.
    """

    def __init__(self, stopping: StopRequest, *, threads: bool = False) -> None:
        self.stopping = stopping
        self.inbox: queue.Queue[tuple[str, Any]] = queue.Queue()
        self._names = ["load", "bystander", *(["threads"] if threads else [])]

    def __enter__(self) -> Self:
        self.loaders = {name: Loader(self.inbox, name=name) for name in self._names}
        self.load = self.loaders["load"]
        return self

    def __exit__(self, *_: object) -> None:
        for loader in self.loaders.values():
            loader.close()

    def others_share(self) -> float:
        """Return the share of all processors that others use, from 0 to 1, once our processes are up. Takes 0.1 s."""
        import psutil

        for loader in self.loaders.values():
            loader.started.wait(START_TIMEOUT_S)
        return round(psutil.cpu_percent(0.1) / 100, 2)

    def measure(
        self,
        target: Target,
        plan: Plan,
        show: Show = lambda *_: None,
        *,
        wait: bool = True,
        enough: Callable[[], bool] = lambda: False,
        **known: Unpack[Known],
    ) -> RunDocument:
        """Send `plan` to `target`, wait for the accepted tasks to end if `wait`, and return the whole run.

        The document says what ended the run early (Ctrl-C, `plan.timeout_s`, the server's death); nothing measured is
        lost. `enough` is called repeatedly; once it returns true, requests in flight end as Cancelled and no task is
        waited for.

        Raises UserError if the plan cannot be run or one of the measuring processes dies.
        """
        _step_back()
        return _Run(self, target, at(plan, target), show, **known).conduct(wait=wait, enough=enough)

    def warmed_up(self, target: Target, plan: Plan, *, wait: bool = True) -> tuple[Target, int]:
        """Warm up a server of ours with up to WARM_UP_MOST requests whose work does nothing; none of them is counted.

        This spares the run the cost of first connections, imports and processes. Returns the target as it is
        afterwards, and the number of requests. Raises UserError if it is to `wait` and no worker takes the tasks.
        """
        count = min(plan.concurrency or plan.count or WARM_UP_MOST, WARM_UP_MOST)
        fired = burst(
            count=count,
            request=plan,
            timeout_s=WARM_UP_TIMEOUT_S,
            request_timeout_s=None,  # first requests are the slowest, and all must be over before the run
            headers=[*plan.headers, (WARM_UP, "1")],
        )
        run = _Run(self, target, at(fired, target))
        run.conduct(wait=wait, enough=lambda: False)
        if run.server == "stalled":
            raise UserError(str(run.because))
        return again(target), count

    def doubted(self, plan: Plan, runs: Sequence[RunDocument]) -> list[RunDocument]:
        """Measure the client's own share of a response at the fastest run's pace, and return the runs with it.

        For slower runs of the same plan it is an upper bound. Skipped if the user wants to stop.
        """
        if self.stopping.asked:
            return list(runs)
        pace = max(run.summary.requests_per_s for run in runs)
        overhead_s = calibrate(self.load, plan, pace)
        return [doubted(run, overhead_s) for run in runs]


@functools.cache
def _step_back() -> None:
    """Lower this process's priority, so screen and bookkeeping yield to the server and the load process."""
    os.nice(10)


class _Run:
    """One run in progress: drains the inbox into the recorder and updates the screen."""

    def __init__(
        self, rig: Rig, target: Target, plan: Plan, show: Show = lambda *_: None, **known: Unpack[Known]
    ) -> None:
        self.rig = rig
        self.target = target
        self.plan = plan
        self.show = show
        self.mode = MODE_BY_NAME.get(target.health.mode or "")
        self.header = header(plan, target, **known)
        self.recorder = Recorder(
            private=target.server is not None,
            clock_offset=target.offset,
            count=plan.total,
            follows=target.is_followed,
            rated=plan.rate is not None,
            waits=self.mode is not None and not self.mode.answers_first,
        )
        self.warms_up = (WARM_UP, "1") in plan.headers
        self.running: set[str] = set()
        """The names of the measuring processes that are running a plan."""
        self.begun: set[str] = set()
        self.server: ServerState = "well"
        self.because: str | None = None
        """Why the server is in this state; None if it is `well`."""
        self.since = 0.0
        self.left = (0, 0)
        """How many tasks have not ended and how many of them are running; unchanged since `left_since`."""
        self.left_since = self.ask_at = 0.0
        self.broken: str | None = None
        """Why the run's figures are unusable: a measuring process died, or it refused its plan."""
        self.next_look = 0.0
        self.offset = 0
        """The offset in the server's journal up to which events have arrived."""

    def conduct(self, *, wait: bool, enough: Callable[[], bool]) -> RunDocument:
        with contextlib.suppress(queue.Empty):
            while True:  # late messages of the previous run
                self.rig.inbox.get_nowait()
        watcher = self._watch()
        end: End = "done"
        bystanders: list[Loader] = []
        try:
            bystanders = self._start_bystanders()
            end = self._fire(wait=wait, enough=enough)
        finally:
            for bystander in bystanders:
                bystander.stop()
            self._drain(lambda: not self.running - {"load"}, stoppable=False)
            if watcher is not None:
                watcher.stop()
        if self.broken is not None:
            raise UserError(self.broken)
        self._hear(self.target.rest(self.offset))
        self.show(self.recorder, time.monotonic())
        return self.recorder.finish(
            self.header,
            interrupted=end == "asked to stop",
            timed_out=end == "deadline",
            # Where the broker is not the server's own, workers can finish the tasks without the server.
            server_gone=self.server in {"gone", "ended"} and self.target.health.worker is UNSET,
            ended_because=self.because,
        )

    def _fire(self, *, wait: bool, enough: Callable[[], bool]) -> End:
        """Run the plan, then wait for the tasks if `wait`, and for the exit of a server that is dying."""
        self.running.add("load")
        self.rig.load.run(self.plan)
        end = self._drain(lambda: "load" not in self.running or enough())
        if end == "asked to stop" or "load" in self.running:
            self.rig.load.stop()
            self._drain(lambda: "load" not in self.running, stoppable=False)
        elif wait and self.target.is_followed:
            deadline = math.inf
            if self.plan.timeout_s is not None and self.recorder.t0 is not None:
                deadline = self.recorder.t0 + self.plan.timeout_s
            end = self._drain(self._is_over, deadline)
        if self.target.server is not None and (self.server == "gone" or self.recorder.broken_off):
            self._drain(lambda: self.server == "ended", time.monotonic() + EXIT_TIMEOUT_S, stoppable=False)
        return end

    def _watch(self) -> Watcher | None:
        if not self.target.is_followed:
            return None
        target = self.target
        self.offset = self.target.health.journal_offset

        def patient() -> bool:
            """Return whether to tolerate silence: from our own server, whose process we poll, or while callers wait."""
            return target.server is not None or "load" in self.running

        watcher = Watcher(target.url, self.rig.inbox, self.offset, target.token, f"{target.prefix}/events", patient)
        watcher.start()
        return watcher

    def _start_bystanders(self) -> list[Loader]:
        """Start the bystanders, and wait until each has begun, before the burst."""
        started = []
        for name, path in (("bystander", self.target.bystander_path), ("threads", self.target.threads_path)):
            loader = self.rig.loaders.get(name)
            if loader is not None and path is not None:
                started.append(loader)
                self.running.add(name)
                loader.run(Plan(url=self.target.url + path, rate=BYSTANDER_RATE, until_stopped=True))
        self._drain(lambda: self.begun >= self.running)
        return started

    def _drain(self, done: Callable[[], bool], deadline: float = math.inf, *, stoppable: bool = True) -> End:
        """Handle reports until `done()` or something else ends the wait, and return what did."""
        while not done() and not (stoppable and self.broken):
            now = time.monotonic()
            if stoppable and self.rig.stopping.asked:
                return "asked to stop"
            if now >= deadline:
                return "deadline"
            if now >= self.next_look:
                server = self.target.server
                if server is not None and self.server != "ended" and (code := server.poll()) is not None:
                    self._note("ended", f"the {server.settings.mode} server ended ({format_exit(code)}) during the run")
                self.show(self.recorder, now)
                self.next_look = time.monotonic() + TICK_S
            with contextlib.suppress(queue.Empty):
                self._take(*self.rig.inbox.get(timeout=max(self.next_look - time.monotonic(), 0.001)))
        return "done"

    def _take(self, name: str, content: Any) -> None:
        match content:
            case Heard(events, offset):
                self.offset = offset
                self._hear(events)
            case Condition(server, why):
                self._note(server, why)
            case Gone(returncode):
                if name in self.running:
                    self.broken = f"the {name} process ended unexpectedly ({format_exit(returncode)}); run it again"
            case Refused(why):
                where = self.target.url + (self.target.path if name == "load" else "")
                self.broken = f"{shortened(where, 100)} cannot be fired at ({shortened(why, 200)}); type another"
            case _ if name == "load":
                self.recorder.load(content)
            case _ if name == "bystander":
                self.recorder.bystander(content)
            case _:
                self.recorder.bystander_threads(content)
        if isinstance(content, Started):
            self.begun.add(name)
        elif isinstance(content, Done | Gone | Refused):
            self.running.discard(name)

    def _hear(self, events: Iterable[TaskEvent]) -> None:
        """Record events, except those of an earlier warm-up that nobody waited for."""
        for event in events:
            if self.warms_up or not event.id.startswith(f"{WARM_UP}-"):
                self.recorder.event(event)

    def _is_over(self) -> bool:
        """Return whether all tasks have ended, or nothing will be heard of the others' ends."""
        now = time.monotonic()
        is_unheard = self.server == "unheard" and now - self.since > UNHEARD_TIMEOUT_S
        return not self.recorder.unended or is_unheard or self.server in {"gone", "ended"} or self._is_stalled(now)

    def _is_stalled(self, now: float) -> bool:
        """Return whether no worker takes the tasks on a broker that is not the server's own; note it if so."""
        engine = None if self.mode is None else self.mode.engine
        if engine is None or self.target.health.worker is UNSET:
            return False
        if (left := (self.recorder.unended, self.recorder.running)) != self.left:
            self.left, self.left_since, self.ask_at = left, now, now + engine.begins_within_s
        if now >= self.ask_at:
            self.ask_at = now + engine.begins_within_s
            answers = again(self.target).health.worker
            # If running work takes much longer than its known length, its worker has died.
            length = self.header.duration_s if self.recorder.running else 0.0
            timeout_s = math.inf if length is None else STALLED_S + 4 * length
            if answers is False or (answers is not True and not self.recorder.running):
                self._note("stalled", no_worker(self.target))
            elif now - self.left_since >= timeout_s:
                self._note(
                    "stalled",
                    f"no task began for {STALLED_S:.0f} s, although a worker answers on the broker; only a worker "
                    f"started with --server {self.target.url} reports its tasks, and tasks that a dead worker "
                    f"had taken may return much later",
                )
        return self.server == "stalled"

    def _note(self, server: ServerState, because: str | None) -> None:
        """Set the server's state; it only becomes worse, unless it was `unheard`."""
        rank = get_args(ServerState).index
        if rank(server) > rank(self.server) or self.server == "unheard":
            self.server, self.because, self.since = server, because, time.monotonic()
