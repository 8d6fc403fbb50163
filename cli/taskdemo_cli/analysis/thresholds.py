"""`--fail-if 'response.p95 > 200ms'`: read such an expression, and compare a document with it. No eval.

`--while` reads the same expressions, of what must stay true.

expression = [mode "."] metric operator number [unit]
metric     = a time of the summary and one of its statistics (`response.p95`), or a figure (`tasks.lost`)
operator   = < <= > >= == !=          unit = us ms s %
"""

import difflib
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from operator import eq, ge, gt, le, lt, ne
from typing import Final

from taskdemo_cli.analysis.mode_summary import ran_at_once
from taskdemo_cli.analysis.rounds import by_mode
from taskdemo_cli.documents.capacity import CapacityDocument
from taskdemo_cli.documents.comparison import ComparisonDocument
from taskdemo_cli.documents.pairing import runs_of
from taskdemo_cli.documents.run import RunDocument, ThresholdRow
from taskdemo_cli.errors import UserError
from taskdemo_cli.stats import PERCENTILES, supported
from taskdemo_cli.units import IN_A_SECOND, format_count, format_rate, format_seconds, format_share, told_apart
from taskdemo_server.contract.text import shortened

TIMES: Final = {
    name: f"{name}_s"
    for name in (
        *("response", "failed", "corrected", "completion", "bystander", "bystander_threads"),
        *("wait", "first_byte", "transfer", "queue", "work"),
    )
}
STATISTICS: Final = (*PERCENTILES, "min", "mean", "max", "count")
TASKS: Final = ("accepted", "finished", "failed", "cancelled", "lost", "unfinished", "max_parallel")
COUNTS: Final = ("requests.ok", "requests.failed", *(f"tasks.{name}" for name in TASKS))
SHARES: Final = ("requests.failed_share", "client.cpu_share")
DURATIONS: Final = ("wall", "tasks.last_ended", "client.loop_lag_p99", "client.overhead")
RATES: Final = ("requests_per_s",)
METRICS: Final = (
    *(f"{time}.{statistic}" for time in TIMES for statistic in STATISTICS),
    *COUNTS,
    *SHARES,
    *DURATIONS,
    *RATES,
)
OPERATORS: Final[dict[str, Callable[[float, float], bool]]] = {"<": lt, "<=": le, ">": gt, ">=": ge, "==": eq, "!=": ne}
EXPRESSION: Final = re.compile(
    r"\s*(?P<name>[^\s<>=!]+)\s*(?P<operator><=|>=|==|!=|<|>)\s*"
    r"(?P<number>[0-9]{1,15}(?:\.[0-9]{0,15})?|\.[0-9]{1,15})\s*(?P<unit>[^\s0-9.]*)\s*",
    re.ASCII,
)
CAPACITY: Final = {"sustained": "sustained_per_s", "failed_at": "failed_at_per_s"}
"""What can be written of a capacity: requests per second."""
SERVERS: Final = frozenset({"bystander", "tasks", "completion", "queue", "work"})
"""What only a server of taskdemo's is measured by."""
ALL_METRICS: Final = (
    f"times:      {', '.join(TIMES)};",
    f"            each with one of .{', .'.join(STATISTICS)}",
    f"durations:  {', '.join(DURATIONS)}",
    f"shares:     {', '.join(SHARES)}",
    f"counts:     {', '.join(COUNTS)}",
    f"rates:      {', '.join(RATES)}",
)
"""What can be written, for people: one line per kind."""
EXAMPLE: Final = "write it like 'response.p95 > 200ms' or 'requests.failed_share >= 1%'"
CAPACITY_EXAMPLE: Final = "write it like 'sustained < 300' or 'background.sustained < 300'"


@dataclass(frozen=True, slots=True)
class Threshold:
    """A condition under which the command is to fail; `limit` is in seconds, or a share of 1, or a plain number."""

    expression: str
    mode: str | None
    metric: str
    operator: str
    limit: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a threshold. `value` is what was measured, in the unit of `Threshold.limit`."""

    expression: str
    measured: str
    """With its unit, and in a comparison its mode; or that it was not measured."""
    value: float | None
    met: bool
    """Whether the command is to fail; also where the metric was not measured, because silence is no success."""
    text: str

    def row(self) -> ThresholdRow:
        """Return the outcome as documents keep it."""
        return ThresholdRow(expression=self.expression, value=self.value, held=self.met, text=self.text)


@dataclass(frozen=True, slots=True)
class Value:
    """A metric of one mode; None where it was not measured. `more`: what stands behind its figure."""

    value: float | None
    name: str
    more: str


def parse(
    text: str, modes: Sequence[str] = (), *, metrics: Collection[str] = METRICS, option: str = "--fail-if"
) -> Threshold:
    """Read one expression; `modes` are the ones that may stand before the metric, one of `metrics`.

    Raises UserError, which names `option` and what can be written instead.
    """
    shown = shortened(text, 80)
    match = EXPRESSION.fullmatch(text)
    if match is None:
        raise UserError(f"{option} cannot read '{shown}'; {_example(metrics)}")
    mode, metric = _split(match["name"], modes, shown, metrics, option)
    unit, number = match["unit"], float(match["number"])
    kind = _kind(metric)
    if kind == "time":
        if unit not in IN_A_SECOND:
            raise UserError(f"{option} '{shown}': {metric} is a time, so its limit takes one of the units us, ms, s")
        limit = number / IN_A_SECOND[unit]
    elif kind == "share":
        if unit not in ("", "%"):
            raise UserError(f"{option} '{shown}': {metric} is a share; write 5% or 0.05")
        limit = number / 100 if unit == "%" else number
        if limit > 1:
            written = f"{number:g}%" if number <= 100 else "5%"
            raise UserError(f"{option} '{shown}': {metric} is never above 100 %; write {written}, or 0.05")
    else:
        if unit:
            raise UserError(f"{option} '{shown}': {metric} is a plain number and takes no unit")
        limit = number
    return Threshold(" ".join(text.split()), mode, metric, match["operator"], limit)


def check_conditions(conditions: Sequence[Threshold], *, has_threads: bool, is_foreign: bool) -> None:
    """Raise UserError for a `--while` whose metric no step of `capacity` measures, before anything runs.

    `has_threads`: a second bystander asks the worker threads. `is_foreign`: the server is not taskdemo's.
    """
    for one in conditions:
        first = one.metric.partition(".")[0]
        without = first == "bystander_threads" and not has_threads
        if without or (is_foreign and first in SERVERS) or one.metric == "client.overhead":
            raise UserError(
                f"--while '{shortened(one.expression, 80)}': {one.metric} is not measured here; ask for what is, "
                "as in 'response.p95 < 200ms'"
            )


def evaluate(threshold: Threshold, document: RunDocument | ComparisonDocument | CapacityDocument) -> Outcome:
    """Compare a run, a comparison or a capacity with a threshold.

    It is met if any of its runs meets it: all, or those of its mode, in every round. What is shown
    is the run that decided: the one furthest beyond the limit, or nearest to it.
    """
    of_all = _values(threshold.metric, document)
    values = [one for one in of_all if threshold.mode in {None, one.name}]
    missing = [one for one in values if one.value is None]
    known = [(one.value, one) for one in values if one.value is not None]
    several = len({one.name for one in of_all}) > 1 and threshold.mode is None
    beyond = [entry for entry in known if OPERATORS[threshold.operator](entry[0], threshold.limit)]
    if (missing and not beyond) or not values:
        where = f" in {missing[0].name}" if missing and several else ""
        what = f"{threshold.metric} was not measured{where}"
        return Outcome(threshold.expression, what, None, True, f"{what}, so it cannot be ruled out")
    value, one = _deciding(beyond or known, threshold.operator)
    figure, _ = told_apart([value, threshold.limit], partial(_shown, threshold.metric))
    shown = figure + one.more + (f" in {one.name}" if several else "")
    met = bool(beyond)
    text = f"{threshold.metric} was {shown}, so {threshold.expression} {'is met' if met else 'is not met'}"
    return Outcome(threshold.expression, shown, value, met, text)


def _values(metric: str, document: RunDocument | ComparisonDocument | CapacityDocument) -> list[Value]:
    """Return the metric of each mode of a capacity, or of each run in the order of the modes."""
    if document.kind == "capacity":
        return [Value(getattr(found, CAPACITY[metric]), name, "/s") for name, found in document.modes.items()]
    groups = by_mode(runs_of(document)).items()
    return [Value(value_of(run, metric), name, _doubt(metric, run)) for name, group in groups for run in group]


def value_of(run: RunDocument, metric: str) -> float | None:
    """Return the metric's value in this run: seconds, a share of 1, or a plain number; None where not measured."""
    summary = run.summary
    first, _, second = metric.partition(".")
    if first in TIMES:
        statistics = getattr(summary, TIMES[first])
        if not statistics:
            return 0.0 if second == "count" else None
        return float(getattr(statistics, second))
    if metric == "requests.failed_share":
        counts = summary.requests
        total = counts.ok + counts.failed
        return counts.failed / total if total else None
    if first == "tasks" and run.mode is None and not run.app:
        return None  # a server that is not taskdemo's says nothing of its tasks; its zeros are no finding
    if metric == "tasks.max_parallel" and summary.tasks.accepted:
        return ran_at_once(summary.tasks)
    if metric == "wall":
        return summary.wall_s
    part = getattr(summary, first)
    value = getattr(part, f"{second}_s" if metric in DURATIONS else second) if second else part
    return None if value is None else float(value)


def _kind(metric: str) -> str:
    first, _, second = metric.partition(".")
    if metric in DURATIONS or (first in TIMES and second != "count"):
        return "time"
    return "share" if metric in SHARES else "number"


def _split(
    name: str, modes: Sequence[str], shown: str, metrics: Collection[str], option: str
) -> tuple[str | None, str]:
    if name in metrics:
        return None, name
    first, _, rest = name.partition(".")
    if first in modes:
        if rest in metrics:
            return first, rest
        name = rest
    elif rest in metrics:
        if not modes:
            raise UserError(f"{option} '{shown}': without compare there is one mode; write '{rest}' alone")
        names = ", ".join(difflib.get_close_matches(first, modes, len(modes), 0.0) or modes)
        raise UserError(f"{option} '{shown}': there is no mode '{shortened(first, 40)}' in this run; there are {names}")
    nearest = _nearest(name, metrics)
    guess = f"did you mean {nearest}?" if nearest else _example(metrics)
    more = ALL_METRICS if metrics is METRICS else (f"rates:      {', '.join(metrics)}",)
    raise UserError(f"{option} '{shown}': there is no metric '{shortened(name, 40)}'; {guess}", more=more)


def _example(metrics: Collection[str]) -> str:
    return EXAMPLE if metrics is METRICS else CAPACITY_EXAMPLE


def _nearest(name: str, metrics: Collection[str]) -> str | None:
    """Return the metric that was probably meant: of a statistic or a time alone, that of the response times."""
    if metrics is METRICS and name in STATISTICS:
        return f"response.{name}"
    if metrics is METRICS and name in TIMES:
        return f"{name}.p95"
    return next(iter(difflib.get_close_matches(name[:60], metrics, 1, 0.4)), None)


def _deciding(entries: Sequence[tuple[float, Value]], operator: str) -> tuple[float, Value]:
    least_first = sorted(entries, key=lambda entry: entry[0])
    return least_first[0] if operator in {"<", "<="} else least_first[-1]


def _doubt(metric: str, run: RunDocument) -> str:
    name, _, statistic = metric.partition(".")
    if name not in TIMES or statistic not in PERCENTILES:
        return ""
    count = int(value_of(run, f"{name}.count") or 0)
    return "" if supported(statistic, count) else f" (the maximum: {format_count(count)} are too few)"


def _shown(metric: str, value: float) -> str:
    kind = _kind(metric)
    if kind == "time":
        return format_seconds(value)
    if metric in CAPACITY:
        return format_rate(value).removesuffix("/s")  # told_apart knows no such unit
    return format_share(value) if kind == "share" else format_count(value)
