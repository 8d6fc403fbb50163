"""What the steps of a search mean: how much was sustained, what gave in, and how that compares with arithmetic."""

import math
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec.structs import replace

from taskdemo_cli.analysis.capacity.search import BY_BACKLOG, bracket
from taskdemo_cli.analysis.capacity.step import UNSEEN
from taskdemo_cli.analysis.capacity.subject import FEWEST, Subject
from taskdemo_cli.documents.capacity import CapacityStep, Confirmation, ModeCapacity
from taskdemo_cli.units import format_rate, format_seconds, format_share

NEAR: Final = 0.15
"""A measured rate this close to the calculated one needs no reason."""


def judge(
    subject: Subject,
    steps: Sequence[CapacityStep],
    step_s: float,
    *,
    confirmed: Confirmation | None = None,
    is_redirected: bool = False,
    interrupted: bool = False,
    broken: str | None = None,
) -> ModeCapacity:
    """Return the capacity that one or more steps of `step_s` show. `broken`: why the search could not go on."""
    low, high = bracket(steps)
    if high is not None and high.why == UNSEEN:  # so close to the limit, the cause hardly shows
        beyond = [one for one in steps if one.rate > high.rate and one.cause == "unknown" and one.why != UNSEEN]
        if beyond:
            above = min(beyond, key=lambda one: one.rate)
            high = replace(high, why=f"at {format_rate(above.rate)} {above.why}")
    sentences = list(_sentences(subject, low, high, step_s, confirmed))
    if is_redirected:
        sentences.insert(0, "The answer is a redirect, which is not followed: what it leads to was not measured.")
    if interrupted:
        sentences.insert(0, "Interrupted: these are the steps so far.")
    if broken:
        sentences.insert(0, f"The search broke off: {broken}. These are the steps so far.")
    return ModeCapacity(
        sustained_per_s=low.rate if low else None,
        failed_at_per_s=high.rate if high else None,
        cause="not reached" if high is None or high.cause is None else high.cause,
        text=" ".join(sentences),
        expected_per_s=subject.expected_per_s,
        steps=list(steps),
        confirmed=confirmed,
    )


def _sentences(
    subject: Subject,
    low: CapacityStep | None,
    high: CapacityStep | None,
    step_s: float,
    confirmed: Confirmation | None,
) -> Iterable[str]:
    yield _headline(low, high, step_s)
    mode, expected = subject.mode, subject.expected_per_s
    if low is not None and expected is not None:
        share = low.rate / expected
        words = f"{_arithmetic(subject, expected)}; measured {format_rate(low.rate)}, {format_share(share)} of that"
        yield f"{words}{_reason(subject, expected, low, high)}."
    if mode is not None and mode.answers_first and high is not None and high.response_s and high.cause in BY_BACKLOG:
        took, grew = format_seconds(high.response_s.p50), format_rate(high.backlog_growth_per_s)
        yield f"At {format_rate(high.rate)} callers were answered in {took} (median) while the backlog grew by {grew}."
    if confirmed is not None and confirmed.step.sustained:
        yield f"A separate step with {confirmed.option} sustained {format_rate(confirmed.step.rate)}."
    elif confirmed is not None:
        yield f"{confirmed.option} did not sustain {format_rate(confirmed.step.rate)}: {confirmed.step.why}."


def _headline(low: CapacityStep | None, high: CapacityStep | None, step_s: float) -> str:
    if high is None:
        return f"Sustained {format_rate(low.rate)}, the highest rate tried." if low else "Nothing was measured."
    failed_at = format_rate(high.rate)
    if low is None:
        longer = math.ceil(4 * FEWEST / high.rate)
        is_short = high.cause in BY_BACKLOG and longer > step_s
        more = f" Lower ones need longer steps: --step {longer}s." if is_short else ""
        return f"Gave in at {failed_at}, the lowest rate tried: {high.why}.{more}"
    if high.cause == "client":
        return f"Sustained at least {format_rate(low.rate)}: at {failed_at} {high.why}, so the limit may be higher."
    return f"Sustained {format_rate(low.rate)} and gave in at {failed_at}: {high.why}."


def _arithmetic(subject: Subject, expected: float) -> str:
    mode, at_once = subject.mode, subject.at_once or 1
    what = {"thread": " threads", "process": " processes", "worker": " processes"}.get(mode.runs, "") if mode else ""
    hands = f"{at_once}{what if at_once > 1 else ''}"
    return f"{hands} / {format_seconds(subject.work_s)} = {format_rate(expected)}"


def _reason(subject: Subject, expected: float, low: CapacityStep, high: CapacityStep | None) -> str:
    """Return why the limit is far from the calculated one, if the work took longer or shorter than assumed."""
    work = (high or low).work_s or low.work_s
    if work is None:
        return ""
    is_more = low.rate > (1 + NEAR) * expected and work.mean < subject.work_s / (1 + NEAR / 2)
    is_less = high is not None and high.rate < (1 - NEAR) * expected and work.mean > (1 + NEAR / 2) * subject.work_s
    return f", because the work took {format_seconds(work.mean)} on average" if is_more or is_less else ""
