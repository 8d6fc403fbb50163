"""Searches for the highest rate that a mode, an application or a URL can sustain. Knows no screen's internals.

A step is one measured run of an open loop. A private server that was not overloaded is reused, because all its tasks
have ended; an overloaded one is replaced by a fresh one. A server that is not ours gets time to recover.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from taskdemo_cli.analysis.blocking.judge import judge as judge_blocking
from taskdemo_cli.analysis.capacity.search import CONFIRMED_SHARE, bracket, next_rate
from taskdemo_cli.analysis.capacity.step import is_hopeless, may_fail, read_step
from taskdemo_cli.analysis.capacity.subject import MORE, Subject
from taskdemo_cli.analysis.capacity.verdict import judge
from taskdemo_cli.analysis.error_words import error_words
from taskdemo_cli.analysis.thresholds import Threshold
from taskdemo_cli.analysis.verdicts import REDIRECTS
from taskdemo_cli.documents.capacity import CapacityStep, Confirmation, ModeCapacity
from taskdemo_cli.documents.rows import pairs
from taskdemo_cli.documents.run import RunDocument
from taskdemo_cli.errors import UserError
from taskdemo_cli.loadgen.protocol import Plan
from taskdemo_cli.processes import servers
from taskdemo_cli.processes.signals import AskedToStopError
from taskdemo_cli.recording.recorder import Recorder
from taskdemo_cli.reports.terminal.capacity import CapacityScreen
from taskdemo_cli.runner.burst import burst
from taskdemo_cli.runner.rig import WARM_UP_TIMEOUT_S, Rig
from taskdemo_cli.runner.target import Target, again, ready_target
from taskdemo_cli.units import format_count, format_rate, format_seconds
from taskdemo_server.contract.modes import MODE_BY_NAME
from taskdemo_server.contract.settings import Settings
from taskdemo_server.contract.text import shortened

LAST_ANSWERS_S = 1.0
"""How long a step waits, beyond the work, for its last responses; a server that keeps up has answered by then."""
RECOVERY_TIMEOUT_S = 20.0
"""How long a server that is not ours, or whose broker is not, may take to recover after an overload."""
STEPS_TOLD = 6
"""The approximate number of steps of a mode, for estimating how long a search will take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Which rates to try, how long each step takes, and which conditions must hold."""

    from_per_s: float | None = None
    to_per_s: float | None = None
    step_s: float = 3.0
    conditions: Sequence[Threshold] = ()

    def __post_init__(self) -> None:
        if self.from_per_s is not None and self.to_per_s is not None and self.from_per_s > self.to_per_s:
            raise UserError(f"--from {self.from_per_s:g} is more than --to {self.to_per_s:g}; the search goes upwards")

    def check(self, subject: Subject) -> None:
        """Raise UserError if the steps are too short for the work."""
        if (least := subject.shortest_step_s) > self.step_s:
            took, minutes = format_seconds(subject.work_s), math.ceil(STEPS_TOLD * (least + subject.settling_s) / 60)
            what, each, shorter = f"a request that takes {took}", " in all", ""
            if subject.mode is not None:
                what, each = f"work of {took} in mode {subject.mode.name}", " for each mode"
                shorter = ", or give it shorter work"
            raise UserError(
                f"{what} needs steps of {least:.3g} s or more, about {format_count(minutes, 'minute')}{each}; "
                f"type --step {math.ceil(least)}s{shorter}"
            )


@dataclass(slots=True)
class _Watch:
    """The screen of one step; tracks the backlog and detects when the step is hopeless."""

    screen: CapacityScreen
    rate: float
    settle_s: float
    step_s: float
    backlog: list[tuple[float, float]] = field(default_factory=list)
    is_hopeless: bool = False

    def update(self, source: Recorder, now: float) -> None:
        """Measure the backlog: the requests due so far less those that are over."""
        live = source.live(now, 1)
        if live.elapsed_s <= self.settle_s + self.step_s and not self.is_hopeless:
            over = live.failed + (live.ended if source.follows else live.ok)
            self.backlog.append((live.elapsed_s, max(live.elapsed_s * self.rate - over, 0.0)))
            judged = [one for one in self.backlog if one[0] >= self.settle_s]
            self.is_hopeless = is_hopeless(judged, self.rate)
        self.screen.update(self.backlog, live.elapsed_s / (self.settle_s + self.step_s))


@dataclass(slots=True)
class Searcher:
    """Searches for the limit of one subject; `folder` gets the files of its servers."""

    rig: Rig
    fork_server: servers.ForkServer
    folder: Path
    wanted: Search
    screen: CapacityScreen
    name: str
    subject: Subject
    path: str
    running: Target | None
    """The server: one that was already running, or one of ours; None before the first and after an overload."""
    request: Plan
    work_s: float | None = None
    """How long the first work of the current server took, in seconds; None before it was tried."""
    is_redirected: bool = False
    """Whether the first answer was a redirect."""
    launched: int = 0
    broke_off: bool = False
    """Whether an error ended the search early."""

    def search(self) -> ModeCapacity | None:
        """Search for the limit and return the result; None if the command was asked to stop before the first step.

        Raises UserError if the first step fails; a later error ends the search with the steps so far.
        """
        steps: list[CapacityStep] = []
        confirmed, broken = None, None
        try:
            self._check()
            self.screen.start(self.name, "starting")
            own = self._target().health.own_work
            if not self.subject.work_s and self.subject.is_measured:
                is_async = own is not None and own.is_async
                self.subject = replace(self.subject, work_s=self.work_s or 0.0, is_async=is_async)
                self.wanted.check(self.subject)
            first, most = self.wanted.from_per_s or self.subject.first_rate, self.wanted.to_per_s
            while (rate := next_rate(steps, self.wanted.step_s, first, most, self.subject.resolution)) is not None:
                steps.append(self._step(self.subject, rate))
            confirmed = self._confirm(steps)
        except AskedToStopError:
            pass
        except UserError as error:
            if not steps:
                raise
            self.broke_off, broken = True, str(error)
        finally:
            self._end()
        if not steps:
            return None
        return judge(
            self.subject,
            steps,
            self.wanted.step_s,
            confirmed=confirmed,
            is_redirected=self.is_redirected,
            interrupted=self.rig.stopping.asked,
            broken=broken,
        )

    def _check(self) -> None:
        """Raise AskedToStopError if the command was asked to stop."""
        if self.rig.stopping.asked:
            raise AskedToStopError

    def _confirm(self, steps: Sequence[CapacityStep]) -> Confirmation | None:
        """Measure one step with more threads or processes, if these were the bottleneck; otherwise return None."""
        low, high = bracket(steps)
        more = self.subject.with_more(high.cause if high else None)
        if more is None or low is None:
            return None
        option, settings = more
        self._end()
        step = self._step(replace(self.subject, settings=settings), CONFIRMED_SHARE * MORE * low.rate, option)
        return Confirmation(option=option, step=step)

    def _step(self, subject: Subject, rate: float, option: str = "") -> CapacityStep:
        """Measure one rate on a server with the settings of `subject`. Raises AskedToStopError."""
        target = self._target(subject.settings)
        settle_s, step_s = subject.settling_s, self.wanted.step_s
        self.screen.start(self.name, f"{option} {format_rate(rate)}".lstrip())
        watch = _Watch(self.screen, rate, settle_s, step_s)
        plan = burst(
            rate=rate,
            for_s=settle_s + step_s,
            timeout_s=settle_s + step_s + LAST_ANSWERS_S + subject.shortest_step_s,
            request=self.request,
        )
        run = self.rig.measure(target, plan, watch.update, enough=lambda: watch.is_hopeless)
        self._check()
        seen = None
        if target.health.app is not None:
            seen = judge_blocking(run, target.read_sightings(self.rig.stopping, wait=False))
        step = read_step(run, settle_s, step_s, subject, self.wanted.conditions, seen)
        self.screen.measured(step)
        self._rest(run, overloaded=not step.sustained)
        return step

    def _target(self, settings: Settings | None = None) -> Target:
        """Return the current server, or a fresh one with `settings` (by default the subject's) if there is none.

        Each process of a fresh server has already done a piece of work.
        """
        processes = 1
        if self.running is None:
            wanted = settings or self.subject.settings
            assert wanted is not None  # noqa: S101  only a server that we launch has no target yet
            self.launched += 1
            server = self.fork_server.launch(wanted, self.folder / str(self.launched))
            self.running = ready_target(server, self.path, self._check)
            self.work_s = None
            mode = MODE_BY_NAME.get(wanted.mode)
            if mode is not None and mode.runs in {"process", "worker"}:
                processes = wanted.tasks_at_once
        if self.work_s is None:
            self.work_s = self._try_out(self.running, processes)
        self.running = again(self.running)
        return self.running

    def _rest(self, run: RunDocument, *, overloaded: bool) -> None:
        """After trouble, kill our own server, or give one that is not ours (or whose broker is not) time to recover."""
        troubled, has_ended = overloaded or run.timed_out, run.ended_because is not None
        settings = self.subject.settings
        if settings is None or (settings.broker is not None and not has_ended):
            if troubled:  # one more request: its response and task come after all others
                last = burst(count=1, timeout_s=RECOVERY_TIMEOUT_S, request=self.request)
                self.rig.measure(self._target(), last)
        elif troubled or has_ended:
            self._end()

    def _end(self) -> None:
        """Kill the current server if it is ours."""
        if self.running is not None and self.running.server is not None:
            self.running.server.kill()
            self.running = None

    def _try_out(self, target: Target, count: int) -> float:
        """Send `count` requests at once as a trial, and return the median time of their work, in seconds.

        Raises UserError if any of them fails, unless some may, and AskedToStopError.
        """
        timeout_s = max(WARM_UP_TIMEOUT_S, self.wanted.step_s)  # work that takes longer than a step is rejected anyway
        first = burst(count=count, timeout_s=timeout_s, request=self.request)
        run = self.rig.measure(target, first)
        self._check()
        allowed = may_fail(self.wanted.conditions)
        rows = [(request, task) for request, task in pairs(run) if not (allowed and request.error)]
        errors = [error_words(request.error, request.reason) for request, _ in rows if request.error]
        errors += [task.error for _, task in rows if task and task.error]
        if run.timed_out:
            errors = [f"it did not end within {timeout_s:g} s"]
        if errors or run.ended_because:
            raise UserError(
                f"even a single request fails ({shortened(run.ended_because or errors[0], 200)}), "
                "so there is no rate to find; look at it with taskdemo fire"
            )
        self.is_redirected = not REDIRECTS.isdisjoint(run.summary.requests.statuses)
        took = run.summary.work_s or run.summary.response_s or run.summary.failed_s
        return took.p50 if took else 0.0
