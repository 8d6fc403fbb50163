"""Conducts the search for the rate at which a mode, an application or a URL gives in. Knows no screen's insides.

A step is one measured run of an open loop. A private server that was not overloaded is used again, because its tasks
have all ended; one that gave in is replaced by a fresh one. A server that is not ours is waited for.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from taskdemo_cli.analysis.blocking.judge import judge as judge_blocking
from taskdemo_cli.analysis.capacity.search import CONFIRMED_SHARE, bracket, next_rate
from taskdemo_cli.analysis.capacity.step import is_hopeless, read_step
from taskdemo_cli.analysis.capacity.subject import MORE, Subject
from taskdemo_cli.analysis.capacity.verdict import judge
from taskdemo_cli.analysis.error_words import error_words
from taskdemo_cli.analysis.thresholds import Threshold
from taskdemo_cli.documents.capacity import CapacityStep, Confirmation, ModeCapacity
from taskdemo_cli.documents.run import RunDocument
from taskdemo_cli.errors import UserError
from taskdemo_cli.loadgen.protocol import Plan
from taskdemo_cli.processes import servers
from taskdemo_cli.recording.recorder import Recorder
from taskdemo_cli.reports.terminal.capacity import CapacityScreen
from taskdemo_cli.runner.burst import burst
from taskdemo_cli.runner.rig import WARM_UP_S, Rig, Unseen
from taskdemo_cli.runner.target import Target, again, target_at
from taskdemo_cli.units import format_count, format_rate, format_seconds
from taskdemo_server.contract.modes import MODE_BY_NAME
from taskdemo_server.contract.settings import Settings
from taskdemo_server.contract.text import shortened

LAST_ANSWERS_S = 1.0
"""How long a step waits, beyond the work, for what it has sent: a server that keeps up has answered by then."""
REST_S = 20.0
"""How long a server that is not ours, or whose broker is not, is waited for after it gave in."""
STEPS_TOLD = 6
"""So many steps a mode takes, about, to say beforehand how long all will take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Which rates are tried, each for how long, and what must hold there."""

    from_per_s: float | None = None
    to_per_s: float | None = None
    step_s: float = 3.0
    conditions: Sequence[Threshold] = ()

    def __post_init__(self) -> None:
        if self.from_per_s is not None and self.to_per_s is not None and self.from_per_s > self.to_per_s:
            raise UserError(f"--from {self.from_per_s:g} is more than --to {self.to_per_s:g}: rates rise")

    def check(self, subject: Subject) -> None:
        """Raise UserError where a step is too short for the work."""
        if (least := subject.shortest_step_s) > self.step_s:
            minutes = math.ceil(STEPS_TOLD * (least + subject.settling_s) / 60)
            where = f" in mode {subject.mode.name}" if subject.mode else ""
            raise UserError(
                f"work of {format_seconds(subject.work_s)}{where} needs steps of {least:.3g} s or more, which makes "
                f"about {format_count(minutes, 'minute')} for each mode; type --step {math.ceil(least)}s, "
                "or give it shorter work"
            )


class AskedToStopError(Exception):
    """The command was asked to stop: the steps so far are the result."""


@dataclass(slots=True)
class _Watch:
    """The screen of one step, which notes how the backlog grows, and sees when it is hopeless."""

    screen: CapacityScreen
    rate: float
    settle_s: float
    step_s: float
    backlog: list[tuple[float, float]] = field(default_factory=list)
    is_hopeless: bool = False

    def update(self, source: Recorder, now: float) -> None:
        """Look at the backlog: what was due to be sent by now, less what is over."""
        live = source.live(now, 1)
        if live.elapsed_s <= self.settle_s + self.step_s and not self.is_hopeless:
            over = live.failed + (live.ended if source.follows else live.ok)
            self.backlog.append((live.elapsed_s, max(live.elapsed_s * self.rate - over, 0.0)))
            judged = [one for one in self.backlog if one[0] >= self.settle_s]
            self.is_hopeless = is_hopeless(judged, self.rate)
        self.screen.update(self.backlog, live.elapsed_s / (self.settle_s + self.step_s))


@dataclass(slots=True)
class Searcher:
    """Searches the limit of one subject; `folder` takes the files of its servers."""

    rig: Rig
    fork_server: servers.ForkServer
    folder: Path
    wanted: Search
    screen: CapacityScreen
    name: str
    subject: Subject
    path: str
    running: Target | None
    """The server: one that runs already, or one of ours, None where the last gave in."""
    request: Plan
    work_s: float | None = None
    """How long the first work took of a fresh one of ours, or of one that runs already; None before."""
    launched: int = 0
    broke_off: bool = False
    """Whether the search could not go on to its end."""

    def search(self) -> ModeCapacity | None:
        """Search the limit.

        None where the command was asked to stop before the first step. Raises UserError where there is no first step.
        """
        steps: list[CapacityStep] = []
        confirmed, broken = None, None
        try:
            self._check()
            self.screen.start(self.name, "starting")
            health = self._target().health
            if not self.subject.work_s and self.subject.is_measured:
                own = health.own_work if health else None
                is_async = own is not None and own.is_async
                self.subject = replace(self.subject, work_s=self.work_s or 0.0, is_async=is_async)
                self.wanted.check(self.subject)
            first, most = self.wanted.from_per_s or self.subject.first_rate, self.wanted.to_per_s
            while (rate := next_rate(steps, first, most, self.subject.resolution)) is not None:
                steps.append(self._step(self.subject, rate))
            confirmed = self._confirm(steps)
        except AskedToStopError:
            pass  # the steps so far are the result
        except UserError as error:
            if not steps:
                raise
            self.broke_off, broken = True, str(error)
        finally:
            self._end()
        if not steps:
            return None
        return judge(self.subject, steps, confirmed=confirmed, interrupted=self.rig.stopping.asked, broken=broken)

    def _check(self) -> None:
        """Raise AskedToStopError where the command was asked to stop."""
        if self.rig.stopping.asked:
            raise AskedToStopError

    def _confirm(self, steps: Sequence[CapacityStep]) -> Confirmation | None:
        """Measure what more threads or processes would do, where they were what gave in."""
        low, high = bracket(steps)
        more = self.subject.with_more(high.cause if high else None)
        if more is None or low is None:
            return None
        option, settings = more
        self._end()
        step = self._step(replace(self.subject, settings=settings), CONFIRMED_SHARE * MORE * low.rate, option)
        return Confirmation(option=option, step=step)

    def _step(self, subject: Subject, rate: float, option: str = "") -> CapacityStep:
        """Measure one rate, of a server with the settings of `subject`. Raises AskedToStopError."""
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
        run = self.rig.measure(target, plan, watch, enough=lambda: watch.is_hopeless)
        self._check()
        seen = None
        if target.app is not None:
            seen = judge_blocking(run, target.read_sightings(self.rig.stopping, wait=False))
        step = read_step(run, settle_s, step_s, subject, self.wanted.conditions, seen)
        self.screen.measured(step)
        self._rest(run, overloaded=not step.sustained)
        return step

    def _target(self, settings: Settings | None = None) -> Target:
        """Return the server: where there is none, a fresh one, with other `settings` than the subject's if so.

        Every process of a fresh one has done a piece of work already.
        """
        processes = 1
        if self.running is None:
            wanted = settings or self.subject.settings
            assert wanted is not None  # noqa: S101  one that runs already has its target
            self.launched += 1
            server = self.fork_server.launch(wanted, self.folder / str(self.launched))
            self.running = target_at(servers.await_ready(server, self._check), self.path)
            self.work_s = None
            mode = MODE_BY_NAME.get(wanted.mode)
            if mode is not None and mode.runs in {"process", "worker"}:
                processes = wanted.tasks_at_once
        if self.work_s is None:
            self.work_s = self._try_out(self.running, processes)
        self.running = again(self.running)
        return self.running

    def _rest(self, run: RunDocument, *, overloaded: bool) -> None:
        """Give up one of ours that has not done what it was asked to; wait for one whose tasks others keep."""
        troubled, has_ended = overloaded or run.timed_out, run.ended_because is not None
        settings = self.subject.settings
        if settings is None or (settings.broker is not None and not has_ended):
            if troubled:  # One more request is answered, and its task ended, last.
                last = burst(count=1, timeout_s=REST_S, request=self.request)
                self.rig.measure(self._target(), last, Unseen())
        elif troubled or has_ended:
            self._end()

    def _end(self) -> None:
        """End a server of ours, if there is one, whatever it does."""
        if self.running is not None and self.running.server is not None:
            self.running.server.kill()
            self.running = None

    def _try_out(self, target: Target, count: int) -> float:
        """Send so many requests at once, by which nothing is judged, and return how long their work took, in seconds.

        Raises UserError where these fail already, and AskedToStopError.
        """
        patience_s = max(WARM_UP_S, self.wanted.step_s)  # work that takes longer than a step is refused anyway
        first = burst(count=count, timeout_s=patience_s, request=self.request)
        run = self.rig.measure(target, first, Unseen())
        self._check()
        errors = [error_words(row.error, row.reason) for row in run.requests if row.error]
        errors += [row.error for row in run.tasks if row.error]
        if run.timed_out:
            errors = [f"it was not over within {patience_s:g} s"]
        if errors or run.ended_because:
            raise UserError(
                f"a single request fails already ({shortened(run.ended_because or errors[0], 200)}), "
                "so there is no rate to find; look at it with taskdemo fire"
            )
        took = run.summary.work_s or run.summary.response_s
        return took.p50 if took else 0.0
