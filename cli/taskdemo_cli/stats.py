"""Statistics of times: percentiles, histograms, confidence intervals over rounds; and grouping.

Pure functions. Durations come in as whole microseconds and go out as seconds, so a figure computed from the rows of
a document equals the one in its summary to the last digit.
"""

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from itertools import pairwise
from statistics import fmean, variance
from typing import Annotated, Final, NamedTuple, TypeVar

from msgspec import Meta, Struct

Number = TypeVar("Number", int, float)
Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")
LONGEST_S: Final = 1e9
"""The longest allowed time, 31 years; a scale for a longer one could not be drawn."""
Seconds = Annotated[float, Meta(ge=-LONGEST_S, le=LONGEST_S)]
MICRO = 1_000_000
PERCENTILES = {"p50": 500, "p90": 900, "p95": 950, "p99": 990, "p999": 999}
"""Percentiles in thousandths."""
BINS = 10
LOGARITHMIC_FROM = 20
"""Bins and scales are logarithmic if the longest time is at least this many times the shortest."""


class Statistics(Struct, frozen=True, kw_only=True):
    """What a set of times comes to. Percentiles by nearest rank; `count` says which of them are supported."""

    count: int
    min: Seconds
    mean: Seconds
    p50: Seconds
    p90: Seconds
    p95: Seconds
    p99: Seconds
    p999: Seconds
    max: Seconds


class Bin(Struct, frozen=True, kw_only=True):
    """One bar of a histogram: `count` times with from_s <= time < to_s (the last bin: <= to_s)."""

    from_s: Seconds
    to_s: Seconds
    count: int


def grouped(pairs: Iterable[tuple[Key, Value]]) -> defaultdict[Key, list[Value]]:
    """Return the values of each key; keys and values keep the order of the pairs."""
    groups: defaultdict[Key, list[Value]] = defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return groups


def nearest_rank(ordered: Sequence[Number], per_mille: int) -> Number:
    """Return the smallest value such that at least `per_mille` thousandths of all values do not exceed it.

    `ordered` is ascending and not empty. The result is a measured value, never an interpolation:
    definition 1 of Hyndman and Fan, "Sample Quantiles in Statistical Packages" (1996). Whole thousandths,
    because 0.9 * 10 is not always 9 in floats.
    """
    rank = -(-per_mille * len(ordered) // 1000)
    return ordered[max(rank, 1) - 1]


def supported(statistic: str, count: int) -> bool:
    """Return whether `count` times are enough for this statistic: at least one must lie beyond a percentile.

    One time is enough for the median. With 20 times p95 is supported but p99 is not: it would just be the maximum.
    """
    per_mille = PERCENTILES.get(statistic, 500)
    return count >= 1 and (per_mille <= 500 or count * (1000 - per_mille) >= 1000)


def describe(microseconds: Iterable[float]) -> Statistics | None:
    """Return the statistics of these durations, in seconds; None if there are none."""
    ordered = sorted(microseconds)
    if not ordered:
        return None
    return Statistics(
        count=len(ordered),
        min=ordered[0] / MICRO,
        mean=round(sum(ordered) / len(ordered) / MICRO, 9),
        **{name: nearest_rank(ordered, per_mille) / MICRO for name, per_mille in PERCENTILES.items()},
        max=ordered[-1] / MICRO,
    )


def histogram(ordered: Sequence[float]) -> list[Bin]:
    """Return up to ten bins from the shortest to the longest of these ascending durations.

    The bins have equal widths, as in hey. If the longest duration is at least 20 times the shortest, they have equal
    *ratios*, because otherwise all but the slowest few would share the first bar.
    """
    if not ordered:
        return []
    low, high = ordered[0], ordered[-1]
    if low == high:
        return [Bin(from_s=low / MICRO, to_s=high / MICRO, count=len(ordered))]
    if high >= LOGARITHMIC_FROM * max(low, 1):
        first = max(low, 1)
        edges = [low, *(float(round(first * (high / first) ** (i / BINS))) for i in range(1, BINS)), high]
    else:
        edges = [low + (high - low) * i // BINS for i in range(BINS + 1)]
    edges = sorted(set(edges))
    bins: list[Bin] = []
    counted = 0
    for start, end in pairwise(edges):
        below = len(ordered) if end == high else bisect_left(ordered, end)
        bins.append(Bin(from_s=start / MICRO, to_s=end / MICRO, count=below - counted))
        counted = below
    return bins


def most_at_once(starts: Sequence[float], ends: Sequence[float]) -> int:
    """Return the largest number of intervals open at once, from all starts and all ends, both ascending.

    An end comes before a start at the same moment. Intervals without an end stay open.
    """
    running = most = ended = 0
    for start in starts:
        running += 1
        while ended < len(ends) and ends[ended] <= start:
            ended += 1
            running -= 1
        most = max(most, running)
    return most


def average_open(intervals: Sequence[tuple[float, float]], from_s: float, to_s: float, columns: int) -> list[float]:
    """Return the average number of open intervals in each of `columns` equal spans from `from_s` to `to_s`."""
    length = (to_s - from_s) / columns
    edges = [from_s + at * length for at in range(columns + 1)]
    return [
        sum(max(min(end, right) - max(start, left), 0.0) for start, end in intervals) / length
        for left, right in pairwise(edges)
    ]


class Slope(NamedTuple):
    """The slope of a line, and its 95 % confidence interval."""

    mean: float
    low: float
    high: float


def slope(xs: Sequence[float], ys: Sequence[float]) -> Slope:
    """Return the least-squares slope of three or more points, at least two of which differ in x.

    The interval is Student's t. It assumes that the points scatter around the line independently of each other, so
    pass means over spans longer than the fluctuations within them.
    """
    middle_x, middle_y = fmean(xs), fmean(ys)
    spread = math.fsum((x - middle_x) ** 2 for x in xs)
    mean = math.fsum((x - middle_x) * (y - middle_y) for x, y in zip(xs, ys, strict=True)) / spread
    squares = math.fsum((y - middle_y - mean * (x - middle_x)) ** 2 for x, y in zip(xs, ys, strict=True))
    degrees = len(xs) - 2
    arm = math.sqrt(squares / degrees / spread) * student_975(degrees)
    return Slope(mean, mean - arm, mean + arm)


# --- intervals over rounds -----------------------------------------------------------------------------

STUDENT_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""The 97.5 % quantile of Student's t for 1, 2, ... 30 degrees of freedom."""
NORMAL_975 = 1.960
"""The same for infinitely many degrees of freedom: the normal distribution's."""


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % confidence interval of the mean over rounds, from one value per round, two or more.

    Student's t interval. Rounds are independent of each other; requests within one are not. Two rounds say little:
    the interval extends 13 standard errors to each side.
    """
    center = fmean(values)
    arm = math.sqrt(_squared_error(values)) * student_975(len(values) - 1)
    return center - arm, center + arm


def interval_between(olds: Sequence[float], news: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % confidence interval of mean(news) - mean(olds), for unpaired rounds, two or more of each.

    Welch's t interval, which allows unequal variances. The degrees of freedom are his too,
    "The generalization of Student's problem when several different population variances are involved" (1947).
    """
    center = fmean(news) - fmean(olds)
    old, new = _squared_error(olds), _squared_error(news)
    if not old + new:
        return center, center
    share = old / (old + new)
    degrees = 1 / (share**2 / (len(olds) - 1) + (1 - share) ** 2 / (len(news) - 1))
    arm = math.sqrt(old + new) * student_975(max(degrees, 1.0))
    return center - arm, center + arm


def student_975(degrees: float) -> float:
    """Return the 97.5 % quantile of Student's t, for one or more degrees of freedom, within 10 %.

    Exact for whole degrees up to 30; interpolated in 1 / degrees, in which it is nearly linear, elsewhere.
    """
    whole = int(degrees)
    if whole >= len(STUDENT_975):
        return NORMAL_975 + (STUDENT_975[-1] - NORMAL_975) * len(STUDENT_975) / degrees
    low, high = STUDENT_975[whole - 1], STUDENT_975[whole]
    return low + (high - low) * (1 / whole - 1 / degrees) / (1 / whole - 1 / (whole + 1))


def _squared_error(values: Sequence[float]) -> float:
    """Return the squared standard error of the mean. Raises StatisticsError for fewer than two values."""
    return variance(values) / len(values)
