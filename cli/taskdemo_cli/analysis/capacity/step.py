"""One step of an open loop: whether its rate was sustained, and what gave in.

A request is in the backlog from its planned send until its task ends or, without a task, until its answer: so a request
that waits unseen in a server's socket counts like one in a queue. The number of waiting requests is the rate times how
long each waits (Little's law), so without tasks a growing backlog is a growing corrected response time.
"""

import math
from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from taskdemo_cli.analysis.blocking.sentence import brief
from taskdemo_cli.analysis.capacity.subject import Subject
from taskdemo_cli.analysis.error_words import errors_in_words
from taskdemo_cli.analysis.mode_summary import HELD_UP_S
from taskdemo_cli.analysis.thresholds import Outcome, Threshold, evaluate
from taskdemo_cli.analysis.verdicts import STRETCHED
from taskdemo_cli.documents.blocking import Blocking, Cause
from taskdemo_cli.documents.capacity import CapacityCause, CapacityStep
from taskdemo_cli.documents.rows import pairs
from taskdemo_cli.documents.run import RequestRow, RunDocument, TaskRow
from taskdemo_cli.recording.summary import BUSY_SHARE
from taskdemo_cli.recording.tasks import TROUBLE
from taskdemo_cli.stats import Slope, average_open, slope
from taskdemo_cli.units import format_count, format_seconds

SLICES: Final = 12
"""How many spans a step's backlog is averaged over; fewer if there are too few requests for one in each."""
GROWS: Final = 0.02
"""A backlog grows if the interval of its slope lies above this share of the rate."""
HOPELESS: Final = 0.25
"""A step ends early if the interval of its backlog's slope lies above this share of the rate."""
ENOUGH_S: Final = 1.0
"""How much of a step must have been seen before it ends early."""
LATE_S: Final = 0.05
"""A client whose median send is later than this does not send on time."""
CUT: Final = frozenset({"Cancelled", "ReadTimeout", "ConnectTimeout", "PoolTimeout"})
"""The errors of requests that were still waiting when the step was over: these have not failed."""
SEEN: Final[dict[Cause, tuple[CapacityCause, str]]] = {
    "event loop held": ("event loop", "the event loop was busy"),
    "garbage collection": ("event loop", "Python's garbage collection stopped everything"),
    "interpreter busy": ("interpreter", "threads share one Python interpreter, and computed"),
    "processors busy": ("unknown", "threads computed and used up the processors"),
    "threads used up": ("threads", "the worker threads were busy"),
    "waiting in line": ("unknown", "callers waited in line for one another"),
}
"""What gave in, and the words for it, by the cause that was found in the user's own application."""
UNSEEN: Final = "answers took longer and longer; the cause was not seen"


def is_hopeless(backlog: Sequence[tuple[float, float]], rate: float) -> bool:
    """Return whether a step at `rate` gives in, whatever is still to come.

    `backlog`: moments in seconds, each with the backlog's size, from the end of the settling time on.
    """
    if len(backlog) < SLICES // 2 or backlog[-1][0] - backlog[0][0] < ENOUGH_S:
        return False
    moments, sizes = zip(*backlog, strict=True)
    return slope(moments, sizes).low > HOPELESS * rate


def may_fail(conditions: Sequence[Threshold]) -> bool:
    """Return whether requests may fail, because one of the conditions judges how many do."""
    return any(one.metric.startswith("requests.failed") for one in conditions)


def read_step(
    run: RunDocument,
    settle_s: float,
    step_s: float,
    subject: Subject,
    conditions: Sequence[Threshold] = (),
    seen: Blocking | None = None,
) -> CapacityStep:
    """Return the step that an open loop's run shows: its backlog in the `step_s` after `settle_s`, and why it gave in.

    `conditions` must all be met; if one is about failed requests, it alone judges them. `seen`: the verdict on the
    user's own application. A run that was ended early is judged by the part that was measured.
    """
    rate = run.rate or 1.0
    rows = list(pairs(run))
    spans = [_span(request, task) for request, task in rows]
    end_s = max(_seen_until(spans, settle_s + step_s, 1 / rate), settle_s + 1e-3)
    slices = max(min(SLICES, int(rate * (end_s - settle_s))), 3)
    curve = average_open([(planned_s, over_s) for planned_s, _, over_s in spans], settle_s, end_s, slices)
    unsent = average_open([(planned_s, sent_s) for planned_s, sent_s, _ in spans], settle_s, end_s, slices)
    growth, unsent_growth = _growth(curve, end_s - settle_s), _growth(unsent, end_s - settle_s)
    failed = sum(_has_failed(request, task) for request, task in rows)
    outcomes = [evaluate(one, run) for one in conditions]
    broken = [one for one in outcomes if not (one.met and _is_known(one))]
    cause: CapacityCause | None = None
    why: str | None = None
    allowed = may_fail(conditions)
    refused = sum(_has_failed(request, task) for request, task in rows if not (allowed and request.error))
    if run.ended_because is not None or refused:
        cause, why = "refused", run.ended_because or _failures(run, refused)
    elif _is_late(run) or unsent_growth.low > GROWS * rate:
        cause, why = "client", "the client itself could not send on time"
    elif growth.low > GROWS * rate:
        cause, why = _gave_in(run, subject, seen)
    elif broken:
        cause = "threshold"
        why = "; ".join(f"{one.found}, but --while requires {one.threshold.expression}" for one in broken)
    summary = run.summary
    return CapacityStep(
        rate=rate,
        response_s=summary.response_s,
        corrected_s=summary.corrected_s,
        completion_s=summary.completion_s,
        work_s=summary.work_s,
        bystander_s=summary.bystander_s,
        backlog=round(curve[-1], 3),
        backlog_growth_per_s=growth.mean,
        growth_low_per_s=growth.low,
        growth_high_per_s=growth.high,
        curve=[round(level, 3) for level in curve],
        from_s=settle_s,
        to_s=end_s,
        failed=failed,
        max_parallel=summary.tasks.max_parallel,
        sustained=cause is None,
        cause=cause,
        why=why,
    )


def _span(request: RequestRow, task: TaskRow | None) -> tuple[float, float, float]:
    """Return when a request was to be sent, was sent and was over, in seconds; infinity if that was not seen."""
    over_s = request.done_s if task is None else task.ended_s
    if request.error in CUT:
        over_s = None
    planned_s, sent_s, over_s = (math.inf if at is None else at for at in (request.planned_s, request.sent_s, over_s))
    return planned_s, sent_s, over_s


def _seen_until(spans: Sequence[tuple[float, float, float]], end_s: float, apart_s: float) -> float:
    """Return until when a step was seen: to its end, or to the last known moment if it was ended early."""
    sent_until_s = max((planned_s for planned_s, *_ in spans), default=0.0) + apart_s
    if sent_until_s >= end_s - apart_s:
        return end_s
    return min(sent_until_s, max((over_s for *_, over_s in spans if over_s < math.inf), default=sent_until_s))


def _has_failed(request: RequestRow, task: TaskRow | None) -> bool:
    is_refused = request.error is not None and request.error not in CUT
    return is_refused or (task is not None and task.state in TROUBLE)


def _is_known(outcome: Outcome) -> bool:
    """Return whether there is a value; if all is well, the times of failed answers have none."""
    return outcome.value is not None or outcome.threshold.metric.startswith("failed.")


def _growth(levels: Sequence[float], length_s: float) -> Slope:
    found = slope([(at + 0.5) * length_s / len(levels) for at in range(len(levels))], levels)
    return Slope(*(round(one, 3) + 0.0 for one in found))  # turns -0.0 into 0.0


def _is_late(run: RunDocument) -> bool:
    wait, client = run.summary.wait_s, run.summary.client
    return (client.cpu_share or 0.0) >= BUSY_SHARE or (wait is not None and wait.p50 > LATE_S)


def _failures(run: RunDocument, failed: int) -> str:
    requests = run.summary.requests
    requests = replace(requests, errors={kind: count for kind, count in requests.errors.items() if kind not in CUT})
    kinds = ", ".join(f"{count:,} {words}" for words, count in errors_in_words(requests).most_common()) or "their tasks"
    return f"{failed:,} of {format_count(len(run.requests), 'request')} failed ({kinds})"


def _gave_in(run: RunDocument, subject: Subject, seen: Blocking | None) -> tuple[CapacityCause, str]:
    """Return the resource that ran out while the backlog grew, and the words for it."""
    settings, mode = subject.settings, subject.mode
    at_once, work, ping = run.summary.tasks.max_parallel, run.summary.work_s, run.summary.bystander_s
    late = f", GET /ping waited up to {format_seconds(ping.max)}" if ping and ping.max >= HELD_UP_S else ""
    if seen is not None and seen.cause in SEEN:
        cause, words = SEEN[seen.cause]
        return cause, f"{words} {brief(seen)}".rstrip() + (late if cause == "event loop" else "")
    if settings is None or mode is None:
        return "unknown", UNSEEN
    if mode.runs == "thread":
        shared = "threads share one Python interpreter"
        if at_once < settings.threads:
            busy = f"at most {at_once} of {settings.threads} threads were busy while requests waited"
            return "interpreter", f"{busy}, and {shared}"
        if work and subject.work_s and work.p50 > STRETCHED * subject.work_s:
            took, alone = format_seconds(work.p50), format_seconds(subject.work_s)
            return "interpreter", f"the work took {took} (median), {alone} alone, and {shared}"
        return "threads", f"all threads ({settings.threads}) were busy"
    if mode.runs == "loop" and subject.expected_per_s is not None:
        return "event loop", "the work blocks the event loop, so it runs one at a time"
    hands = settings.tasks_at_once
    if mode.runs != "loop" and at_once >= hands:
        return "processes", f"all processes ({hands}) were busy"
    if mode.engine is not None:
        return (
            "broker",
            f"the worker had at most {at_once} of its {hands} processes busy while tasks waited in the queue",
        )
    return "event loop", f"the event loop was busy{late}"
