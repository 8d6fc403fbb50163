"""The capacity of each mode as coordinates for a template: its limit, and its steps as curves against the rate.

All modes share one logarithmic scale of rates. Maps figures to positions and computes none.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from taskdemo_cli.documents.capacity import CapacityDocument, CapacityStep
from taskdemo_cli.reports.scales import WIDE, Scale, duration_words, rates
from taskdemo_cli.units import format_count

TALL: Final = 90.0
"""Height of a mode's curves of times, and of backlogs, in pixels."""
MARGIN: Final = 8.0
"""Pixels of space above and below a curve."""


def draw(document: CapacityDocument) -> dict[str, Any] | None:
    """Return where each mode's bars end, and its curves; None if nothing was measured."""
    modes = document.modes
    steps = [step for found in modes.values() for step in found.steps]
    if not steps:
        return None
    told = [step.rate for step in steps] + [found.expected_per_s for found in modes.values() if found.expected_per_s]
    scale = rates(min(told), max(told))
    times = [value for step in steps for value in (_response(step), _completion(step)) if value]
    times_up = _upright(times, duration_words)
    sizes_up = _upright(list(map(_size, steps)), partial(format_count, noun="request"))
    limits = [
        {
            "name": name,
            "found": found,
            "sustained": scale.x(found.sustained_per_s or 0.0),
            "failed": scale.x(found.failed_at_per_s or found.sustained_per_s or 0.0),
            "expected": scale.x(found.expected_per_s) if found.expected_per_s else None,
            "times": [
                ("answers", _curve(found.steps, _response, scale, times_up)),
                ("completions", _curve(found.steps, _completion, scale, times_up)),
            ],
            "backlog": ("backlog", _curve(found.steps, _size, scale, sizes_up)),
        }
        for name, found in modes.items()
    ]
    time_levels, backlog_levels = ([(_height(x), label) for x, label, _ in up.ticks] for up in (times_up, sizes_up))
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
    across: Scale,
    up: Scale,
) -> list[tuple[float, float, bool]]:
    """Return a curve's points: x in thousandths of the width, y in pixels, and whether the rate was sustained."""
    last = {step.rate: step for step in steps}
    return [
        (across.x(rate), _height(up.x(value)), last[rate].sustained)
        for rate in sorted(last)
        if (value := figure(last[rate])) is not None
    ]


def _upright(values: Sequence[float], words: Callable[[float], str]) -> Scale:
    """Return a logarithmic scale of these values, with some powers of ten as ticks."""
    low = math.floor(math.log10(max(min(values, default=1.0), 1e-6)))
    high = max(math.ceil(math.log10(max(max(values, default=10.0), 1e-6))), low + 1)
    powers = [10.0**power for power in range(low, high + 1, math.ceil((high - low) / 3))]
    return Scale(10.0**low, 10.0**high, [(power, words(power)) for power in powers], logarithmic=True)


def _height(x: float) -> float:
    """Return a position on an upright scale in pixels from the top."""
    return round(TALL - MARGIN - x / WIDE * (TALL - 2 * MARGIN), 1)
