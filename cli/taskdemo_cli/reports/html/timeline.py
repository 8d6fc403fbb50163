"""The report's timeline as coordinates for a template to draw: one chart per run, on one scale of time.

Turns the rows of runs into places and computes no figure. Across, places are thousandths of the width; down, they
are pixels. However many requests there are, what is returned stays small.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from taskdemo_cli.documents.pairing import pairs
from taskdemo_cli.documents.run import BystanderRow, RequestRow, RunDocument, TaskRow
from taskdemo_cli.recording.tasks import UNENDED
from taskdemo_cli.reports.scales import WIDE, Scale, moments, round_numbers
from taskdemo_cli.reports.timeline import Bar, last_moment, stairs_key
from taskdemo_cli.stats import Occupancy
from taskdemo_server.contract.drawing import HELD_UP_S, LANE

LARGE: Final = 40
"""Up to so many requests have a lane with a dot and a figure of its own; more have thin lanes."""
EACH: Final = 2000
"""Up to so many requests are drawn one by one; of more, it is drawn how many waited and ran at each moment."""
HIGHEST: Final = 160.0
"""Pixels that thin lanes share."""
HALF: Final = 70.0
"""Pixels for the callers who wait, above the middle line, and as many for the tasks below it."""
COLUMNS: Final = 500
"""Across, for which it is counted how many waited and ran."""
VISIBLE: Final = 8
"""Thousandths from which on one sees that the bystander waited."""
MARGIN: Final = 1.01
"""Room after the last moment."""


Span: TypeAlias = tuple[str, float, float]
"""A time: of which kind, as the style sheet knows it, from where, and how many thousandths long."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One request with its task."""

    top: float
    spans: list[Span]
    answered: float | None
    ok: bool
    trouble: float | None
    """Where its task failed, was cancelled or got lost."""
    open: bool
    """Whether its task had not ended when nobody looked any more."""
    request: RequestRow
    task: TaskRow | None


@dataclass(slots=True)
class Chart:
    """The picture of one run: lanes, or paths that are stretched across."""

    run: RunDocument
    height: float
    lanes: list[Lane] = field(default_factory=list)
    paths: list[tuple[str, str]] = field(default_factory=list)
    """Kind and path."""
    peaks: list[tuple[float, str]] = field(default_factory=list)
    """Ticks of the areas' upright scale: pixels from the top and label."""
    pings: str = ""
    """A path of a dot for each call of the bystander."""
    ping_waits: str = ""


def draw(every_run: Sequence[RunDocument]) -> dict[str, Any] | None:
    """Return the charts of these runs on one scale; None where no request was sent.

    They hold lanes, or paths for thin lanes, or areas, as `drawn` says; `kinds` are what is drawn of lanes, for the
    legend.
    """
    runs = [run for run in every_run if len(run.requests)]
    if not runs:
        return None
    most = max(len(run.requests) for run in runs)
    drawn = "lanes" if most <= LARGE else "paths" if most <= EACH else "areas"
    last = max(map(last_moment, runs))
    if drawn == "areas":
        scale = moments(last * MARGIN)
        charts = list(_areas(runs, last * MARGIN))
    else:
        found = [[(Bar.of(*pair), *pair) for pair in pairs(run)] for run in runs]
        scale = moments(max(last, *(bar.last for each in found for bar, _, _ in each if bar)) * MARGIN)
        charts = [_chart(run, each, scale, drawn) for run, each in zip(runs, found, strict=True)]
    for chart in charts:
        chart.pings, chart.ping_waits = _pings(chart.run.bystander, scale)
    kinds = {kind for chart in charts for kind in _kinds(chart)}
    return {"drawn": drawn, "ticks": scale.ticks, "charts": charts, "kinds": kinds}


def _kinds(chart: Chart) -> Iterator[str]:
    yield from (kind for kind, _ in chart.paths)
    for lane in chart.lanes:
        yield from (kind for kind, _, _ in lane.spans)
        yield "answered" if lane.ok else "trouble"
        if lane.trouble is not None:
            yield "trouble"
        if lane.open:
            yield "open"


Requested: TypeAlias = tuple[Bar | None, RequestRow, TaskRow | None]


def _chart(run: RunDocument, requested: Sequence[Requested], scale: Scale, drawn: str) -> Chart:
    """Return the picture of one run, its requests in an order that shows a queue as stairs."""
    key = stairs_key(bar for bar, _, _ in requested if bar)
    ordered = sorted(requested, key=lambda one: key(one[0]) if one[0] else (0, 0.0, one[1].n))
    high = LANE if drawn == "lanes" else min(LANE, HIGHEST / len(ordered))
    lanes = [_lane(run, *one, scale, round(place * high, 2)) for place, one in enumerate(ordered)]
    height = round(high * len(ordered), 1)
    return Chart(run, height, lanes) if drawn == "lanes" else Chart(run, height, paths=list(_paths(lanes, high)))


def _lane(
    run: RunDocument, bar: Bar | None, request: RequestRow, task: TaskRow | None, scale: Scale, top: float
) -> Lane:
    if bar is None:
        return Lane(top, [], None, False, None, False, request, task)
    until_s = last_moment(run)
    ends = [(kind, scale.x(start_s), scale.x(end_s)) for kind, start_s, end_s in bar.spans(until_s)]
    spans: list[Span] = [(kind, start, round(end - start, 1)) for kind, start, end in ends]
    trouble = bar.trouble(until_s)
    return Lane(
        top,
        [(kind, x, width) for kind, x, width in spans if width > 0 or kind in {"free", "held"}],
        scale.x(bar.answer(until_s)),
        bar.ok,
        None if trouble is None else scale.x(trouble),
        bar.is_open,
        request,
        task,
    )


def _paths(lanes: Iterable[Lane], high: float) -> Iterator[tuple[str, str]]:
    """Yield every kind of span as one path with a rectangle per request: strokes of a picture that can be stretched."""
    of: dict[str, list[str]] = {kind: [] for kind in ("wait", "queue", "held", "free", "answered", "trouble")}
    height = f"{max(high, 0.1):.2f}"
    for lane in lanes:
        top = f"{lane.top:.2f}"
        for kind, x, width in lane.spans:
            of[kind].append(f"M{x:g} {top}h{max(width, 0.5):g}v{height}H{x:g}z")
        if lane.answered is not None:
            of["answered" if lane.ok else "trouble"].append(f"M{lane.answered:g} {top}v{height}")
        if lane.trouble is not None:
            of["trouble"].append(f"M{lane.trouble:g} {top}v{height}")
    return ((kind, "".join(parts)) for kind, parts in of.items() if parts)


def _pings(pings: Iterable[BystanderRow], scale: Scale) -> tuple[str, str]:
    """Return a path of dots where the bystander called, and one of the times that it was kept waiting."""
    dots: dict[float, None] = {}
    waits: list[tuple[float, float]] = []
    for ping in pings:
        sent, done = ping.sent_s, ping.done_s
        if sent is None:
            continue
        start, end = scale.x(sent), scale.x(done if done is not None else sent)
        if done is not None and (done - sent >= HELD_UP_S or end - start >= VISIBLE):
            waits.append((start, max(end, start + 1)))
        else:
            dots[start] = None
    merged: list[list[float]] = []
    for start, end in sorted(waits):
        if merged and start <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], end)
        else:
            merged.append([start, end])
    return "".join(f"M{x:g} 7h0" for x in dots), "".join(f"M{start:g} 7H{end:g}" for start, end in merged)


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


def _areas(runs: Sequence[RunDocument], horizon_s: float) -> Iterator[Chart]:
    """Yield the pictures of runs as areas.

    The highest level of all runs is as high as there is room, so that heights can be compared between them.
    """
    every = [_levels(run, horizon_s) for run in runs]
    most_waiting = max(max(waiting) for waiting, _, _ in every)
    most_tasks = max(max(tasks) for _, _, tasks in every)
    up, down = -HALF / (most_waiting or 1.0), HALF / (most_tasks or 1.0)
    peaks = [
        (HALF + level * pixels_each, f"{level:,.0f} {what}")
        for most, pixels_each, what in ((most_waiting, up, "wait"), (most_tasks, down, "tasks"))
        if most >= 1
        for level in round_numbers(most / 3, most)[-1:]
    ]
    for run, (waiting, running, tasks) in zip(runs, every, strict=True):
        paths = [("wait", _area(waiting, up)), ("queue", _area(tasks, down)), ("free", _area(running, down))]
        yield Chart(run, 2 * HALF, paths=paths, peaks=peaks)


def _area(levels: Sequence[float], pixels_each: float) -> str:
    """Return the path of the area between the middle line and these levels, in steps; equal neighbours are one."""
    parts, last = [f"M0 {HALF:g}"], HALF
    for column, level in enumerate(levels):
        y = round(HALF + level * pixels_each, 1)
        if y != last:
            parts.append(f"H{column * WIDE / COLUMNS:g}V{y:g}")
            last = y
    return "".join(parts) + f"H{WIDE}V{HALF:g}z"
