"""The horizontal scales of the terminal's and the page's pictures: the position of a figure, and the ticks.

Positions are in thousandths of the picture's width.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Final

from taskdemo_cli.stats import LOGARITHMIC_FROM
from taskdemo_cli.units import format_rate, format_seconds

WIDE: Final = 1000
"""The width of a picture, in thousandths."""


def round_numbers(low: float, high: float, digits: Sequence[int] = (1, 2, 5)) -> list[float]:
    """Return the numbers from `low` (above 0) to `high` that are one of the digits times a power of ten."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [number for power in powers for digit in digits if low <= (number := digit * 10.0**power) <= high]


STEPS: Final = (
    *round_numbers(1e-6, 5.0),
    *(10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0),
    *(3600.0 * hours for hours in (1, 2, 3, 6, 12, 24, 24 * 7, 24 * 28, 24 * 365)),
)
"""Distances between ticks, in seconds."""
UNITS: Final = (("h", 3600.0, 3600.0), ("min", 60.0, 60.0), ("s", 1.0, 0.1), ("ms", 1e-3, 2e-4), ("µs", 1e-6, 0.0))
"""Each a unit, its length, and the shortest distance between ticks that uses it, both in seconds."""


class Scale:
    """A linear or `logarithmic` scale from `start` to `end`."""

    def __init__(
        self, start: float, end: float, marks: Iterable[tuple[float, str]], *, logarithmic: bool = False
    ) -> None:
        self.logarithmic = logarithmic
        self._start = start
        self._per_unit = WIDE / (self._measure(end) - self._measure(start))
        self.ticks = [_tick(self.x(value), label) for value, label in marks]
        """Each a position, its label, and the part of the label that is there: its start, middle or end."""

    def x(self, value: float) -> float:
        """Return the position of a value; one outside the scale is at its end."""
        share = (self._measure(max(value, self._start)) - self._measure(self._start)) * self._per_unit
        return round(min(share, WIDE), 1)

    def _measure(self, value: float) -> float:
        return math.log10(value) if self.logarithmic else value


def ticks(horizon_s: float, most: float) -> list[tuple[float, str]]:
    """Return the moments and labels of ticks from 0 to the horizon, at most `most` of them after 0."""
    step = next((step for step in STEPS if horizon_s / step <= most), STEPS[-1])
    unit, per = next((unit, per) for unit, per, least in UNITS if step >= least)
    moments = [index * step for index in range(int(horizon_s / step * (1 + 1e-9)) + 1)]
    return [(moment, f"{moment / per:g} {unit}") for moment in moments]


def moments(horizon_s: float) -> Scale:
    """Return a scale from 0 to `horizon_s` seconds, with at most seven ticks."""
    return Scale(0.0, horizon_s, ticks(horizon_s, 6))


def durations(low_s: float, high_s: float) -> Scale:
    """Return a scale of times that shows `low_s` to `high_s` seconds; logarithmic if these are far apart."""
    low_s = max(low_s, 1e-6)
    high_s = max(high_s, low_s * 1.0001)
    ratio = high_s / low_s
    if ratio < LOGARITHMIC_FROM:
        return Scale(0.0, high_s * 1.03, ticks(high_s, 6))
    digits = (1,) if ratio > 1e5 else (1, 3) if ratio > 100 else (1, 2, 5)
    marks = [(value, duration_words(value)) for value in round_numbers(low_s * 0.93, high_s * 1.07, digits)]
    return Scale(low_s / ratio**0.03, high_s * ratio**0.03, marks, logarithmic=True)


def rates(low: float, high: float) -> Scale:
    """Return a logarithmic scale that shows rates from `low` to `high` per second; it begins at a round rate."""
    digits = (1,) if high / low > 100 else (1, 2, 5)
    low, high = round_numbers(low / 20, low * 0.9, digits)[-1], high * 1.1
    return Scale(low, high, [(rate, format_rate(rate)) for rate in round_numbers(low, high, digits)], logarithmic=True)


def _tick(x: float, label: str) -> tuple[float, str, str]:
    return x, label, "start" if x < 30 else "end" if x > 970 else "middle"


def duration_words(seconds: float) -> str:
    """Return a round duration as a tick's label."""
    return format_seconds(seconds).replace(".00", "").replace(".0", "")
