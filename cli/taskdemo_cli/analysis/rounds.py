"""The runs of a comparison by mode and round: their figures, the intervals of these, and how they differ.

A figure that a round did not measure, or measured too little of, is left out of the interval.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any, Final, NamedTuple

from taskdemo_cli.documents.comparison import Difference, Interval
from taskdemo_cli.documents.run import RunDocument, Summary, TaskCounts, name_of
from taskdemo_cli.stats import Statistics, grouped, interval, supported
from taskdemo_cli.units import format_count, format_seconds

TIMES: Final = {
    "response_s": ("Response", "sent (at a rate: planned) to last byte, of answers without an error"),
    "failed_s": ("Failed", "the same, of answers with an error"),
    "wait_s": ("To be sent", "planned send to sent"),
    "first_byte_s": ("First byte", "sent to first byte"),
    "transfer_s": ("Rest of body", "first byte to last byte"),
    "completion_s": ("Task end", "sent to the end of the task's work"),
    "queue_s": ("Task queued", "accepted to started"),
    "work_s": ("Work", "started to ended"),
    "bystander_s": ("GET /ping", "a bystander, throughout the run"),
    "bystander_threads_s": ("By a thread", "a second bystander, answered by a worker thread"),
}
"""The times of a summary, each with its label, and from when to when it is measured."""
LABELS: Final = {name: "p99.9" if name == "p999" else name for name in Statistics.__struct_fields__ if name != "count"}
"""The labels of the statistics of a time."""
NAMES: Final = {
    "response_s.p50": "response p50",
    "response_s.p95": "response p95",
    "response_s.max": "response max",
    "completion_s.p50": "task end p50",
    "tasks.last_ended_s": "tasks ended",
    "tasks.max_parallel": "ran at once",
    "bystander_s.max": "others waited",
    "requests_per_s": "answers/s",
}
"""The labels of figures; in a heading of two lines, the last word stands below the others."""
COLUMNS: Final = ("response_s.p50", "response_s.max", "tasks.last_ended_s", "tasks.max_parallel", "bystander_s.max")
"""The columns of a table of modes, in order."""
TYPICAL: Final = frozenset({"response_s.p50", "response_s.p95", "failed_s.p50", "work_s.p50"})
"""Figures that are means over the rounds; others are the largest of all rounds, so "at most" is true of each."""
ROUNDS: Final = "Percentiles are the means of all rounds, the other figures the largest of all."
"""How a table of COLUMNS says so."""
FIGURES: Final = (
    "response_s.p50",
    "response_s.p95",
    "response_s.max",
    "completion_s.p50",
    "bystander_s.max",
    "requests_per_s",
)
"""The figures that get an interval over the rounds."""

STATES: Final = ("failed", "cancelled", "lost", "unfinished")
"""The states of tasks that did not finish."""


def figure_words(figure: str, value: float) -> str:
    """Return a figure as people read it: a time, or a count."""
    return format_count(value) if figure in {"tasks.max_parallel", "requests_per_s"} else format_seconds(value)


def difference_words(difference: Difference) -> tuple[str, str]:
    """Return a difference of times with its sign, and whether it may be chance."""
    sign = "+" if difference.mean > 0 else ""
    noise = "within noise" if difference.within_noise else "beyond noise"
    return sign + format_seconds(difference.mean), noise


class Time(NamedTuple):
    """A time that a run measured; its `meaning` says from when to when."""

    label: str
    meaning: str
    values: Statistics


def times_of(summary: Summary) -> dict[str, Time]:
    """Return the measured times of a run, in order; without a rate, the wait to be sent is that for a connection."""
    connecting = {"wait_s": ("Connecting", TIMES["wait_s"][1])} if summary.corrected_s is None else {}
    return {
        name: Time(*words, values) for name, words in (TIMES | connecting).items() if (values := getattr(summary, name))
    }


def columns_of(times: Iterable[Time]) -> dict[str, str]:
    """Return the statistics for which some of these times have enough values, with their labels."""
    counts = [time.values.count for time in times]
    return {name: label for name, label in LABELS.items() if any(supported(name, count) for count in counts)}


def reference_of(modes: Sequence[str]) -> str:
    """Return the mode that the others are compared with: `blocking` if it was run, otherwise the first."""
    return "blocking" if "blocking" in modes else modes[0]


def intervals(runs: Sequence[RunDocument], reference: str) -> list[Interval]:
    """Return every figure's interval over the rounds, and that of its difference to the reference in the same round.

    Empty unless some mode was run twice or more.
    """
    every = by_mode(runs)
    entries: list[Interval] = []
    for mode, group in every.items():
        for figure in FIGURES:
            values = _by_round(group, figure)
            if len(values) < 2:
                continue
            low, high = interval(list(values.values()))
            low = max(low, 0.0)  # no figure can be negative; a difference can
            others = {} if mode == reference else _by_round(every.get(reference, []), figure)
            pairs = [values[number] - others[number] for number in values if number in others]
            entries.append(
                Interval(
                    mode=mode,
                    figure=figure,
                    rounds=len(values),
                    mean=fmean(values.values()),
                    low=low,
                    high=high,
                    difference=_difference(pairs) if len(pairs) >= 2 else None,
                )
            )
    return entries


def by_mode(runs: Iterable[RunDocument]) -> dict[str, list[RunDocument]]:
    """Return the runs of each mode, in the order in which the modes were first run."""
    return grouped((name_of(run), run) for run in runs)


def whole(runs: Sequence[RunDocument]) -> Sequence[RunDocument]:
    """Return the runs that the user did not interrupt, or all if there is none."""
    return [run for run in runs if not run.interrupted] or runs


def over_rounds(runs: Sequence[RunDocument], figure: str) -> float | None:
    """Return a figure of one mode over its rounds; None if no round has it."""
    values = [value for run in whole(runs) if (value := figure_of(run, figure)) is not None]
    if not values:
        return None
    return fmean(values) if figure in TYPICAL else max(values)


def ran_at_once(tasks: TaskCounts) -> int | None:
    """Return the most tasks that ran at the same moment; None if there were none, or no start was reported."""
    is_known = tasks.max_parallel or not (tasks.finished or tasks.failed)
    return tasks.max_parallel if tasks.accepted and is_known else None


def figure_of(run: RunDocument, figure: str) -> float | None:
    """Return a figure of the summary by its path; None if not measured, or a percentile of too few times."""
    if figure == "tasks.max_parallel":
        return ran_at_once(run.summary.tasks)
    name, _, field = figure.partition(".")
    value: Any = getattr(run.summary, name)
    if field:
        if not value or (isinstance(value, Statistics) and not supported(field, value.count)):
            return None
        value = getattr(value, field)
    return value  # type: ignore[no-any-return]  # a number: the caller names a figure of the summary


def troubles(runs: Iterable[RunDocument]) -> dict[str, int]:
    """Return what went wrong in these runs, and how often: failed requests first, then the tasks of each bad state."""
    found = Counter[str]()
    for run in runs:
        found["not ok"] += run.summary.requests.failed
        found.update({state: getattr(run.summary.tasks, state) for state in STATES})
    return {what: count for what, count in found.items() if count}


def _by_round(group: Sequence[RunDocument], figure: str) -> dict[int, float]:
    found = ((run.round, figure_of(run, figure)) for run in group if not run.interrupted)
    return {number: value for number, value in found if value is not None}


def _difference(pairs: Sequence[float]) -> Difference:
    low, high = interval(pairs)
    return Difference(mean=fmean(pairs), low=low, high=high, within_noise=low <= 0 <= high)
