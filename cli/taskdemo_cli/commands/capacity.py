"""`capacity`: find the rate at which each mode, an application or a URL gives in, and say what gave in.

A step is one measured run of an open loop. A private server that was not overloaded is used again, because its tasks
have all ended; one that gave in is replaced by a fresh one. A server that is not ours is waited for.
"""

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from taskdemo_cli import runner
from taskdemo_cli.analysis import blocking, capacity, thresholds
from taskdemo_cli.analysis.capacity import Subject
from taskdemo_cli.analysis.thresholds import Threshold
from taskdemo_cli.commands import serve
from taskdemo_cli.commands.burst import Burst
from taskdemo_cli.commands.fire import running_target, target_at
from taskdemo_cli.commands.keeping import Keeping
from taskdemo_cli.documents.capacity import CapacityCause, CapacityDocument, CapacityStep, Confirmation, ModeCapacity
from taskdemo_cli.documents.environment import command_line, environment
from taskdemo_cli.documents.run import RunDocument, Skipped
from taskdemo_cli.errors import FAILED, OK, THRESHOLD_MET, UserError
from taskdemo_cli.loadgen.request import GET, Place, Request, read_request
from taskdemo_cli.processes import servers
from taskdemo_cli.processes.signals import StopRequest
from taskdemo_cli.processes.tempdirs import temporary_folder
from taskdemo_cli.recording.recorder import Recorder
from taskdemo_cli.reports.output import Output
from taskdemo_cli.reports.terminal.capacity import CapacityScreen, PlainCapacity, capacity_report, capacity_screen
from taskdemo_cli.runner import Rig, Target
from taskdemo_cli.units import format_count, format_rate, format_seconds
from taskdemo_server.contract.modes import MODE_BY_NAME
from taskdemo_server.contract.settings import BUILT_IN_WORKS, OWN_PATHS, Settings
from taskdemo_server.contract.text import shortened

__all__ = ["Keeping", "Search", "capacity_of_modes", "capacity_of_url"]

LAST_ANSWERS_S = 1.0
"""How long a step waits, beyond the work, for what it has sent: a server that keeps up has answered by then."""
REST_S = 20.0
"""How long a server that is not ours, or whose broker is not, is waited for after it gave in."""
STEPS_TOLD = 6
"""So many steps a mode takes, about, to say beforehand how long all will take."""
CAUSES: dict[str, CapacityCause] = {
    "event loop held": "event loop",
    "interpreter busy": "interpreter",
    "threads used up": "threads",
}
"""What gave in, by what the server of the user's own application has seen of it."""


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


def capacity_of_modes(
    settings: Sequence[Settings], skipped: Sequence[Skipped], search: Search, keeping: Keeping, path: str = "/"
) -> int:
    """Search the limit of a private server of each of these settings, show what was found, and return the exit code."""
    subjects = [Subject.asked(one) for one in settings]
    for subject in subjects:
        search.check(subject)
    with _Campaign([one.app or one.mode for one in settings], search, keeping, settings[0]) as campaign:
        for skip in skipped:
            campaign.skip(skip.mode, skip.why)
        for one, subject in zip(settings, subjects, strict=True):
            campaign.search(one.app or one.mode, _Private(campaign, one, path), subject)
    return campaign.finish()


def capacity_of_url(place: Place, token: str | None, search: Search, keeping: Keeping) -> int:
    """Search the limit of a server that runs already, show what was found, and return the exit code."""
    name = place.url + place.path
    target = running_target(place, token, named=True)
    request = read_request(None, (), None, token=token, more=place.headers)
    with _Campaign([name], search, keeping, None) as campaign:
        campaign.search(name, _Running(campaign, target, request), Subject())
    return campaign.finish()


class AskedToStopError(Exception):
    """The command was asked to stop: the steps so far are the result."""


class _Private:
    """The servers of one mode, one after another: each of them is there for as long as it keeps up."""

    def __init__(self, campaign: "_Campaign", settings: Settings, path: str) -> None:
        self._campaign = campaign
        self._settings = settings
        self._path = path
        self._target: Target | None = None
        self.request = GET
        self.work_s = 0.0
        """How long the work took that a fresh server did first."""

    def target(self, settings: Settings | None = None) -> Target:
        """Return the server: a fresh one where there is none, or where other `settings` are asked for.

        Every process of a fresh one has done a piece of work already.
        """
        if settings is not None:
            self.end()
        if self._target is None:
            wanted = settings or self._settings
            folder = self._campaign.new_folder()
            server = self._campaign.fork_server.launch(serve.placed(wanted, folder), folder)
            servers.await_ready(server, self._campaign.check)
            self._target = target_at(server, self._path, OWN_PATHS if wanted.app is not None else "")
            mode = MODE_BY_NAME.get(wanted.mode)
            has_processes = mode is not None and mode.runs in {"process", "worker"}
            self.work_s = self._campaign.try_out(self._target, wanted.tasks_at_once if has_processes else 1, GET)
        self._target = runner.again(self._target)
        return self._target

    def rest(self, run: RunDocument, *, overloaded: bool) -> None:
        """Give up a server that has not done yet what it was asked to; where others keep its tasks, wait for them."""
        if self._settings.broker is not None and self._target is not None and run.ended_because is None:
            if overloaded or run.timed_out:
                self._campaign.await_rest(self._target, GET)
        elif overloaded or run.timed_out or run.ended_because is not None:
            self.end()

    def end(self) -> None:
        """End the server, if there is one, whatever it does."""
        if self._target is not None and self._target.server is not None:
            self._target.server.kill()
        self._target = None


class _Running:
    """A server that is not ours, and that can only be waited for."""

    def __init__(self, campaign: "_Campaign", target: Target, request: Request) -> None:
        self._campaign = campaign
        self._target = target
        self.request = request
        self.work_s = campaign.try_out(target, 1, request)
        """How long one request took, or its task."""

    def target(self, settings: Settings | None = None) -> Target:
        """Return it as it is now."""
        del settings
        self._target = runner.again(self._target)
        return self._target

    def rest(self, run: RunDocument, *, overloaded: bool) -> None:
        """Wait until it has done what it was asked to."""
        if overloaded or run.timed_out:
            self._campaign.await_rest(self._target, self.request)

    def end(self) -> None:
        """Leave it alone."""


class _Quiet:
    """The screen of what nobody looks at."""

    def update(self, source: Recorder, now: float) -> None:
        """Show nothing."""


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
            self.is_hopeless = capacity.is_hopeless(judged, self.rate)
        self.screen.update(self.backlog, live.elapsed_s / (self.settle_s + self.step_s))


class _Campaign:
    """All searches of one command: what they share, and what they found."""

    def __init__(self, names: Sequence[str], search: Search, keeping: Keeping, settings: Settings | None) -> None:
        self._names = names
        self._search = search
        self._keeping = keeping
        self._settings = settings
        self._output = Output(keeping.as_json)
        self._stack = contextlib.ExitStack()
        self._folders = 0
        self._started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._found: dict[str, ModeCapacity] = {}
        self._skipped: list[Skipped] = []
        self.stopping = StopRequest().listen()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._folder = stack.enter_context(temporary_folder())
            self.fork_server = stack.enter_context(servers.ForkServer())
            has_app = self._settings is not None and self._settings.app is not None
            self.rig = stack.enter_context(Rig(self.stopping, threads=has_app))
            self._screen = capacity_screen(self._output.console, self._title(), self._names)
            stack.enter_context(self._screen)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *details: object) -> None:
        self._stack.__exit__(*details)  # type: ignore[arg-type] # what `with` gives is passed on as it is

    def new_folder(self) -> Path:
        """Return a folder for one server."""
        self._folders += 1
        folder = self._folder / str(self._folders)
        folder.mkdir()
        return folder

    def check(self) -> None:
        """Raise AskedToStopError where the command was asked to stop."""
        if self.stopping.asked:
            raise AskedToStopError

    def skip(self, name: str, why: str) -> None:
        """Take note of a mode that cannot be run."""
        self._skipped.append(Skipped(mode=name, why=why))
        self._screen.skip(name, why)

    def search(self, name: str, source: "_Private | _Running", subject: Subject) -> None:
        """Search the limit of one mode, application or URL."""
        steps: list[CapacityStep] = []
        confirmed = None
        try:
            self.check()
            self._screen.start(name, "starting")
            source.target()
            if not subject.work_s and subject.is_measured:
                subject = replace(subject, work_s=source.work_s)
                self._search.check(subject)
            first, most = self._search.from_per_s or subject.first_rate, self._search.to_per_s
            while (rate := capacity.next_rate(steps, first, most, subject.resolution)) is not None:
                steps.append(self._step(name, source, subject, rate))
            confirmed = self._confirm(name, source, subject, steps)
        except AskedToStopError:
            pass  # the steps so far are the result
        except UserError as error:
            if not steps:
                if len(self._names) == 1:
                    raise
                self.skip(name, str(error))
        finally:
            source.end()
        if steps:
            self._found[name] = capacity.judge(subject, steps, confirmed=confirmed, interrupted=self.stopping.asked)
            self._screen.done(name, self._found[name])
            self._keeping.save_so_far(self._document)

    def _confirm(
        self, name: str, source: "_Private | _Running", subject: Subject, steps: Sequence[CapacityStep]
    ) -> Confirmation | None:
        """Measure what more threads or processes would do, where they were what gave in."""
        low, high = capacity.bracket(steps)
        more = subject.with_more(high.cause if high else None)
        if more is None or low is None:
            return None
        option, settings = more
        rate = capacity.CONFIRMED_SHARE * capacity.MORE * low.rate
        step = self._step(name, source, replace(subject, settings=settings), rate, option)
        return Confirmation(option=option, step=step)

    def _step(
        self, name: str, source: "_Private | _Running", subject: Subject, rate: float, option: str = ""
    ) -> CapacityStep:
        """Measure one rate, with an `option` on a server of its own. Raises AskedToStopError."""
        target = source.target(subject.settings if option else None)
        settle_s, step_s = subject.settling_s, self._search.step_s
        self._screen.start(name, f"{option} {format_rate(rate)}".lstrip())
        watch = _Watch(self._screen, rate, settle_s, step_s)
        plan = Burst(
            rate=rate,
            for_s=settle_s + step_s,
            timeout_s=settle_s + step_s + LAST_ANSWERS_S + subject.shortest_step_s,
            request=source.request,
        ).plan(target)
        mark = target.mark()
        run = self.rig.measure(target, plan, watch, {"rate": rate}, enough=lambda: watch.is_hopeless)
        self.check()
        seen: CapacityCause | None = None
        if target.app is not None:
            seen = CAUSES.get(blocking.judge(run, target.found(mark, self.rig.stopping, wait=False)).cause)
        step = capacity.read_step(run, settle_s, step_s, subject, self._search.conditions, seen)
        self._screen.measured(step)
        source.rest(run, overloaded=not step.sustained)
        return step

    def await_rest(self, target: Target, request: Request) -> None:
        """Wait, not for ever, until a server has done all: one more request is answered, and its task ended, last."""
        last = Burst(count=1, timeout_s=REST_S, request=request).plan(target)
        self.rig.measure(runner.again(target), last, _Quiet(), {})

    def try_out(self, target: Target, count: int, request: Request) -> float:
        """Send so many requests at once, by which nothing is judged, and return how long their work took, in seconds.

        Raises UserError where these fail already, and AskedToStopError.
        """
        run = self.rig.measure(target, Burst(count=count, request=request).plan(target), _Quiet(), {})
        self.check()
        errors = [row.error for row in run.requests if row.error] + [row.error for row in run.tasks if row.error]
        if errors or run.ended_because:
            raise UserError(
                f"a single request fails already ({shortened(run.ended_because or errors[0], 200)}), "
                "so there is no rate to find; look at it with taskdemo fire"
            )
        took = run.summary.work_s or run.summary.response_s
        return took.p50 if took else 0.0

    def finish(self) -> int:
        """Show and keep what was found, and return the exit code."""
        if not self._found:
            self.stopping.check()
            whys = "; ".join(f"{one.mode}: {one.why}" for one in self._skipped)
            raise UserError(f"no mode could be measured: {whys}")
        document = self._keeping.judged(self._document())
        try:
            self._output.show(document, capacity_report)
        finally:
            self._keeping.save(document, self._output)
        if self.stopping.asked:
            return self.stopping.exit_code
        if any(one.held for one in document.thresholds or ()):
            return THRESHOLD_MET
        return OK if any(found.sustained_per_s is not None for found in self._found.values()) else FAILED

    def _document(self) -> CapacityDocument:
        settings = self._settings
        works = settings is not None and settings.app is None
        return CapacityDocument(
            modes=dict(self._found),
            work=settings.work if settings and works else None,
            duration_s=settings.duration if settings and works else None,
            step_s=self._search.step_s,
            conditions=[one.expression for one in self._search.conditions],
            skipped=list(self._skipped),
            interrupted=self.stopping.asked,
            started_at=self._started_at,
            environment=environment(),
            command=command_line(),
        )

    def _title(self) -> str:
        settings = self._settings
        work = ""
        if settings is not None and settings.app is None:
            work = f", work: {settings.work}"
            work += f" of {format_seconds(settings.duration)}" if settings.work in BUILT_IN_WORKS else ""
        many = f"{len(self._names)} modes" if len(self._names) > 1 else self._names[0]
        return f"How much {many} can take{work}"


def conditions(texts: Sequence[str]) -> list[Threshold]:
    """Read what --while asks for. Raises UserError with what can be written instead."""
    return [thresholds.parse(text, option="--while") for text in texts]
