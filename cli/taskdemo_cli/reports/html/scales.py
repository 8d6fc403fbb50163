"""The scales of the report's pictures: where a figure stands across, and which ticks say so.

Across, places are thousandths of the picture's width.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Final

from taskdemo_cli.reports.timeline import ticks
from taskdemo_cli.units import format_rate

WIDE: Final = 1000
"""Thousandths across a picture."""
LOGARITHMIC_FROM: Final = 20
"""A longest time of so many times the shortest makes a scale of times logarithmic."""


class Scale:
    """Places from `start` to `end`: evenly, or where it is `logarithmic` each step so many times more."""

    def __init__(
        self, start: float, end: float, marks: Iterable[tuple[float, str]], *, logarithmic: bool = False
    ) -> None:
        self.logarithmic = logarithmic
        self._start = start
        self._per_unit = WIDE / (self._measure(end) - self._measure(start))
        self.ticks = [_tick(self.x(value), label) for value, label in marks]
        """Each a place, what stands there, and which end of that stands there."""

    def x(self, value: float) -> float:
        """Return the place of this value."""
        share = (self._measure(max(value, self._start)) - self._measure(self._start)) * self._per_unit
        return round(min(share, WIDE), 1)

    def _measure(self, value: float) -> float:
        return math.log10(value) if self.logarithmic else value


def moments(horizon_s: float) -> Scale:
    """Return the scale from 0 to `horizon_s` seconds, with at most seven ticks."""
    return Scale(0.0, horizon_s, ticks(horizon_s, 6))


def durations(low_s: float, high_s: float) -> Scale:
    """Return the scale of times from `low_s` to `high_s` seconds; logarithmic where these are far from each other."""
    low_s = max(low_s, 1e-6)
    high_s = max(high_s, low_s * 1.0001)
    ratio = high_s / low_s
    if ratio < LOGARITHMIC_FROM:
        return Scale(0.0, high_s * 1.03, ticks(high_s, 6))
    digits = (1,) if ratio > 1e5 else (1, 3) if ratio > 100 else (1, 2, 5)
    marks = [(value, duration_words(value)) for value in _round_numbers(low_s * 0.93, high_s * 1.07, digits)]
    return Scale(low_s / ratio**0.03, high_s * ratio**0.03, marks, logarithmic=True)


def rates(low: float, high: float) -> Scale:
    """Return the logarithmic scale of rates from `low` to `high` requests per second; it begins at a round rate."""
    digits = (1,) if high / low > 100 else (1, 2, 5)
    low, high = _round_numbers(low / 20, low * 0.9, digits)[-1], high * 1.1
    return Scale(low, high, [(rate, format_rate(rate)) for rate in _round_numbers(low, high, digits)], logarithmic=True)


def _round_numbers(low: float, high: float, digits: Sequence[int]) -> list[float]:
    """Return the numbers of one of these digits and zeros between two others."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [number for power in powers for digit in digits if low <= (number := digit * 10.0**power) <= high]


def _tick(x: float, label: str) -> tuple[float, str, str]:
    return x, label, "start" if x < 30 else "end" if x > 970 else "middle"


def duration_words(seconds: float) -> str:
    """Return a round time, as it stands at a tick."""
    for unit, per in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= per * 0.9999:
            return f"{seconds / per:g} {unit}"
    return f"{seconds / 1e-6:g} µs"
