"""The timeline of more requests than there is room for: how many callers waited and how many tasks ran at each moment.

Counts intervals in columns of time and computes no figure; every request and every task is in the picture.
"""

import math
from collections.abc import Sequence
from typing import Final

from taskdemo_cli.documents.run import RunDocument
from taskdemo_cli.recording.tasks import UNENDED
from taskdemo_cli.reports.html.scales import WIDE
from taskdemo_cli.stats import Occupancy

HALF: Final = 70.0
"""Pixels for the callers who wait, above the line, and as many for the tasks below it."""
COLUMNS: Final = 500


def _levels(run: RunDocument, horizon_s: float) -> tuple[list[float], list[float], list[float]]:
    """Return how many callers wait, tasks run, and tasks run or are queued, in each column.

    What had not ended when nobody looked any more lasts to the end.
    """
    waiting, queued, running = (Occupancy(horizon_s, COLUMNS) for _ in range(3))
    for request in run.requests:
        waiting.add(request.sent_s, request.done_s)
    for task in run.tasks:
        started, ended = task.started_s, task.ended_s
        if ended is None and task.state in UNENDED:
            ended = horizon_s
        queued.add(task.accepted_s, started if started is not None else ended)
        running.add(started, ended)
    work = running.levels()
    return waiting.levels(), work, [sum(both) for both in zip(work, queued.levels(), strict=True)]


def concurrency_paths(
    runs: Sequence[RunDocument], horizon_s: float
) -> list[tuple[list[tuple[str, str]], list[tuple[float, str]]]]:
    """Return, for each run, its paths with their kind, and its ticks up and down: pixels from the top, and a label.

    The highest level of all runs is as high as there is room, so that heights can be compared between them.
    """
    every = [_levels(run, horizon_s) for run in runs]
    most_waiting = max((max(waiting) for waiting, _, _ in every), default=0.0)
    most_tasks = max((max(tasks) for _, _, tasks in every), default=0.0)
    up, down = HALF / (most_waiting or 1.0), HALF / (most_tasks or 1.0)
    peaks = [
        (HALF - _round_below(most_waiting) * up, f"{_round_below(most_waiting):,.0f} wait"),
        (HALF + _round_below(most_tasks) * down, f"{_round_below(most_tasks):,.0f} tasks"),
    ]
    shown = [peak for peak, most in zip(peaks, (most_waiting, most_tasks), strict=True) if most >= 1]
    return [
        ([("wait", _area(waiting, -up)), ("queue", _area(tasks, down)), ("free", _area(running, down))], shown)
        for waiting, running, tasks in every
    ]


def _area(levels: Sequence[float], pixels_each: float) -> str:
    """Return the path of the area between the middle line and these levels, in steps; equal neighbours are one."""
    parts, last = [f"M0 {HALF:g}"], HALF
    for column, level in enumerate(levels):
        y = round(HALF + level * pixels_each, 1)
        if y != last:
            parts.append(f"H{column * WIDE / COLUMNS:g}V{y:g}")
            last = y
    return "".join(parts) + f"H{WIDE}V{HALF:g}z"


def _round_below(most: float) -> float:
    """Return the greatest of 1, 2, 5, 10, 20, ... that is not above `most`."""
    if most < 1:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return next(digit * power for digit in (5, 2, 1) if digit * power <= most)
