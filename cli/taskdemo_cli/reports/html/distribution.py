"""The report's distribution of response times as coordinates for a template to draw: dots, or bars where they are many.

Turns response times into places on one scale and computes no figure.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from taskdemo_cli.documents.types import RequestRow, RunDocument, TaskRow
from taskdemo_cli.reports.html.scales import WIDE, Durations, Tick

BINS: Final = 125
DOTS: Final = 9
"""Up to so many dots stand on each other; where more would, bars are drawn."""
DOT: Final = 5.5
"""Pixels from one dot to the next above it."""
PLOT: Final = 56.0
"""Pixels of a distribution."""


@dataclass(frozen=True, slots=True)
class Spread:
    """The response times of one mode, in all its runs."""

    runs: Sequence[RunDocument]
    dots: list[tuple[float, float]]
    path: str
    """Of the bars, stretched across, where there are no dots."""
    medians: list[float]
    worst: list[float]


@dataclass(frozen=True, slots=True)
class Picture:
    """All modes' response times on one scale."""

    ticks: list[Tick]
    spreads: list[Spread]
    logarithmic: bool


class Distribution:
    """The response times of groups of runs. It must see every request before it is drawn."""

    def __init__(self, groups: Sequence[Sequence[RunDocument]]) -> None:
        measured = [[run for run in runs if run.summary.response_s] for runs in groups]
        self._groups = [(runs, [0] * BINS) for runs in measured if runs]
        every = [times for runs, _ in self._groups for run in runs if (times := run.summary.response_s)]
        self._scale = Durations(
            min((times.min for times in every), default=0.0), max((times.max for times in every), default=0.0)
        )

    def watcher(self, run: RunDocument) -> Callable[[RequestRow | None, TaskRow | None], None] | None:
        """Return what must see the rows of this run, if they are to be drawn."""
        counts = next((counts for runs, counts in self._groups if any(own is run for own in runs)), None)
        if counts is None:
            return None
        place, bins = self._scale.x, BINS / WIDE

        def see(request: RequestRow | None, _: TaskRow | None) -> None:
            if request is not None and request.response_s is not None:
                counts[min(int(place(request.response_s) * bins), BINS - 1)] += 1

        return see

    def draw(self) -> Picture | None:
        """Return the picture; None where nothing was answered."""
        if not self._groups:
            return None
        most = max(max(counts) for _, counts in self._groups)
        spreads = []
        for runs, counts in self._groups:
            statistics = [times for run in runs if (times := run.summary.response_s)]
            spreads.append(
                Spread(
                    runs,
                    _dots(counts) if most <= DOTS else [],
                    _bars(counts) if most > DOTS else "",
                    [self._scale.x(times.p50) for times in statistics],
                    [self._scale.x(times.max) for times in statistics],
                )
            )
        return Picture(self._scale.ticks(), spreads, self._scale.logarithmic)


def _dots(counts: Sequence[int]) -> list[tuple[float, float]]:
    step = WIDE / BINS
    return [
        (round((column + 0.5) * step, 1), PLOT - 4 - DOT * up)
        for column, count in enumerate(counts)
        for up in range(count)
    ]


def _bars(counts: Sequence[int]) -> str:
    """Return the path of a bar a column, the highest as high as there is room, the others at least a hair."""
    step, tall = WIDE / BINS, (PLOT - 4) / max(*counts, 1)
    return "".join(
        f"M{column * step:g} {PLOT:g}v{-max(count * tall, 1):.1f}h{step:g}V{PLOT:g}z"
        for column, count in enumerate(counts)
        if count
    )
