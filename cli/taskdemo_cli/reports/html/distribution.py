"""The distribution of response times as coordinates for a template: dots, or bars if there are many."""

from collections.abc import Sequence
from typing import Any, Final

from taskdemo_cli.documents.run import RunDocument
from taskdemo_cli.reports.scales import WIDE, Scale, durations

BINS: Final = 125
DOTS: Final = 9
"""The most dots in a column; if any column had more, bars are drawn."""
DOT: Final = 5.5
"""Pixels from one dot to the next in a column."""
PLOT: Final = 56.0
"""Height of a distribution, in pixels."""


def draw(groups: Sequence[Sequence[RunDocument]]) -> dict[str, Any] | None:
    """Return the response times of groups of runs, all on one scale; None if nothing was answered."""
    answered = [runs for group in groups if (runs := [run for run in group if run.summary.response_s])]
    every = [[times for run in runs if (times := run.summary.response_s)] for runs in answered]
    if not answered:
        return None
    scale = durations(
        min(times.min for group in every for times in group), max(times.max for group in every for times in group)
    )
    counts = [_counts(runs, scale) for runs in answered]
    has_dots = max(map(max, counts)) <= DOTS
    modes = [
        {
            "runs": runs,
            "dots": _dots(columns) if has_dots else [],
            "path": "" if has_dots else _bars(columns),
            "medians": [scale.x(times.p50) for times in statistics],
            "worst": [scale.x(times.max) for times in statistics],
        }
        for runs, columns, statistics in zip(answered, counts, every, strict=True)
    ]
    return {"ticks": scale.ticks, "modes": modes, "logarithmic": scale.logarithmic}


def _counts(runs: Sequence[RunDocument], scale: Scale) -> list[int]:
    counts = [0] * BINS
    for run in runs:
        for request in run.requests:
            if request.response_s is not None and request.error is None:  # as in the summary
                counts[min(int(scale.x(request.response_s) * BINS / WIDE), BINS - 1)] += 1
    return counts


def _dots(counts: Sequence[int]) -> list[tuple[float, float]]:
    step = WIDE / BINS
    return [
        (round((column + 0.5) * step, 1), PLOT - 4 - DOT * up)
        for column, count in enumerate(counts)
        for up in range(count)
    ]


def _bars(counts: Sequence[int]) -> str:
    """Return a path with a bar per column; the highest fills the height, the others have at least one pixel."""
    step, tall = WIDE / BINS, (PLOT - 4) / max(*counts, 1)
    return "".join(
        f"M{column * step:g} {PLOT:g}v{-max(count * tall, 1):.1f}h{step:g}V{PLOT:g}z"
        for column, count in enumerate(counts)
        if count
    )
