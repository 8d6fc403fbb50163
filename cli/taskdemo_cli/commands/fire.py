"""`fire` and `compare`: choose the target, measure, show, save, and say by the exit code how it went."""

import contextlib
import importlib.util
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from taskdemo_cli import runner
from taskdemo_cli.analysis import blocking, recommendation, thresholds, verdicts
from taskdemo_cli.commands import serve
from taskdemo_cli.documents.environment import command_line, environment
from taskdemo_cli.documents.rows import json_chunks
from taskdemo_cli.documents.types import ComparisonDocument, LimitsDocument, RunDocument, RunFacts, Skipped
from taskdemo_cli.errors import FAILED, OK, THRESHOLD_HELD, UserError
from taskdemo_cli.loadgen.capacity import capacity_problem
from taskdemo_cli.loadgen.protocol import Plan
from taskdemo_cli.loadgen.request import GET, Place, Request
from taskdemo_cli.processes import servers
from taskdemo_cli.processes.signals import Stopping
from taskdemo_cli.processes.tempdirs import scratch
from taskdemo_cli.reports import files
from taskdemo_cli.reports.output import Output, complain
from taskdemo_cli.runner import Rig, Target
from taskdemo_server.contract.modes import MODE_BY_NAME
from taskdemo_server.contract.settings import BUILT_IN_WORKS, OWN_PATHS, Settings

CONCURRENCY = 50
"""Requests in flight where --for bounds the run and nobody says how many."""


class Keeping:
    """Where a result goes besides the screen, and what in it makes the command fail.

    Raises UserError, before anything runs, for a file that could not be written and a threshold that cannot be read.
    """

    def __init__(
        self,
        as_json: bool = False,
        saves: Sequence[str] = (),
        html: str | None = None,
        fail_if: Sequence[str] = (),
        modes: Sequence[str] = (),
    ) -> None:
        self.as_json = as_json
        self._paths = [*saves, *([html] if html else [])]
        self._thresholds = [thresholds.parse(text, modes) for text in fail_if]
        files.check(saves, html)

    def judge(self, document: RunDocument | ComparisonDocument) -> None:
        """Hold the thresholds against the result, and note in it what became of them."""
        if self._thresholds:
            document["thresholds"] = [thresholds.evaluate(one, document).row() for one in self._thresholds]

    def save(self, document: RunDocument | ComparisonDocument, output: Output) -> None:
        """Save the result everywhere it was asked for; what cannot be is said at the end, after all the others."""
        files.save_all(document, self._paths, output.wrote)

    def save_so_far(self, document: ComparisonDocument) -> None:
        """Keep what there is of a comparison that goes on, where it was to be saved as JSON."""
        for path in self._paths:
            if path.endswith(".json"):
                with contextlib.suppress(UserError):  # it is tried, and told, again at the end
                    files.save(document, path, rescue=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """What to send: a closed loop of `concurrency` or an open one of `rate`, for `count` requests or `for_s`."""

    count: int | None = None
    for_s: float | None = None
    concurrency: int | None = None
    rate: float | None = None
    message: str | None = None
    timeout_s: float | None = None
    request: Request = GET

    def __post_init__(self) -> None:
        if self.count is not None and self.for_s is not None:
            raise UserError("--count and --for both bound the run: give one of them")
        if self.concurrency is not None and self.rate is not None:
            raise UserError("--concurrency waits for answers and --rate does not: give one of them")

    @property
    def planned(self) -> int | None:
        """Requests to send; None where the clock decides."""
        return None if self.for_s is not None else self.count or 1

    @property
    def in_flight(self) -> int | None:
        """Requests in flight at the most; None in an open loop."""
        if self.rate is not None:
            return None
        return self.concurrency or self.planned or CONCURRENCY

    def check_capacity(self) -> None:
        """Raise UserError where this machine cannot hold so many connections; raise the limit as far as it may be."""
        problem = capacity_problem(
            Plan(url="", count=self.planned, for_s=self.for_s, concurrency=self.in_flight, rate=self.rate)
        )
        if problem is not None:
            raise UserError(problem)

    def plan(self, target: Target) -> Plan:
        """Return what the load process is to do at this target."""
        return Plan(
            url=target.url + target.path,
            method=self.request.method,
            body=None if self.request.body is None else self.request.body.decode("latin-1"),
            message=self.message,
            count=self.planned,
            for_s=self.for_s,
            concurrency=self.in_flight,
            rate=self.rate,
            timeout_s=self.timeout_s,
            headers=[*self.request.headers, *servers.authorization(target.token).items()],
        )

    def facts(self) -> RunFacts:
        """Return what a run's document says of this."""
        return {
            "count": self.planned,
            "for_s": self.for_s,
            "concurrency": self.in_flight,
            "rate": self.rate,
            "message": self.message,
            "method": self.request.method,
            "command": command_line(),
            "environment": environment(),
        }


def fire(
    burst: Burst,
    keeping: Keeping,
    *,
    place: Place,
    named: bool = False,
    private: Settings | None = None,
    token: str | None = None,
    wait: bool = True,
) -> int:
    """Fire a burst at a place, of a private server or one that runs, and return the exit code.

    `named`: the user gave the URL; else it is only a port of this machine.
    """
    from taskdemo_cli.reports.terminal.live import run_screen
    from taskdemo_cli.reports.terminal.report import run_report

    burst.check_capacity()
    output = Output(keeping.as_json)
    stopping = Stopping().listen()
    with contextlib.ExitStack() as stack:
        if private is None:
            target = _running(place, token, named=named)
            rig = stack.enter_context(Rig(stopping))
        else:
            rig = stack.enter_context(Rig(stopping, threads=private.app is not None))
            with output.waiting(f"starting {private.app or f'the {private.mode} server'}"):
                target = stack.enter_context(_private(private, place.path, stopping))
        with run_screen(output.console, _title(burst, target), count=burst.planned, for_s=burst.for_s) as screen:
            plan = burst.plan(target)
            run = rig.measure(target, plan, screen, burst.facts(), wait=wait)
            if target.app is not None:
                run["blocking"] = blocking.judge(run, target.found())
        with output.waiting("measuring what the client itself takes"):
            rig.doubt(plan, [run])
    run["verdict"] = verdicts.verdict(run, blocking.sentence(run["blocking"]) if "blocking" in run else "")
    keeping.judge(run)
    if keeping.as_json:
        output.document(json_chunks(run))
    else:
        output.console.print(run_report(run))
    keeping.save(run, output)
    output.check()
    return _exit_code(run, [run], stopping)


def compare(
    settings: Sequence[Settings],
    skipped: list[Skipped],
    burst: Burst,
    keeping: Keeping,
    rounds: int,
    limits: LimitsDocument | None = None,
) -> int:
    """Fire the same burst at a private server of each mode, show what differs, and return the exit code.

    `limits`, measured before, join the result, and the recommendation cites them.
    """
    burst.check_capacity()
    stopping = Stopping().listen()
    with scratch() as folder, servers.Nursery() as nursery, Rig(stopping) as rig:
        started = [_launched(one, nursery, folder / one.mode) for one in settings]
        # What follows takes a while to import, and the servers start meanwhile.
        from taskdemo_cli.reports.terminal.live import comparison_screen
        from taskdemo_cli.reports.terminal.report import comparison_report

        output = Output(keeping.as_json)
        facts = burst.facts()

        def document(runs: list[RunDocument], without: list[Skipped]) -> ComparisonDocument:
            found = verdicts.comparison(
                runs, skipped=[*skipped, *without], environment=facts["environment"], command=facts["command"]
            )
            if limits is not None:
                found["limits"] = limits
            return found

        with comparison_screen(
            output.console, _comparison_title(burst, settings), [one.mode for one in settings]
        ) as screen:
            for absent in skipped:
                screen.skip(absent["mode"], absent["why"])
            runs, failed = runner.compare(
                rig,
                started,
                burst.plan,
                screen,
                facts,
                rounds=rounds,
                keep=lambda so_far: keeping.save_so_far(document(so_far, [])),
            )
        fastest = min(runs, key=_median, default=None)
        if fastest is not None:
            with output.waiting("measuring what the client itself takes"):
                rig.doubt(burst.plan(Target(fastest["url"])), runs)
    if not runs:
        stopping.check()
        raise UserError(_why_none(failed))
    result = document(runs, failed)
    if (advice := recommendation.recommend(runs, limits["modes"] if limits else None)) is not None:
        result["recommendation"] = advice
    keeping.judge(result)
    if keeping.as_json:
        output.document(json_chunks(result))
    else:
        output.console.print(comparison_report(result))
    keeping.save(result, output)
    output.check()
    return _exit_code(result, runs, stopping)


def _launched(settings: Settings, nursery: servers.Nursery, folder: Path) -> servers.Server:
    folder.mkdir()
    return nursery.launch(serve.placed(settings, folder), folder)


def _why_none(failed: Sequence[Skipped]) -> str:
    whys = {one["why"] for one in failed}
    if len(whys) == 1:  # the work itself cannot be used, say
        return whys.pop()
    return "no mode could be run: " + "; ".join(f"{one['mode']}: {one['why']}" for one in failed)


def installed(modes: Sequence[str] | None) -> tuple[list[str], list[Skipped]]:
    """Return the modes that can be run here, of those asked for or of all, and why the others cannot."""
    names = list(modes or MODE_BY_NAME)
    missing: list[Skipped] = [
        {"mode": name, "why": f"not installed; pip install 'taskdemo[{extra}]' brings it"}
        for name in names
        if (extra := MODE_BY_NAME[name].extra) and importlib.util.find_spec(extra) is None
    ]
    without = {one["mode"] for one in missing}
    return [name for name in names if name not in without], missing


@contextlib.contextmanager
def _private(settings: Settings, path: str, stopping: Stopping) -> Iterator[Target]:
    with scratch() as folder:
        server = servers.launch(serve.placed(settings, folder), folder)
        try:
            servers.await_ready(server, stopping.check)
            under = OWN_PATHS if settings.app is not None else ""
            yield _found(server, path, under)
        finally:
            servers.end(server)


def _found(server: servers.Server, path: str, under: str) -> Target:
    try:
        return runner.find_target(server.url, path, server, under=under)
    except OSError:
        raise UserError(servers.last_words(server) or "the server ended just after its start", FAILED) from None


def _running(place: Place, token: str | None, *, named: bool) -> Target:
    url = place.url
    try:
        return runner.find_target(url, place.path, token=token)
    except servers.SilentError as error:
        complain(f"{url} took the connection but did not say what it is ({error}): its tasks, if any, are not followed")
        return Target(url, place.path, token=token)
    except OSError as error:
        if named:
            raise UserError(f"nobody answers at {url} ({_reason(error)}); is the server running?") from None
        port = url.rpartition(":")[2]
        raise UserError(
            f"no server answers on port {port}; start one with: taskdemo serve --port {port}"
            f"  or let fire start its own: taskdemo fire --mode background"
        ) from None


def _median(run: RunDocument) -> float:
    response = run["summary"]["response_s"]
    return math.inf if response is None else response["p50"]


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__


def _title(burst: Burst, target: Target) -> str:
    what = target.mode or target.app
    name = f"{what} at {target.url}" if what else target.url
    return f"{_sent(burst)} at {name}{target.path if target.path != '/' else ''}"


def _comparison_title(burst: Burst, settings: Sequence[Settings]) -> str:
    one = settings[0]
    took = f"{one.work} of {one.duration:g} s" if one.work in BUILT_IN_WORKS else one.work
    return f"{_sent(burst)} in each mode, work: {took}"


def _sent(burst: Burst) -> str:
    what = "request" if burst.request.method == "GET" else f"{burst.request.method} request"
    much = (
        f"{burst.planned} {what}{'s' if burst.planned != 1 else ''}"
        if burst.planned
        else f"{burst.for_s:g} s of {what}s"
    )
    if burst.rate is not None:
        return f"{much}, {burst.rate:g} a second"
    if burst.planned == 1:
        return much
    return f"{much}, all at once" if burst.in_flight == burst.planned else f"{much}, {burst.in_flight} at a time"


def _exit_code(document: RunDocument | ComparisonDocument, runs: Sequence[RunDocument], stopping: Stopping) -> int:
    if stopping.asked:
        return stopping.exit_code
    if any(threshold["held"] for threshold in document.get("thresholds", ())):
        return THRESHOLD_HELD
    trouble = any(
        run["summary"]["requests"]["failed"]
        or run["summary"]["tasks"]["lost"]
        or run["not_sent"]
        or run["timed_out"]
        or run["ended_because"]
        for run in runs
    )
    return FAILED if trouble else OK
