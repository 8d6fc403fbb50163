"""What the steps of a search mean: how much was sustained, what gave in, and what arithmetic says of that."""

from collections.abc import Iterable, Sequence
from typing import Final

from taskdemo_cli.analysis.capacity.search import BY_BACKLOG, bracket
from taskdemo_cli.analysis.capacity.subject import MORE, Subject
from taskdemo_cli.documents.capacity import CapacityCause, CapacityStep, Confirmation, ModeCapacity
from taskdemo_cli.units import format_rate, format_seconds, format_share

NEAR: Final = 0.15
"""A measured rate this close to what arithmetic says needs no reason."""


def judge(
    subject: Subject,
    steps: Sequence[CapacityStep],
    *,
    confirmed: Confirmation | None = None,
    interrupted: bool = False,
    broken: str | None = None,
) -> ModeCapacity:
    """Return what these steps, at least one, say of how much it takes. `broken`: why the search could not go on."""
    low, high = bracket(steps)
    cause: CapacityCause = "not reached" if high is None or high.cause is None else high.cause
    sentences = list(_sentences(subject, low, high, cause, confirmed))
    if interrupted:
        sentences.insert(0, "Interrupted: these are the steps so far.")
    if broken:
        sentences.insert(0, f"The search broke off: {broken}. These are the steps so far.")
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
        yield f"{words}{_reason(subject, low, high, cause)}."
    elif mode is not None and not subject.work_s:
        yield "The work takes no time, so this is what the server and its client cost."
    elif mode is not None and mode.awaits and not subject.is_measured:
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
    if low is None and cause == "client":
        return f"Nothing is known of it: at {failed_at}, the lowest rate tried, {high.why}."
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
    """Return why the limit is far from what arithmetic says; empty where it may be near it, or nothing shows why."""
    expected = subject.expected_per_s
    work = (high or low).work_s or low.work_s
    if expected is None:
        return ""
    if low.rate > (1 + NEAR) * expected:
        if work and work.mean < subject.work_s / (1 + NEAR / 2):
            alone = f", and not {format_seconds(subject.work_s)} as the first did" if subject.is_measured else ""
            return f", because the work took {format_seconds(work.mean)} on average{alone}"
        return ""
    if high is None or high.rate >= (1 - NEAR) * expected:  # the limit lies between the two
        return ""
    if work and work.mean > (1 + NEAR / 2) * subject.work_s:
        return f", because the work took {format_seconds(work.mean)} on average"
    if cause in {"threads", "processes"}:
        return "; what took the rest was not measured"
    return f", because before that {high.why}"
