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
from taskdemo_cli.analysis.thresholds import Threshold
from taskdemo_cli.documents.capacity import CapacityStep, Confirmation, ModeCapacity
from taskdemo_cli.documents.run import RunDocument
from taskdemo_cli.errors import UserError
from taskdemo_cli.loadgen.request import Request
from taskdemo_cli.processes import servers
from taskdemo_cli.recording.recorder import Recorder
from taskdemo_cli.reports.terminal.capacity import CapacityScreen, PlainCapacity
from taskdemo_cli.runner.burst import at, burst
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
class _Server:
    """The server of one search: one of ours, fresh where the last gave in; or one that runs already, as it is."""

    searcher: "Searcher"
    settings: Settings | None
    """Those of ours; None for one that runs already."""
    path: str
    running: Target | None
    request: Request
    work_s: float | None = None
    """How long the first work took of a fresh one of ours, or of one that runs already; None before."""

    def target(self, settings: Settings | None = None) -> Target:
        """Return the server: a fresh one where there is none, or where other `settings` are asked for.

        Every process of a fresh one has done a piece of work already.
        """
        if settings is not None:
            self.end()
        if self.running is None:
            wanted = settings or self.settings
            assert wanted is not None  # noqa: S101  one that runs already has its target
            self.running = target_at(self.searcher.launch(wanted), self.path)
            mode = MODE_BY_NAME.get(wanted.mode)
            has_processes = mode is not None and mode.runs in {"process", "worker"}
            processes = wanted.tasks_at_once if has_processes else 1
            self.work_s = self.searcher.try_out(self.running, processes, self.request)
        elif self.work_s is None:
            self.work_s = self.searcher.try_out(self.running, 1, self.request)
        self.running = again(self.running)
        return self.running

    def rest(self, run: RunDocument, *, overloaded: bool) -> None:
        """Give up one of ours that has not done what it was asked to; wait for one whose tasks others keep."""
        troubled, has_ended = overloaded or run.timed_out, run.ended_because is not None
        if self.settings is None or (self.settings.broker is not None and not has_ended):
            if troubled:
                self.searcher.await_rest(self.target(), self.request)
        elif troubled or has_ended:
            self.end()

    def end(self) -> None:
        """End a server of ours, if there is one, whatever it does."""
        if self.settings is not None:
            if self.running is not None and self.running.server is not None:
                self.running.server.kill()
            self.running = None


@dataclass(slots=True)
class _Watch:
    """The screen of one step, which notes how the backlog grows, and sees when it is hopeless."""

    screen: CapacityScreen | PlainCapacity
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
    """Searches one limit after another with the same processes; `folder` takes the servers' files."""

    rig: Rig
    fork_server: servers.ForkServer
    folder: Path
    wanted: Search
    screen: CapacityScreen | PlainCapacity
    launched: int = 0
    broke_off: bool = False
    """Whether a search could not go on to its end."""

    def search(
        self, name: str, subject: Subject, path: str, target: Target | None, request: Request
    ) -> ModeCapacity | None:
        """Search the limit of private servers with the settings of `subject`, or of the one at `target`.

        None where the command was asked to stop before the first step. Raises UserError where there is no first step.
        """
        source = _Server(self, subject.settings, path, target, request)
        steps: list[CapacityStep] = []
        confirmed, broken = None, None
        try:
            self.check()
            self.screen.start(name, "starting")
            health = source.target().health
            if not subject.work_s and subject.is_measured:
                own = health.own_work if health else None
                subject = replace(subject, work_s=source.work_s or 0.0, is_async=own is not None and own.is_async)
                self.wanted.check(subject)
            first, most = self.wanted.from_per_s or subject.first_rate, self.wanted.to_per_s
            while (rate := next_rate(steps, first, most, subject.resolution)) is not None:
                steps.append(self._step(name, source, subject, rate))
            confirmed = self._confirm(name, source, subject, steps)
        except AskedToStopError:
            pass  # the steps so far are the result
        except UserError as error:
            if not steps:
                raise
            self.broke_off, broken = True, str(error)
        finally:
            source.end()
        if not steps:
            return None
        return judge(subject, steps, confirmed=confirmed, interrupted=self.rig.stopping.asked, broken=broken)

    def launch(self, settings: Settings) -> servers.Server:
        """Start a server in a folder of its own, and wait until it serves. Raises UserError and AskedToStopError."""
        self.launched += 1
        server = self.fork_server.launch(settings, self.folder / str(self.launched))
        return servers.await_ready(server, self.check)

    def check(self) -> None:
        """Raise AskedToStopError where the command was asked to stop."""
        if self.rig.stopping.asked:
            raise AskedToStopError

    def _confirm(
        self, name: str, source: _Server, subject: Subject, steps: Sequence[CapacityStep]
    ) -> Confirmation | None:
        """Measure what more threads or processes would do, where they were what gave in."""
        low, high = bracket(steps)
        more = subject.with_more(high.cause if high else None)
        if more is None or low is None:
            return None
        option, settings = more
        rate = CONFIRMED_SHARE * MORE * low.rate
        step = self._step(name, source, replace(subject, settings=settings), rate, option)
        return Confirmation(option=option, step=step)

    def _step(self, name: str, source: _Server, subject: Subject, rate: float, option: str = "") -> CapacityStep:
        """Measure one rate, with an `option` on a server of its own. Raises AskedToStopError."""
        target = source.target(subject.settings if option else None)
        settle_s, step_s = subject.settling_s, self.wanted.step_s
        self.screen.start(name, f"{option} {format_rate(rate)}".lstrip())
        watch = _Watch(self.screen, rate, settle_s, step_s)
        plan = burst(
            rate=rate,
            for_s=settle_s + step_s,
            timeout_s=settle_s + step_s + LAST_ANSWERS_S + subject.shortest_step_s,
            request=source.request,
        )
        mark = target.mark()
        run = self.rig.measure(target, at(plan, target), watch, {"rate": rate}, enough=lambda: watch.is_hopeless)
        self.check()
        seen = None
        if target.app is not None:
            seen = judge_blocking(run, target.read_sightings(mark, self.rig.stopping, wait=False))
        step = read_step(run, settle_s, step_s, subject, self.wanted.conditions, seen)
        self.screen.measured(step)
        source.rest(run, overloaded=not step.sustained)
        return step

    def await_rest(self, target: Target, request: Request) -> None:
        """Wait, not for ever, until a server has done all: one more request is answered, and its task ended, last."""
        last = burst(count=1, timeout_s=REST_S, request=request)
        self.rig.measure(target, at(last, target), Unseen(), {})

    def try_out(self, target: Target, count: int, request: Request) -> float:
        """Send so many requests at once, by which nothing is judged, and return how long their work took, in seconds.

        Raises UserError where these fail already, and AskedToStopError.
        """
        patience_s = max(WARM_UP_S, self.wanted.step_s)  # work that takes longer than a step is refused anyway
        first = burst(count=count, timeout_s=patience_s, request=request)
        run = self.rig.measure(target, at(first, target), Unseen(), {})
        self.check()
        errors = [row.error for row in run.requests if row.error] + [row.error for row in run.tasks if row.error]
        if run.timed_out:
            errors = [f"it was not over within {patience_s:g} s"]
        if errors or run.ended_because:
            raise UserError(
                f"a single request fails already ({shortened(run.ended_because or errors[0], 200)}), "
                "so there is no rate to find; look at it with taskdemo fire"
            )
        took = run.summary.work_s or run.summary.response_s
        return took.p50 if took else 0.0
