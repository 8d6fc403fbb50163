"""The scales of the report's pictures: where a figure stands across, and which ticks say so.

Across, places are thousandths of the picture's width.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from taskdemo_cli.reports.timeline import ticks
from taskdemo_cli.units import format_rate

WIDE: Final = 1000
"""Thousandths across a picture."""
LOGARITHMIC_FROM: Final = 20
"""A longest time of so many times the shortest makes a scale of times logarithmic."""


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on a scale, and what stands there."""

    x: float
    label: str
    anchor: str


class Moments:
    """From 0 to `horizon_s` seconds, evenly."""

    def __init__(self, horizon_s: float) -> None:
        self.horizon_s = horizon_s

    def x(self, seconds: float) -> float:
        """Return the place of this moment."""
        return round(min(max(seconds / self.horizon_s, 0.0), 1.0) * WIDE, 1)

    def ticks(self) -> list[Tick]:
        """Return at most seven ticks."""
        return _ticks(self.horizon_s, self.x)


class Durations:
    """From `low_s` to `high_s` seconds, each step so many times longer where the longest is far from the shortest."""

    def __init__(self, low_s: float, high_s: float) -> None:
        self.low_s = max(low_s, 1e-6)
        self.high_s = max(high_s, self.low_s * 1.0001)
        self.logarithmic = self.high_s >= LOGARITHMIC_FROM * self.low_s
        start, end = (math.log10(self.low_s), math.log10(self.high_s)) if self.logarithmic else (0.0, self.high_s)
        margin = (end - start) * 0.03
        self._start = start - margin if self.logarithmic else start
        self._per_unit = WIDE / (end + margin - self._start)

    def x(self, seconds: float) -> float:
        """Return the place of a time this long."""
        value = math.log10(max(seconds, self.low_s)) if self.logarithmic else seconds
        return round(min(max((value - self._start) * self._per_unit, 0.0), WIDE), 1)

    def ticks(self) -> list[Tick]:
        """Return ticks at round times."""
        return _decades(self.low_s, self.high_s, self.x) if self.logarithmic else _ticks(self.high_s, self.x)


class Rates:
    """From `low` to `high` requests per second, each step so many times more."""

    def __init__(self, low: float, high: float) -> None:
        self.low = low / 1.5
        self._start = math.log10(self.low)
        self._per_unit = WIDE / (math.log10(high * 1.1) - self._start)

    def x(self, rate: float) -> float:
        """Return the place of this rate."""
        return round(min(max((math.log10(rate) - self._start) * self._per_unit, 0.0), WIDE), 1)

    def ticks(self) -> list[Tick]:
        """Return ticks at round rates."""
        high = 10 ** (self._start + WIDE / self._per_unit)
        digits = (1,) if high / self.low > 100 else (1, 2, 5)
        powers = range(math.floor(self._start), math.ceil(math.log10(high)) + 1)
        rates = [digit * 10.0**power for power in powers for digit in digits]
        return [_tick(self.x(rate), format_rate(rate)) for rate in rates if self.low <= rate <= high]


def _ticks(horizon: float, place: Callable[[float], float]) -> list[Tick]:
    return [_tick(place(moment), label) for moment, label in ticks(horizon, 6)]


def _tick(x: float, label: str) -> Tick:
    return Tick(x, label, "start" if x < 30 else "end" if x > 970 else "middle")


def _decades(low: float, high: float, place: Callable[[float], float]) -> list[Tick]:
    digits = (1,) if high / low > 1e5 else (1, 3) if high / low > 100 else (1, 2, 5)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    moments = [digit * 10.0**power for power in powers for digit in digits]
    return [_tick(place(moment), duration_words(moment)) for moment in moments if low * 0.93 <= moment <= high * 1.07]


def duration_words(seconds: float) -> str:
    """Return a round time, as it stands at a tick."""
    for unit, per in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= per * 0.9999:
            return f"{seconds / per:g} {unit}"
    return f"{seconds / 1e-6:g} µs"
