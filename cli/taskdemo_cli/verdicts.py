"""What the figures of a run say, in one sentence a mode: who waited, who was held up, how much ran at once.

Every clause is chosen by measured figures alone; no name of a mode decides anything, so a mode that promises not to
block and does is described as blocking. Times are medians over the rounds, counts are sums.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, Final

from taskdemo_cli.documents import (
    ComparisonDocument,
    Difference,
    Interval,
    RunDocument,
    Skipped,
    Statistics,
    Summary,
    Verdict,
)
from taskdemo_cli.results import TRUSTED_SHARE
from taskdemo_cli.statistics import interval, supported
from taskdemo_cli.units import format_count, format_seconds, format_share
from taskdemo_server.events import VERSION
from taskdemo_server.visible import shortened

QUEUED: Final = 1.5
"""Callers queued if the slowest waited so many times the longest work."""
HELD_UP_S: Final = 0.1
"""A bystander that waited for less was not held up, however short the work is."""
CLEAR_FACTOR: Final = 1.5
"""One round tells a difference only from this factor on."""
STRETCHED: Final = 1.5
"""Work that takes so many times what it was asked to has had to share something: a CPU, or Python's lock."""
FEW: Final = 5
"""With fewer answers a comparison says how many there were."""
FIGURES: Final = (
    "response_s.p50",
    "response_s.p95",
    "response_s.max",
    "completion_s.p50",
    "bystander_s.max",
    "requests_per_s",
)
"""What gets an interval over the rounds."""
SHARE_OF: Final = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was measured of one mode, over its rounds. Seconds; None where not measured."""

    requests: int
    answered: int
    errors: Counter[str]
    median: float | None
    slowest: float | None
    work: float | None
    asked_work: float | None
    """How long the work was asked to take; a user's own function is not asked."""
    longest_work: float | None
    tasks: Counter[str]
    last_ended: float | None
    completed: float | None
    """The longest time from sent to the end of the task."""
    tasks_in_a_run: int
    all_at_once: bool
    """Whether in every round all tasks ran at the same moment."""
    bystander_slowest: float | None
    bystander_unanswered: int
    doubt: str | None
    """Why the response times are the client's rather than the server's, where they are."""

    @classmethod
    def of(cls, runs: Sequence[RunDocument]) -> "_Seen":
        summaries = [run["summary"] for run in runs]
        tasks: Counter[str] = Counter()
        for counts in (summary["tasks"] for summary in summaries):
            tasks.update({name: value for name, value in counts.items() if isinstance(value, int)})
        tasks["max_parallel"] = max(summary["tasks"]["max_parallel"] for summary in summaries)
        return cls(
            requests=sum(s["requests"]["ok"] + s["requests"]["failed"] for s in summaries),
            answered=sum(s["response_s"]["count"] for s in summaries if s["response_s"]),
            errors=sum((Counter(s["requests"]["errors"]) for s in summaries), Counter()),
            median=_median(_value(s["response_s"], "p50") for s in summaries),
            slowest=_median(_value(s["response_s"], "max") for s in summaries),
            work=_median(_value(s["work_s"], "p50") for s in summaries),
            asked_work=_median(run["duration_s"] for run in runs if run["work"] in {"sleep", "cpu"}),
            longest_work=_median(_value(s["work_s"], "max") for s in summaries),
            tasks=tasks,
            last_ended=_median(s["tasks"]["last_ended_s"] for s in summaries),
            completed=_median(_value(s["completion_s"], "max") for s in summaries),
            tasks_in_a_run=max(s["tasks"]["accepted"] for s in summaries),
            all_at_once=all(s["tasks"]["max_parallel"] == s["tasks"]["accepted"] for s in summaries),
            bystander_slowest=_median(_value(s["bystander_s"], "max") for s in summaries),
            bystander_unanswered=sum(row["response_s"] is None for run in runs for row in run["bystander"]),
            doubt=next((_doubt(s) for s in summaries if s["client"]["trusted"] is False), None),
        )


def verdict(run: RunDocument) -> str:
    """Return one sentence that says what was seen in this run."""
    return _sentence(_Seen.of([run]), [])


def reference_of(modes: Sequence[str]) -> str:
    """Return the mode that the others are compared to: `blocking` if it was run, otherwise the first."""
    return "blocking" if "blocking" in modes else modes[0]


def comparison(
    runs: Sequence[RunDocument],
    *,
    reference: str | None = None,
    skipped: Sequence[Skipped] = (),
    environment: dict[str, Any] | None = None,
    command: str = "",
    seed: int = 0,
) -> ComparisonDocument:
    """Return the comparison of these runs, at least one, with its intervals and verdicts. `seed` is chance's."""
    grouped = by_mode(runs)
    chosen = reference or reference_of(list(grouped))
    measured = intervals(runs, chosen, seed)
    return {
        "taskdemo": VERSION,
        "kind": "comparison",
        "reference": chosen,
        "rounds": max(len(group) for group in grouped.values()),
        "runs": list(runs),
        "verdicts": compare(runs, chosen, measured),
        "intervals": measured,
        "skipped": list(skipped),
        "environment": environment or {},
        "command": command,
    }


def compare(runs: Sequence[RunDocument], reference: str, measured: Sequence[Interval] = ()) -> list[Verdict]:
    """Return one sentence a mode, in the order in which the modes were run first."""
    grouped = by_mode(runs)
    seen = {mode: _Seen.of(group) for mode, group in grouped.items()}
    verdicts: list[Verdict] = []
    for mode, facts in seen.items():
        clauses: list[str] = []
        if mode != reference and reference in seen:
            noise = next(
                (
                    entry["difference"]["within_noise"]
                    for entry in measured
                    if entry["mode"] == mode and entry["figure"] == "response_s.p50" and entry["difference"]
                ),
                None,
            )
            clauses = list(_against(facts, seen[reference], reference, noise))
        verdicts.append({"mode": mode, "text": _sentence(facts, clauses)})
    return verdicts


def intervals(runs: Sequence[RunDocument], reference: str, seed: int) -> list[Interval]:
    """Return every figure's interval over the rounds, and that of its difference to the reference in the same round.

    Empty unless some mode was run twice or more.
    """
    grouped = by_mode(runs)
    entries: list[Interval] = []
    for mode, group in grouped.items():
        for figure in FIGURES:
            values = _by_round(group, figure)
            if len(values) < 2:
                continue
            low, high = interval(list(values.values()), seed)
            low = max(low, 0.0)  # no figure of ours can be less than nothing; a difference can
            others = {} if mode == reference else _by_round(grouped.get(reference, []), figure)
            pairs = [values[number] - others[number] for number in values if number in others]
            entries.append(
                {
                    "mode": mode,
                    "figure": figure,
                    "rounds": len(values),
                    "mean": fmean(values.values()),
                    "low": low,
                    "high": high,
                    "difference": _difference(pairs, seed) if len(pairs) >= 2 else None,
                }
            )
    return entries


def by_mode(runs: Iterable[RunDocument]) -> dict[str, list[RunDocument]]:
    """Return the runs of each mode; a server that is not taskdemo's goes by its URL."""
    grouped: dict[str, list[RunDocument]] = {}
    for run in runs:
        grouped.setdefault(run["mode"] or run["url"], []).append(run)
    return grouped


def figure_of(run: RunDocument, figure: str) -> float | None:
    """Return one figure of the summary by its path; None where it was not measured or too little of it.

    A percentile that the count does not support is too little.
    """
    name, _, statistic = figure.partition(".")
    summary: dict[str, Any] = {**run["summary"]}
    value = summary[name]
    if not statistic or value is None:
        return value  # type: ignore[no-any-return]  # a number: the caller names a figure of the summary
    if statistic in SHARE_OF and not supported(SHARE_OF[statistic], value["count"]):
        return None
    return float(value[statistic])


def _by_round(group: Sequence[RunDocument], figure: str) -> dict[int, float]:
    found = ((run["round"], figure_of(run, figure)) for run in group)
    return {number: value for number, value in found if value is not None}


def _difference(pairs: Sequence[float], seed: int) -> Difference:
    low, high = interval(pairs, seed)
    return {"mean": fmean(pairs), "low": low, "high": high, "within_noise": low <= 0 <= high}


def _sentence(seen: _Seen, more: Iterable[str]) -> str:
    if not seen.requests:
        return "No request was reported, so nothing can be said."
    if not seen.answered:
        return f"None of {format_count(seen.requests, 'request')} was answered ({_errors(seen.errors)})."
    if seen.doubt is not None:
        # What happened is still what happened; how long an answer took says more of the client than of the server.
        more = [seen.doubt]
    clauses = [_who_waited(seen), *more, *_at_once(seen), *_troubles(seen), *_bystander(seen)]
    text = "; ".join(clauses)
    return text[0].upper() + text[1:] + "."


def _doubt(summary: Summary) -> str:
    client, response = summary["client"], summary["response_s"]
    share = (client["overhead_s"] or 0.0) / response["p50"] if response and response["p50"] else 0.0
    if share >= 1:
        return "the client's own time could account for all of that median, so it says nothing of the server"
    if share > TRUSTED_SHARE:
        return (
            f"{format_share(share)} of that median is the client's own time, so take it as the client's figure rather "
            "than the server's"
        )
    return "the client was busy all the time, so it set the pace rather than the server"


def _who_waited(seen: _Seen) -> str:
    assert seen.median is not None  # noqa: S101  # there were answers
    assert seen.slowest is not None  # noqa: S101  # there were answers
    one = seen.answered == 1
    answered = (
        f"answered in {format_seconds(seen.slowest)}"
        if one
        else f"answered in {format_seconds(seen.median)} (median; slowest {format_seconds(seen.slowest)})"
    )
    before, after = seen.tasks["answered_before_end"], seen.tasks["answered_after_end"]
    if not before and not after:
        return answered
    if before and after:
        return f"{after:,} of {before + after:,} callers waited for their work to end, {before:,} did not: {answered}"
    if after:
        return _own_work(seen, one)
    if seen.tasks["held_up"]:
        return (
            f"{answered}: {seen.tasks['held_up']:,} of {before:,} callers had to wait for the work of others"
            + _afterwards(seen, one)
        )
    return answered + _afterwards(seen, one)


def _own_work(seen: _Seen, one: bool) -> str:
    assert seen.slowest is not None  # noqa: S101  # there were answers
    assert seen.median is not None  # noqa: S101  # there were answers
    if seen.work is None or seen.longest_work is None:
        return f"the slowest caller waited {format_seconds(seen.slowest)}, until the work had ended"
    work = format_seconds(seen.work)
    if one:
        return f"the caller waited {format_seconds(seen.slowest)}, for {work} of work"
    if seen.slowest > QUEUED * seen.longest_work:
        return (
            f"callers queued: half of them waited {format_seconds(seen.median)} or more, the last "
            f"{format_seconds(seen.slowest)}, each for {work} of work"
        )
    return (
        f"each caller waited for its own work of {work} and for little else: answered in "
        f"{format_seconds(seen.median)} (median; slowest {format_seconds(seen.slowest)})"
    )


def _afterwards(seen: _Seen, one: bool) -> str:
    if one and seen.completed is not None and seen.slowest is not None:
        later = seen.completed - seen.slowest
        return f"; the task ended {format_seconds(later)} later" if later > 0 else "; the task had ended by then"
    return "" if seen.last_ended is None else f"; the last task ended {format_seconds(seen.last_ended)} after the start"


def _against(seen: _Seen, reference: _Seen, name: str, within_noise: bool | None) -> Iterator[str]:
    if not seen.median or not reference.median or reference.doubt is not None:
        return
    factor = reference.median / seen.median
    answers = min(seen.answered, reference.answered)
    few = f" (as far as {format_count(answers, 'answer')} can tell)" if answers < FEW else ""
    if within_noise:
        yield f"the difference to the responses of {name} is within noise{few}"
    elif within_noise is None and 1 / CLEAR_FACTOR < factor < CLEAR_FACTOR:
        yield f"callers were answered about as soon as with {name}{few}"
    elif factor >= 1:
        yield f"callers were answered {_times(factor)} sooner than with {name}{few}"
    else:
        yield f"callers were answered {_times(1 / factor)} later than with {name}{few}"


def _times(factor: float) -> str:
    if factor < CLEAR_FACTOR:
        return format_share(factor - 1)
    shown = f"{factor:,.0f}" if factor >= 9.5 else f"{factor:.1f}"
    return f"{shown} times"


def _at_once(seen: _Seen) -> Iterator[str]:
    if seen.work and seen.asked_work and seen.work > STRETCHED * seen.asked_work:
        yield f"work of {format_seconds(seen.asked_work)} took {format_seconds(seen.work)}"
    most, tasks = seen.tasks["max_parallel"], seen.tasks_in_a_run
    if tasks < 2 or most < 1:
        return
    if most == 1:
        yield "the work ran one at a time"
    elif seen.all_at_once:
        yield f"all {tasks:,} ran at once"
    else:
        yield f"at most {most:,} ran at once"


def _troubles(seen: _Seen) -> Iterator[str]:
    if seen.errors:
        yield f"{seen.errors.total():,} of {format_count(seen.requests, 'request')} failed ({_errors(seen.errors)})"
    tasks = seen.tasks["accepted"]
    ends = [
        f"the task {words}" if tasks == 1 else f"{seen.tasks[name]:,} {words}"
        for name, words in (
            ("failed", "failed"),
            ("cancelled", "was cancelled" if tasks == 1 else "cancelled"),
            ("lost", "was lost" if tasks == 1 else "lost"),
            ("unfinished", "had not ended when we stopped looking"),
        )
        if seen.tasks[name]
    ]
    if ends:
        yield ends[0] if tasks == 1 else f"of {format_count(tasks, 'task')} {', '.join(ends)}"


def _bystander(seen: _Seen) -> Iterator[str]:
    slowest = seen.bystander_slowest
    if slowest is None:
        if seen.bystander_unanswered:
            yield "a bystander got no answer at all"
        return
    if slowest >= max((seen.work or 0.0) / 2, HELD_UP_S):
        yield f"a bystander was held up for {format_seconds(slowest)}"
    else:
        yield f"a bystander waited {format_seconds(slowest)} at most"


def _errors(errors: Counter[str]) -> str:
    kinds = [f"{count:,} {shortened(kind, 40)}" for kind, count in errors.most_common(3)]
    others = errors.total() - sum(count for _, count in errors.most_common(3))
    return ", ".join(kinds + ([f"{others:,} of other kinds"] if others else [])) or "no error was reported"


def _value(statistics: Statistics | None, name: str) -> float | None:
    return None if statistics is None else float(statistics[name])  # type: ignore[literal-required]  # p50 or max


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None
