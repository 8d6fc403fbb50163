"""The search for the limit: which rate to try next, and between which steps the limit lies."""

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Final

from taskdemo_cli.analysis.capacity.subject import FEWEST, RESOLUTION
from taskdemo_cli.documents.capacity import CapacityStep

UNCLEAR: Final = 0.05
"""A step decides nothing if the interval of its backlog's growth reaches further than this to either side, as a share
of the rate, unless the growth is `OBVIOUS`."""
OBVIOUS: Final = 0.1
BELOW: Final = 0.96
ABOVE: Final = 1.04
"""Before it bisects, the search tries these multiples of the rate at which tasks ended in the step that failed."""
APART: Final = 1.01
"""Rates whose ratio is smaller than this count as the same."""
PATIENCE: Final = 4.5
"""On a noisy machine, the search stops narrowing down after the time that this many whole steps take."""
STEPS: Final = 24
"""After this many steps the search only repeats a last one that decides nothing."""
CONFIRMED_SHARE: Final = 0.9
"""With `MORE` times the threads or processes, this share of `MORE` times the sustained rate is tried."""
BY_BACKLOG: Final = frozenset({"threads", "processes", "event loop", "interpreter", "broker", "unknown"})
"""The causes that show in a growing backlog."""


def bracket(steps: Iterable[CapacityStep]) -> tuple[CapacityStep | None, CapacityStep | None]:
    """Return the step of the highest sustained rate below every failed one, and that of the lowest failed rate.

    Of several steps at one rate, the last one counts.
    """
    by_rate = {step.rate: step for step in steps}
    failed = min((step for step in by_rate.values() if not step.sustained), key=attrgetter("rate"), default=None)
    below = math.inf if failed is None else failed.rate
    return max((step for rate, step in by_rate.items() if rate < below), key=attrgetter("rate"), default=None), failed


def next_rate(
    steps: Sequence[CapacityStep],
    step_s: float,
    first: float,
    most: float | None = None,
    resolution: float = RESOLUTION,
) -> float | None:
    """Return the rate to try next, in requests per second; None when the search is over.

    `step_s`: how long a whole step is measured.

    The rate doubles until a step fails. The limit is near the rate at which tasks ended in that step, so the search
    tries a little below and above it, and bisects what is left. A step that decides nothing is repeated once, and so is
    one that failed although a later step sustained more than had ended in it: something else disturbed it.
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
        lower = max(lower, FEWEST / step_s)
        return lower if lower < high.rate / APART else None
    if ended is not None and low.rate >= RESOLUTION * ended and tries[high.rate] == 1:
        return high.rate
    if high.rate <= resolution * low.rate or _has_lasted(steps):
        return None
    guesses = (BELOW * ended, ABOVE * ended) if ended is not None and _is_clear(high) else ()
    inside = (guess for guess in guesses if APART * low.rate < guess < high.rate / APART)
    return next(inside, math.sqrt(low.rate * high.rate))


def _has_lasted(steps: Sequence[CapacityStep]) -> bool:
    """Return whether the steps since the first at a rate that failed for good took as long as `PATIENCE` allows."""
    failed = {rate for rate, step in {step.rate: step for step in steps}.items() if not step.sustained}
    closing = itertools.dropwhile(lambda step: step.rate not in failed, steps)
    return sum(step.to_s for step in closing) >= PATIENCE * max(step.to_s for step in steps)


def _is_clear(step: CapacityStep) -> bool:
    return step.growth_high_per_s - step.growth_low_per_s <= 2 * UNCLEAR * step.rate


def _decides_nothing(step: CapacityStep) -> bool:
    by_backlog = step.sustained or step.cause in BY_BACKLOG
    return by_backlog and not _is_clear(step) and step.backlog_growth_per_s <= OBVIOUS * step.rate
