"""How much each mode takes, as coordinates for a template to draw: its limit, and its steps as curves against the rate.

Everything is on one logarithmic scale of rates. Turns figures into places and computes none.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from taskdemo_cli.documents.capacity import CapacityDocument, CapacityStep
from taskdemo_cli.reports.scales import Scale, duration_words, rates
from taskdemo_cli.units import format_count

TALL: Final = 90.0
"""Pixels of a mode's times, and of its backlogs."""
MARGIN: Final = 8.0
"""Pixels that stay free above and below a curve."""


def draw(document: CapacityDocument) -> dict[str, Any] | None:
    """Return the picture: of each mode where its bars end, and its curves; None where nothing was measured."""
    modes = document.modes
    steps = [step for found in modes.values() for step in found.steps]
    if not steps:
        return None
    told = [step.rate for step in steps] + [found.expected_per_s for found in modes.values() if found.expected_per_s]
    scale = rates(min(told), max(told))
    times = [value for step in steps for value in (_response(step), _completion(step)) if value]
    height_of_time, time_levels = _heights(times, duration_words)
    height_of_size, backlog_levels = _heights(list(map(_size, steps)), partial(format_count, noun="request"))
    limits = [
        {
            "name": name,
            "found": found,
            "sustained": scale.x(found.sustained_per_s or 0.0),
            "failed": scale.x(found.failed_at_per_s or found.sustained_per_s or 0.0),
            "expected": scale.x(found.expected_per_s) if found.expected_per_s else None,
            "times": [
                ("answers", _curve(found.steps, _response, scale, height_of_time)),
                ("completions", _curve(found.steps, _completion, scale, height_of_time)),
            ],
            "backlog": ("backlog", _curve(found.steps, _size, scale, height_of_size)),
        }
        for name, found in modes.items()
    ]
    return {"ticks": scale.ticks, "time_levels": time_levels, "backlog_levels": backlog_levels, "limits": limits}


def _response(step: CapacityStep) -> float | None:
    return step.response_s.p50 if step.response_s else None


def _completion(step: CapacityStep) -> float | None:
    return step.completion_s.p50 if step.completion_s else None


def _size(step: CapacityStep) -> float:
    return max(step.backlog, 1.0)


def _curve(
    steps: Sequence[CapacityStep],
    figure: Callable[[CapacityStep], float | None],
    scale: Scale,
    height: Callable[[float], float],
) -> list[tuple[float, float, bool]]:
    """Return a figure against the rate: thousandths across, pixels from the top, and whether it was sustained."""
    last = {step.rate: step for step in steps}
    return [
        (scale.x(rate), height(value), last[rate].sustained)
        for rate in sorted(last)
        if (value := figure(last[rate])) is not None
    ]


def _heights(
    values: Sequence[float], words: Callable[[float], str]
) -> tuple[Callable[[float], float], list[tuple[float, str]]]:
    """Return where a value stands on a logarithmic scale of these, in pixels from the top, and its powers of ten."""
    low = math.floor(math.log10(max(min(values, default=1.0), 1e-6)))
    high = max(math.ceil(math.log10(max(max(values, default=10.0), 1e-6))), low + 1)

    def height(value: float) -> float:
        share = (math.log10(max(value, 1e-6)) - low) / (high - low)
        return round(TALL - MARGIN - min(max(share, 0.0), 1.0) * (TALL - 2 * MARGIN), 1)

    apart = max(math.ceil((high - low) / 3), 1)
    return height, [(height(10.0**power), words(10.0**power)) for power in range(low, high + 1, apart)]
