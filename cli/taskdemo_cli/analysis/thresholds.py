"""`--fail-if 'response.p95 > 200ms'`: read such an expression, and compare a document with it. No eval.

`--while` reads the same expressions, as conditions that must stay true.

expression = [mode "."] metric operator number [unit]
metric     = a time of the summary and one of its statistics (`response.p95`), or a figure (`tasks.lost`)
operator   = < <= > >= == !=          unit = us ms s %
"""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter, eq, ge, gt, itemgetter, le, lt, ne
from typing import Final, TypeAlias

from taskdemo_cli.analysis.rounds import by_mode, ran_at_once
from taskdemo_cli.documents.capacity import CapacityDocument, ModeCapacity
from taskdemo_cli.documents.codec import runs_of
from taskdemo_cli.documents.comparison import ComparisonDocument
from taskdemo_cli.documents.run import RunDocument, ThresholdRow
from taskdemo_cli.errors import UserError
from taskdemo_cli.stats import PERCENTILES, supported
from taskdemo_cli.units import IN_A_SECOND, format_count, format_rate, format_seconds, format_share, told_apart
from taskdemo_server.contract.text import shortened


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of metric."""

    units: Mapping[str, float]
    """How many of each unit make one of `Threshold.limit`."""
    otherwise: str
    """What is wrong with other units."""
    words: Callable[[float], str]


TIME: Final = Kind(IN_A_SECOND, "is a time, so its limit takes one of the units us, ms, s", format_seconds)
SHARE: Final = Kind({"": 1.0, "%": 100.0}, "is a share; write 5% or 0.05", format_share)
NUMBER: Final = Kind({"": 1.0}, "is a plain number and takes no unit", format_count)
RATE: Final = replace(NUMBER, words=lambda rate: format_rate(rate).removesuffix("/s"))  # told_apart knows no such unit

TIMES: Final = (
    *("response", "failed", "corrected", "completion", "bystander", "bystander_threads"),
    *("wait", "first_byte", "transfer", "queue", "work"),
)
STATISTICS: Final = (*PERCENTILES, "min", "mean", "max", "count")
TASKS: Final = ("accepted", "finished", "failed", "cancelled", "lost", "unfinished", "max_parallel")
COUNTS: Final = ("requests.ok", "requests.failed", *(f"tasks.{name}" for name in TASKS))
SHARES: Final = ("requests.failed_share", "client.cpu_share")
DURATIONS: Final = ("wall", "tasks.last_ended", "client.loop_lag_p99", "client.overhead")
RATES: Final = ("requests_per_s",)
Metrics: TypeAlias = Mapping[str, tuple[str, Kind]]
"""By the name of each metric: its path in the document, and its kind."""
METRICS: Final[Metrics] = {
    **{f"{time}.{name}": (f"{time}_s.{name}", TIME) for time in TIMES for name in STATISTICS if name != "count"},
    **{f"{time}.count": (f"{time}_s.count", NUMBER) for time in TIMES},
    **{name: (name, NUMBER) for name in (*COUNTS, *RATES)},
    **{name: (name, SHARE) for name in SHARES},
    **{name: (f"{name}_s", TIME) for name in DURATIONS},
}
"""The metrics of a run, whose document is its summary."""
CAPACITY: Final[Metrics] = {
    "sustained": ("sustained_per_s", RATE),
    "failed_at": ("failed_at_per_s", RATE),
}
"""The metrics of a capacity, whose document is that of a mode."""
OPERATORS: Final[dict[str, Callable[[float, float], bool]]] = {"<": lt, "<=": le, ">": gt, ">=": ge, "==": eq, "!=": ne}
EXPRESSION: Final = re.compile(
    r"\s*(?P<name>[^\s<>=!]+)\s*(?P<operator><=|>=|==|!=|<|>)\s*"
    r"(?P<number>[0-9]{1,15}(?:\.[0-9]{0,15})?|\.[0-9]{1,15})\s*(?P<unit>[^\s0-9.]*)\s*",
    re.ASCII,
)
SERVERS: Final = frozenset({"bystander", "tasks", "completion", "queue", "work"})
"""What only a server of taskdemo's measures."""
ALL_METRICS: Final = (
    f"times:      {', '.join(TIMES)};",
    f"            each with one of .{', .'.join(STATISTICS)}",
    f"durations:  {', '.join(DURATIONS)}",
    f"shares:     {', '.join(SHARES)}",
    f"counts:     {', '.join(COUNTS)}",
    f"rates:      {', '.join(RATES)}",
)
"""The metrics, for people: one line per kind."""
EXAMPLE: Final = "write it like 'response.p95 > 200ms' or 'requests.failed_share >= 1%'"
CAPACITY_EXAMPLE: Final = "write it like 'sustained < 300' or 'background.sustained < 300'"


@dataclass(frozen=True, slots=True)
class Threshold:
    """A condition on a metric; `limit` is in seconds, or a share of 1, or a plain number."""

    expression: str
    mode: str | None
    metric: str
    kind: Kind
    operator: str
    limit: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a threshold. `value` is what was measured, in the unit of `Threshold.limit`."""

    threshold: Threshold
    found: str
    """The metric with its value, and in a comparison its mode; or that it was not measured."""
    value: float | None
    met: bool
    """Whether the condition is met; also if the metric was not measured, because silence is no success."""

    def row(self) -> ThresholdRow:
        """Return the outcome as documents store it."""
        expression = self.threshold.expression
        so = "cannot be ruled out" if self.value is None else "is met" if self.met else "is not met"
        text = f"{self.found}, so {expression} {so}"
        return ThresholdRow(expression=expression, value=self.value, held=self.met, text=text)


def parse(text: str, modes: Sequence[str] = (), *, metrics: Metrics = METRICS, option: str = "--fail-if") -> Threshold:
    """Parse one expression: one of `metrics`, which the name of one of `modes` may precede.

    Raises UserError, which names `option` and what can be written instead.
    """
    shown = shortened(text, 80)
    match = EXPRESSION.fullmatch(text)
    if match is None:
        raise UserError(f"{option} cannot read '{shown}'; {_example(metrics)}")
    said = f"{option} '{shown}'"
    mode, metric = _split(match["name"], modes, metrics, said)
    unit = match["unit"]
    _, kind = metrics[metric]
    if unit not in kind.units:
        raise UserError(f"{said}: {metric} {kind.otherwise}")
    limit = float(match["number"]) / kind.units[unit]
    if kind is SHARE and limit > 1:
        raise UserError(f"{said}: {metric} is never above 100 %; write 5% or 0.05")
    return Threshold(" ".join(text.split()), mode, metric, kind, match["operator"], limit)


def check_conditions(conditions: Sequence[Threshold], *, has_threads: bool, is_foreign: bool) -> None:
    """Raise UserError for a `--while` whose metric no step of `capacity` measures, before anything runs.

    `has_threads`: a second bystander needs a worker thread. `is_foreign`: the server is not taskdemo's.
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

    It is met if any run of any round meets it; with a mode, only that mode's runs count. The outcome shows the run
    that decided: the one furthest beyond the limit, or nearest to it.
    """
    figures = _figures(threshold, document)
    several = len({name for name, *_ in figures}) > 1 and threshold.mode is None
    asked = [
        (value, " in " + ", ".join(filter(None, [name if several else "", round_])) if several or round_ else "", more)
        for name, round_, value, more in figures
        if threshold.mode in {None, name}
    ]
    missing = [where for value, where, _ in asked if value is None]
    known = [(value, where, more) for value, where, more in asked if value is not None]
    beyond = [figure for figure in known if OPERATORS[threshold.operator](figure[0], threshold.limit)]
    if (missing and not beyond) or not asked:
        where = missing[0] if missing else ""
        return Outcome(threshold, f"{threshold.metric} was not measured{where}", None, met=True)
    least_first = sorted(beyond or known, key=itemgetter(0))
    value, where, more = least_first[0 if threshold.operator in {"<", "<="} else -1]
    shown, _ = told_apart([value, threshold.limit], threshold.kind.words)
    return Outcome(threshold, f"{threshold.metric} was {shown}{more}{where}", value, met=bool(beyond))


def _figures(
    threshold: Threshold, document: RunDocument | ComparisonDocument | CapacityDocument
) -> list[tuple[str, str, float | None, str]]:
    """Return the metric of each mode of a capacity, or of each run in the order of the modes.

    Each has the mode's name, which of several rounds it was, the value (None if not measured), and what to write behind
    the figure.
    """
    metric = threshold.metric
    if document.kind == "capacity":
        return [(name, "", *_rate(threshold, found)) for name, found in document.modes.items()]
    runs = runs_of(document)
    several = len({run.round for run in runs}) > 1
    return [
        (name, f"round {run.round}" if several else "", value_of(run, metric), _doubt(metric, run))
        for name, group in by_mode(runs).items()
        for run in group
    ]


def _rate(threshold: Threshold, found: ModeCapacity) -> tuple[float | None, str]:
    """Return the rate, and its unit. What gave in at no rate gives in above the sustained one, if at all."""
    value: float | None = getattr(found, CAPACITY[threshold.metric][0])
    if value is None and found.sustained_per_s is not None and found.sustained_per_s >= threshold.limit:
        return found.sustained_per_s, "/s or more"
    return value, "/s"


def value_of(run: RunDocument, metric: str) -> float | None:
    """Return the metric's value in this run: seconds, a share of 1, or a plain number; None if not measured."""
    summary = run.summary
    first, _, second = metric.partition(".")
    if first in TIMES and not getattr(summary, f"{first}_s"):
        return 0.0 if second == "count" else None
    if metric == "requests.failed_share":
        return summary.requests.failed / summary.requests.total if summary.requests.total else None
    if first == "tasks" and run.mode is None and not run.app:
        return None  # a server that is not taskdemo's does not report its tasks; its zeros are no finding
    if metric == "tasks.max_parallel" and summary.tasks.accepted:
        return ran_at_once(summary.tasks)
    value = attrgetter(METRICS[metric][0])(summary)
    return None if value is None else float(value)


def _split(name: str, modes: Sequence[str], metrics: Metrics, said: str) -> tuple[str | None, str]:
    if name in metrics:
        return None, name
    first, _, rest = name.partition(".")
    if first in modes:
        if rest in metrics:
            return first, rest
        name = rest
    elif rest in metrics:
        if not modes:
            raise UserError(f"{said}: without compare there is one mode; write '{rest}' alone")
        names = ", ".join(difflib.get_close_matches(first, modes, len(modes), 0.0) or modes)
        raise UserError(f"{said}: there is no mode '{shortened(first, 40)}' in this run; there are {names}")
    guess = f"did you mean {nearest}?" if (nearest := _nearest(name, metrics)) else _example(metrics)
    if name in CAPACITY:
        guess = "it is what capacity finds, and its --fail-if can ask for it"
    more = ALL_METRICS if metrics is METRICS else (f"rates:      {', '.join(metrics)}",)
    raise UserError(f"{said}: there is no metric '{shortened(name, 40)}'; {guess}", more=more)


def _example(metrics: Metrics) -> str:
    return EXAMPLE if metrics is METRICS else CAPACITY_EXAMPLE


def _nearest(name: str, metrics: Metrics) -> str | None:
    """Return the metric that was probably meant; a statistic alone means the response times, a time alone its p95."""
    meant = [one for one in (f"response.{name}", f"{name}.p95") if one in metrics]
    return next(iter(meant or difflib.get_close_matches(name[:60], metrics, 1, 0.4)), None)


def _doubt(metric: str, run: RunDocument) -> str:
    name, _, statistic = metric.partition(".")
    if statistic not in PERCENTILES:
        return ""
    count = int(value_of(run, f"{name}.count") or 0)
    return "" if supported(statistic, count) else f" (the maximum: {format_count(count)} are too few)"
