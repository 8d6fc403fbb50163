"""How much a server takes: whether a step of an open loop was sustained, which rate comes next, and what gave in.

Pure: no I/O and no clock. A request is in the backlog from its planned send until its task has ended, or, where it has
none, until its answer: so what waits unseen in a server's socket counts as what waits in a queue. The number of
requests that wait is the rate times how long each waits (Little's law), so without tasks a backlog that grows is a
corrected response time that grows.
"""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from taskdemo_cli.analysis import thresholds
from taskdemo_cli.analysis.mode_summary import HELD_UP_S
from taskdemo_cli.analysis.thresholds import Threshold
from taskdemo_cli.analysis.verdicts import STRETCHED
from taskdemo_cli.documents.capacity import CapacityCause, CapacityStep, Confirmation, ModeCapacity
from taskdemo_cli.documents.pairing import pairs
from taskdemo_cli.documents.run import RequestRow, RunDocument, TaskRow
from taskdemo_cli.recording.summary import BUSY_SHARE
from taskdemo_cli.stats import Occupancy, Slope, slope
from taskdemo_cli.units import format_count, format_rate, format_seconds, format_share
from taskdemo_server.contract.modes import MODE_BY_NAME, Mode
from taskdemo_server.contract.settings import BUILT_IN_WORKS, Settings

SLICES: Final = 12
"""A step's backlog is averaged over so many spans; over fewer where requests are few, so that each has one."""
GROWS: Final = 0.02
"""A backlog grows where the interval of its slope lies above this share of the rate."""
UNCLEAR: Final = 0.05
"""Where that interval reaches so far to either side, and the growth is not `OBVIOUS`, the step decides nothing."""
OBVIOUS: Final = 0.1
HOPELESS: Final = 0.25
"""A step whose backlog surely grows by this share of the rate need not be measured to its end."""
ENOUGH_S: Final = 1.0
"""How much of a step must have been seen for that."""
RESOLUTION: Final = 1.1
"""The search ends where the rate that failed is no more than so many times the one that was sustained."""
COARSE: Final = 1.25
"""The same where the work bounds nothing, so that the machine is the limit: what else runs there moves it by more."""
BELOW: Final = 0.96
ABOVE: Final = 1.04
"""The search tries this much below and above the rate at which tasks ended while it gave in, before it halves."""
APART: Final = 1.01
"""Rates closer than this are not told apart."""
SETTLING_S: Final = 0.3
"""What comes before, beside the first work: connections are opened."""
FIRST_SHARE: Final = 0.95
"""The first rate, as a share of what arithmetic says."""
UNBOUNDED_FROM: Final = 800.0
"""The first rate where the work itself bounds nothing."""
UNKNOWN_FROM: Final = 10.0
"""The first rate where nothing is known of the server."""
FEWEST: Final = 6
"""A step of fewer requests shows nothing."""
PATIENCE: Final = 4.5
"""On a machine that disturbs it the search closes in for no longer than so many whole steps take."""
STEPS: Final = 24
"""No search is longer than this."""
MORE: Final = 2
"""So many times the threads or processes are tried, to confirm that they were what gave in."""
CONFIRMED_SHARE: Final = 0.9
"""Of so many times the sustained rate, this share is asked of them."""
LATE_S: Final = 0.05
"""A client whose median send is later than this does not send on time."""
NEAR: Final = 0.15
"""A measured rate this close to what arithmetic says needs no reason."""
TROUBLE: Final = frozenset({"failed", "cancelled", "lost"})
CUT: Final = frozenset({"Cancelled", "ReadTimeout", "ConnectTimeout", "PoolTimeout"})
"""What requests end with that were still waiting when the step was over: they have not failed."""
BY_BACKLOG: Final = frozenset({"threads", "processes", "event loop", "interpreter", "broker", "unknown"})
"""The causes that a backlog shows which grows."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What is measured, as far as that is known beforehand."""

    settings: Settings | None = None
    """Of the private server; None where the server is not ours."""
    work_s: float = 0.0
    """How long one piece of work takes: as asked, or as a single request has shown."""

    @classmethod
    def asked(cls, settings: Settings) -> "Subject":
        """Return what these settings say of it."""
        subject = cls(settings)
        return subject if subject.is_measured else cls(settings, settings.duration)

    @property
    def mode(self) -> Mode | None:
        """The mode; None for the user's own application and for a URL."""
        return None if self.settings is None else MODE_BY_NAME.get(self.settings.mode)

    @property
    def is_measured(self) -> bool:
        """Whether only a first request can show how long the work takes."""
        return self.settings is None or self.settings.work not in BUILT_IN_WORKS or self.settings.app is not None

    @property
    def at_once(self) -> int | None:
        """How many tasks can make progress at once; None where the work itself bounds nothing, or nobody knows."""
        if self.settings is None or self.mode is None:
            return None
        if self.mode.runs in {"process", "worker"}:
            return self.settings.tasks_at_once
        if self.settings.work == "cpu":  # threads share one interpreter
            return 1
        if self.mode.runs == "thread":
            return self.settings.threads
        return None if self.mode.awaits else 1

    @property
    def expected_per_s(self) -> float | None:
        """The rate that arithmetic gives; None where the work bounds none, or nothing is known of it."""
        return self.at_once / self.work_s if self.work_s and self.at_once is not None else None

    @property
    def first_rate(self) -> float:
        """The rate of the first step: below what arithmetic says, where it says something."""
        if self.expected_per_s is not None:
            return FIRST_SHARE * self.expected_per_s
        return UNKNOWN_FROM if self.mode is None else UNBOUNDED_FROM

    @property
    def resolution(self) -> float:
        """How close the rate that failed has to come to the one that was sustained, as their ratio."""
        return COARSE if self.mode is not None and self.expected_per_s is None else RESOLUTION

    @property
    def settling_s(self) -> float:
        """How long after the first send a step begins to be judged: until the first tasks have ended."""
        return SETTLING_S + self.work_s

    @property
    def shortest_step_s(self) -> float:
        """How long a step must be for its backlog to show anything: some work must end in it, and some be asked for."""
        return max(2 * self.work_s, (FEWEST + 1) / (self.expected_per_s or math.inf))

    def with_more(self, cause: CapacityCause | None) -> tuple[str, Settings] | None:
        """Return the option that should help, as one types it, and the settings with it; None where none is known."""
        if self.settings is not None and self.mode is not None and cause == "threads":
            threads = MORE * self.settings.threads
            return f"--threads {threads}", replace(self.settings, threads=threads)
        if self.settings is not None and self.settings.broker is None and cause == "processes":
            processes = MORE * self.settings.tasks_at_once
            return f"--processes {processes}", replace(self.settings, processes=processes)
        return None


# --- one step ----------------------------------------------------------------------------------------------


def is_hopeless(backlog: Sequence[tuple[float, float]], rate: float) -> bool:
    """Say whether a step at `rate` gives in, whatever is still to come.

    `backlog` are its sizes so far, each with its moment in seconds, without those of the settling time.
    """
    if len(backlog) < SLICES // 2 or backlog[-1][0] - backlog[0][0] < ENOUGH_S:
        return False
    moments, sizes = zip(*backlog, strict=True)
    return slope(moments, sizes).low > HOPELESS * rate


def read_step(
    run: RunDocument,
    settle_s: float,
    step_s: float,
    subject: Subject,
    conditions: Sequence[Threshold] = (),
    seen: CapacityCause | None = None,
) -> CapacityStep:
    """Return what a run of an open loop shows: its backlog between `settle_s` and `step_s` later, and why it gave in.

    `conditions` must hold. `seen`: what the server of the user's own application says was used up. A run that was
    ended early is judged by what there is of it.
    """
    rate = run.rate or 1.0
    rows = list(pairs(run))
    spans = [_span(request, task) for request, task in rows]
    end_s = max(_seen_until(spans, settle_s + step_s, 1 / rate), settle_s + 1e-3)
    slices = max(min(SLICES, int(rate * (end_s - settle_s))), 3)
    waiting, unsent = Occupancy(end_s - settle_s, slices), Occupancy(end_s - settle_s, slices)
    for planned_s, sent_s, over_s in spans:
        waiting.add(planned_s - settle_s, min(over_s, end_s) - settle_s)
        unsent.add(planned_s - settle_s, min(sent_s, end_s) - settle_s)
    curve = waiting.levels()
    growth, unsent_growth = _growth(curve, end_s - settle_s), _growth(unsent.levels(), end_s - settle_s)
    failed = sum(_has_failed(request, task) for request, task in rows)
    broken = [one for one in conditions if not _holds(one, run)]
    cause: CapacityCause | None = None
    if run.ended_because is not None or failed:
        cause = "refused"
    elif _is_late(run) or unsent_growth.low > GROWS * rate:
        cause = "client"
    elif growth.low > GROWS * rate:
        cause = seen or _used_up(run, subject)
    elif broken:
        cause = "threshold"
    summary = run.summary
    return CapacityStep(
        rate=rate,
        response_s=summary.response_s,
        corrected_s=summary.corrected_s,
        completion_s=summary.completion_s,
        work_s=summary.work_s,
        bystander_s=summary.bystander_s,
        backlog=round(curve[-1], 3),
        backlog_growth_per_s=round(growth.mean, 3),
        growth_low_per_s=round(growth.low, 3),
        growth_high_per_s=round(growth.high, 3),
        curve=[round(level, 3) for level in curve],
        from_s=settle_s,
        to_s=end_s,
        failed=failed,
        max_parallel=summary.tasks.max_parallel,
        sustained=cause is None,
        cause=cause,
        why=None if cause is None else _why(cause, run, subject, broken, failed),
    )


def _span(request: RequestRow, task: TaskRow | None) -> tuple[float, float, float]:
    """Return when a request was to be sent, was sent and was over; infinite where that was not seen."""
    over_s = request.done_s if task is None else task.ended_s
    if request.error in CUT:
        over_s = None
    planned_s, sent_s, over_s = (math.inf if at is None else at for at in (request.planned_s, request.sent_s, over_s))
    return planned_s, sent_s, over_s


def _seen_until(spans: Sequence[tuple[float, float, float]], end_s: float, apart_s: float) -> float:
    """Return until when a step was seen: to its end, or, where it was ended early, to the last that was heard of."""
    sent_until_s = max((planned_s for planned_s, *_ in spans), default=0.0) + apart_s
    if sent_until_s >= end_s - apart_s:
        return end_s
    return min(sent_until_s, max((over_s for *_, over_s in spans if over_s < math.inf), default=sent_until_s))


def _has_failed(request: RequestRow, task: TaskRow | None) -> bool:
    return (request.error is not None and request.error not in CUT) or (task is not None and task.state in TROUBLE)


def _growth(levels: Sequence[float], length_s: float) -> Slope:
    return slope([(at + 0.5) * length_s / len(levels) for at in range(len(levels))], levels)


def _holds(condition: Threshold, run: RunDocument) -> bool:
    outcome = thresholds.evaluate(condition, run)
    return outcome.met and outcome.value is not None


def _is_late(run: RunDocument) -> bool:
    wait, client = run.summary.wait_s, run.summary.client
    return (client.cpu_share or 0.0) >= BUSY_SHARE or (wait is not None and wait.p50 > LATE_S)


def _used_up(run: RunDocument, subject: Subject) -> CapacityCause:
    """Return what there was no more of while the backlog grew."""
    settings, mode = subject.settings, subject.mode
    if settings is None or mode is None:
        return "unknown"
    at_once, work = run.summary.tasks.max_parallel, run.summary.work_s
    if mode.runs == "thread":
        is_stretched = bool(work and subject.work_s and work.p50 > STRETCHED * subject.work_s)
        return "threads" if at_once >= settings.threads and not is_stretched else "interpreter"
    if mode.runs == "loop":
        return "event loop"
    if at_once >= settings.tasks_at_once:
        return "processes"
    return "broker" if mode.engine is not None else "event loop"


def _why(cause: CapacityCause, run: RunDocument, subject: Subject, broken: Sequence[Threshold], failed: int) -> str:
    settings, mode = subject.settings, subject.mode
    match cause:
        case "refused":
            errors = run.summary.requests.errors.items()
            kinds = ", ".join(f"{count:,} {kind}" for kind, count in errors if kind not in CUT) or "their tasks"
            return run.ended_because or f"{failed:,} of {format_count(len(run.requests), 'request')} failed ({kinds})"
        case "client":
            return "the client itself could not send on time"
        case "threshold":
            measured = ((one, thresholds.evaluate(one, run).measured) for one in broken)
            return "; ".join(f"{one.metric} was {was}, and --while asks for {one.expression}" for one, was in measured)
        case "threads":
            return f"all {settings.threads} threads were busy" if settings and mode else "the worker threads were busy"
        case "processes":
            return f"all {settings.tasks_at_once if settings else ''} processes were busy"
        case "interpreter":
            return "the threads share one Python interpreter, and that was busy"
        case "broker":
            at_once = run.summary.tasks.max_parallel
            return f"at most {at_once} tasks ran at once: the broker did not hand them out in time"
        case "event loop" if subject.expected_per_s is not None and mode is not None and mode.runs == "loop":
            return "the work blocks the event loop, so it runs one at a time"
        case "event loop":
            ping = run.summary.bystander_s
            late = f", GET /ping waited up to {format_seconds(ping.max)}" if ping and ping.max >= HELD_UP_S else ""
            return f"the event loop was busy{late}"
        case _:
            return "answers took longer and longer, and nothing seen from outside says why"


# --- the search --------------------------------------------------------------------------------------------


def bracket(steps: Iterable[CapacityStep]) -> tuple[CapacityStep | None, CapacityStep | None]:
    """Return the step of the highest rate that was sustained, and that of the lowest that failed.

    Of several steps at one rate the last one counts.
    """
    by_rate = {step.rate: step for step in steps}
    failed = min((step for step in by_rate.values() if not step.sustained), key=_rate, default=None)
    below = math.inf if failed is None else failed.rate
    return max((step for rate, step in by_rate.items() if rate < below), key=_rate, default=None), failed


def next_rate(
    steps: Sequence[CapacityStep], first: float, most: float | None = None, resolution: float = RESOLUTION
) -> float | None:
    """Return the rate to try next; None where the search is over.

    The rate doubles until it gives in. What ended in that time tells about where the limit is: the search tries a
    little below it and a little above, and halves what is left. A step that decides nothing is measured once more, and
    so is one that failed although more was sustained afterwards than had ended in it: something else disturbed it.
    """
    if not steps:
        return first if most is None else min(first, most)
    last = steps[-1]
    tries = Counter(step.rate for step in steps)
    if _decides_nothing(last) and tries[last.rate] == 1:
        return last.rate
    low, high = bracket(steps)
    if len(steps) >= STEPS:
        return None
    if high is None:
        return None if most is not None and last.rate >= most else min(2 * last.rate, most or math.inf)
    ended = high.rate - high.backlog_growth_per_s if high.cause in BY_BACKLOG else None
    if low is None:
        lower = BELOW * (ended or 0.0)
        lower = lower if high.rate / 64 < lower < high.rate / APART else high.rate / 2
        return lower if lower * (high.to_s - high.from_s) >= FEWEST else None
    if ended is not None and low.rate >= RESOLUTION * ended and tries[high.rate] == 1:
        return high.rate
    if high.rate <= resolution * low.rate or _has_lasted(steps):
        return None
    guesses = (BELOW * ended, ABOVE * ended) if ended is not None and _is_clear(high) else ()
    inside = (guess for guess in guesses if APART * low.rate < guess < high.rate / APART)
    return next(inside, math.sqrt(low.rate * high.rate))


def _has_lasted(steps: Sequence[CapacityStep]) -> bool:
    """Say whether the steps since the first at a rate that failed for good took as long as `PATIENCE` allows."""
    failed = {rate for rate, step in {step.rate: step for step in steps}.items() if not step.sustained}
    closing = itertools.dropwhile(lambda step: step.rate not in failed, steps)
    return sum(step.to_s for step in closing) >= PATIENCE * max(step.to_s for step in steps)


def _is_clear(step: CapacityStep) -> bool:
    return step.growth_high_per_s - step.growth_low_per_s <= 2 * UNCLEAR * step.rate


def _decides_nothing(step: CapacityStep) -> bool:
    by_backlog = step.sustained or step.cause in BY_BACKLOG
    return by_backlog and not _is_clear(step) and step.backlog_growth_per_s <= OBVIOUS * step.rate


def _rate(step: CapacityStep) -> float:
    return step.rate


# --- what it means -----------------------------------------------------------------------------------------


def judge(
    subject: Subject,
    steps: Sequence[CapacityStep],
    *,
    confirmed: Confirmation | None = None,
    interrupted: bool = False,
) -> ModeCapacity:
    """Return what these steps, at least one, say of how much it takes."""
    low, high = bracket(steps)
    cause: CapacityCause = "not reached" if high is None or high.cause is None else high.cause
    sentences = list(_sentences(subject, low, high, cause, confirmed))
    if interrupted:
        sentences.insert(0, "Interrupted: these are the steps so far.")
    return ModeCapacity(
        sustained_per_s=low.rate if low else None,
        failed_at_per_s=high.rate if high else None,
        cause=cause,
        text=" ".join(sentences),
        expected_per_s=subject.expected_per_s,
        steps=list(steps),
        confirmed=confirmed,
    )


def _sentences(
    subject: Subject,
    low: CapacityStep | None,
    high: CapacityStep | None,
    cause: CapacityCause,
    confirmed: Confirmation | None,
) -> Iterable[str]:
    yield _headline(low, high, cause)
    mode, expected = subject.mode, subject.expected_per_s
    if low is not None and expected is not None:
        share = low.rate / expected
        words = f"{_arithmetic(subject, expected)}; measured {format_rate(low.rate)}, {format_share(share)} of that"
        yield f"{words}{_reason(subject, low, high, cause) if abs(share - 1) > NEAR else ''}."
    elif mode is not None and not subject.work_s:
        yield "The work takes no time, so this is what the server and its client cost."
    elif mode is not None and mode.awaits:
        yield "The work only waits, so arithmetic sets no bound."
    if mode is not None and mode.answers_first and high is not None and high.response_s and cause in BY_BACKLOG:
        took, grew = format_seconds(high.response_s.p50), format_rate(high.backlog_growth_per_s)
        yield f"At {format_rate(high.rate)} callers were answered in {took} (median) while the backlog grew by {grew}."
    if confirmed is not None and confirmed.step.sustained:
        yield f"With {confirmed.option} a step of its own sustained {format_rate(confirmed.step.rate)}."
    elif confirmed is not None:
        yield f"{confirmed.option} did not sustain {format_rate(confirmed.step.rate)}: {confirmed.step.why}."
    elif low is not None and (more := subject.with_more(cause)) is not None:
        yield f"{more[0]} would give about {format_rate(MORE * low.rate)}, until something else is busy; not measured."


def _headline(low: CapacityStep | None, high: CapacityStep | None, cause: CapacityCause) -> str:
    if high is None:
        return f"Sustained {format_rate(low.rate)}, the highest rate tried." if low else "Nothing was measured."
    failed_at = format_rate(high.rate)
    if low is None:
        return f"Gave in at {failed_at} already, the lowest rate tried: {high.why}."
    if cause == "client":
        return f"Sustained at least {format_rate(low.rate)}: at {failed_at} {high.why}, so it may take more."
    return f"Sustained {format_rate(low.rate)} and gave in at {failed_at}: {high.why}."


def _arithmetic(subject: Subject, expected: float) -> str:
    mode, at_once = subject.mode, subject.at_once or 1
    what = {"thread": " threads", "process": " processes", "worker": " processes"}.get(mode.runs, "") if mode else ""
    hands = f"{at_once}{what if at_once > 1 else ''}"
    return f"{hands} / {format_seconds(subject.work_s)} = {format_rate(expected)}"


def _reason(subject: Subject, low: CapacityStep, high: CapacityStep | None, cause: CapacityCause) -> str:
    work = (high or low).work_s or low.work_s
    if work and work.mean > (1 + NEAR / 2) * subject.work_s:
        return f", because the work took {format_seconds(work.mean)} on average"
    if high is None:
        return ""
    if cause in {"threads", "processes"}:
        return ": the rest went into handing tasks over, and to whatever else ran on this machine"
    return f", because before that {high.why}"
