"""The report's pictures as coordinates: the timeline and the distribution of response times, for a template to draw.

Turns the rows of runs into places on a shared scale and computes no figure. Across, places are thousandths of the
picture's width; down, they are pixels. However many rows there are, what is returned stays small.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

WIDE: Final = 1000
"""Thousandths across a picture."""
LARGE: Final = 40
"""Up to so many requests have a lane with a dot and a figure of its own; more have thin lanes."""
EACH: Final = 2000
"""Up to so many requests are drawn one by one; of more, it is drawn how many waited and ran at each moment."""
LANE: Final = 18.0
BAND: Final = 300.0
"""Pixels that thin lanes share."""
HALF: Final = 70.0
"""Pixels for the callers who wait, above the line, and as many for the work that nobody waits for, below it."""
COLUMNS: Final = 500
BINS: Final = 125
DOTS: Final = 9
"""Up to so many dots stand on each other; where more would, bars are drawn."""
PLOT: Final = 56.0
"""Pixels of a distribution."""
LOGARITHMIC_FROM: Final = 20
"""A longest time of so many times the shortest makes the scale logarithmic."""
STEPS: Final = (
    *(digit * 10.0**power for power in range(-6, 2) for digit in (1, 2, 5)),
    *(60.0 * minutes for minutes in (1, 2, 5, 10, 15, 30)),
    *(3600.0 * hours for hours in (1, 2, 6, 12, 24, 24 * 7, 24 * 28, 24 * 365)),
)
TROUBLE: Final = frozenset({"failed", "cancelled", "lost"})


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on a scale, and what stands there."""

    x: float
    label: str
    anchor: str


@dataclass(frozen=True, slots=True)
class Span:
    """A time from `x`, `width` thousandths long, of a kind that the style sheet knows."""

    kind: str
    x: float
    width: float


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
    request: Mapping[str, Any]
    task: Mapping[str, Any] | None


@dataclass(slots=True)
class Band:
    """The picture of one run: lanes, or thin lanes as one path a kind, or areas; `drawn` says which."""

    run: Mapping[str, Any]
    drawn: str
    height: float = 0.0
    lane: float = LANE
    lanes: list[Lane] = field(default_factory=list)
    paths: list[tuple[str, str]] = field(default_factory=list)
    """Kind and path, stretched across."""
    peaks: list[tuple[float, str]] = field(default_factory=list)
    """Ticks of the areas' upright scale: pixels from the top and label."""
    pings: str = ""
    """A path of a dash for each call of the bystander."""
    ping_waits: str = ""


@dataclass(frozen=True, slots=True)
class Timeline:
    """All bands on one scale."""

    ticks: list[Tick]
    bands: list[Band]


@dataclass(frozen=True, slots=True)
class Spread:
    """The distribution of one mode's response times."""

    runs: list[Mapping[str, Any]]
    dots: list[tuple[float, float]]
    path: str
    medians: list[float]
    worst: list[float]


@dataclass(frozen=True, slots=True)
class Distribution:
    """All modes' response times on one scale."""

    ticks: list[Tick]
    spreads: list[Spread]
    logarithmic: bool


# --- timeline ----------------------------------------------------------------------------------------------


def timeline(runs: Sequence[Mapping[str, Any]]) -> Timeline | None:
    """Return the timeline of these runs; None where no request was sent."""
    sent = [run for run in runs if len(run["requests"])]
    if not sent:
        return None
    horizon = max(max(_ends(run)) for run in sent) * 1.01 or 1e-6
    scale = _Scale(horizon)
    bands = [_band(run, scale) for run in sent]
    areas = [band for band in bands if band.drawn == "areas"]
    _fill_areas(areas, [_levels(band.run, scale) for band in areas])
    return Timeline(_ticks(horizon, scale.x), bands)


class _Scale:
    """Seconds of the run to thousandths of the width."""

    def __init__(self, horizon_s: float) -> None:
        self.horizon_s = horizon_s

    def x(self, moment_s: float) -> float:
        return round(min(max(moment_s / self.horizon_s, 0.0), 1.0) * WIDE, 1)

    def span(self, kind: str, start_s: float, end_s: float) -> Span:
        x = self.x(start_s)
        return Span(kind, x, round(self.x(end_s) - x, 1))


def _ends(run: Mapping[str, Any]) -> Iterator[float]:
    """Yield moments of which the last one is the last of the run."""
    yield run["summary"]["wall_s"] or 0.0
    yield run["summary"]["tasks"]["last_ended_s"] or 0.0
    yield from (ping["done_s"] for ping in run["bystander"] if ping["done_s"] is not None)
    if len(run["requests"]) <= EACH:
        rows: list[tuple[Sequence[Mapping[str, Any]], tuple[str, ...]]] = [
            (run["requests"], ("sent_s", "done_s")),
            (run["tasks"][: 2 * EACH], ("started_s", "ended_s")),
        ]
        yield from (row[name] for several, names in rows for row in several for name in names if row[name] is not None)


def _ticks(horizon: float, place: Callable[[float], float]) -> list[Tick]:
    step = next((step for step in STEPS if horizon / step <= 6), STEPS[-1])
    moments = [index * step for index in range(int(horizon / step * (1 + 1e-9)) + 1)]
    unit, per = next(
        (unit, per)
        for unit, per, least in (
            ("h", 3600.0, 3600.0),
            ("min", 60.0, 60.0),
            ("s", 1.0, 0.2),
            ("ms", 1e-3, 2e-4),
            ("µs", 1e-6, 0.0),
        )
        if step >= least
    )
    return [_tick(place(moment), f"{moment / per:g} {unit}" if moment else "0") for moment in moments]


def _tick(x: float, label: str) -> Tick:
    return Tick(x, label, "start" if x < 30 else "end" if x > 970 else "middle")


def _band(run: Mapping[str, Any], scale: _Scale) -> Band:
    count = len(run["requests"])
    band = Band(run, "lanes" if count <= LARGE else "paths" if count <= EACH else "areas")
    band.pings, band.ping_waits = _pings(run["bystander"], scale)
    if band.drawn == "areas":
        return band
    band.lane = LANE if count <= LARGE else min(LANE, BAND / count)
    band.height = round(band.lane * count, 1)
    lanes = [_lane(run, request, task, scale) for request, task in _in_order(run)]
    for place, lane in enumerate(lanes):
        lane_top = round(place * band.lane, 2)
        band.lanes.append(
            Lane(lane_top, lane.spans, lane.answered, lane.ok, lane.trouble, lane.open, lane.request, lane.task)
        )
    if band.drawn == "paths":
        band.paths = list(_paths(band))
        band.lanes = []
    return band


def _in_order(run: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], Mapping[str, Any] | None]]:
    """Return requests with their tasks, in an order that shows a queue as stairs."""
    tasks = {task["id"]: task for task in run["tasks"][: 2 * EACH]}
    both = [(request, tasks.get(request["task_id"])) for request in run["requests"]]

    def last(request: Mapping[str, Any], task: Mapping[str, Any] | None) -> float:
        moments = [request["sent_s"], request["done_s"]]
        moments += [task["started_s"], task["ended_s"]] if task else []
        return max((moment for moment in moments if moment is not None), default=0.0)

    together = max((last(*each) for each in both), default=0.0) / 50 or 1.0
    return sorted(both, key=lambda each: (round((each[0]["sent_s"] or 0.0) / together), last(*each), each[0]["n"]))


def _lane(run: Mapping[str, Any], request: Mapping[str, Any], task: Mapping[str, Any] | None, scale: _Scale) -> Lane:
    sent, done = request["sent_s"], request["done_s"]
    started, ended = (task["started_s"], task["ended_s"]) if task else (None, None)
    state = task["state"] if task else None
    ok = request["error"] is None and done is not None
    if sent is None:
        return Lane(0.0, [], None, False, None, False, request, task)
    answered = done if done is not None else sent
    still = max(run["summary"]["wall_s"] or 0.0, answered, started or 0.0)
    spans = [scale.span("wait", sent, answered)]
    if started is not None:
        until = ended if ended is not None else still if state == "started" else max(started, answered)
        if started > answered:
            spans.append(scale.span("queue", answered, started))
        if started < answered:
            spans.append(scale.span("held", started, min(until, answered)))
        if until > answered:
            spans.append(scale.span("free", max(started, answered), until))
    elif task:
        spans.append(scale.span("queue", answered, ended if ended is not None else still))
    trouble = (ended if ended is not None else max(answered, started or 0.0)) if state in TROUBLE else None
    return Lane(
        0.0,
        [span for span in spans if span.width > 0 or span.kind in {"free", "held"}],
        scale.x(answered),
        ok,
        None if trouble is None else scale.x(trouble),
        state in {"accepted", "started"},
        request,
        task,
    )


def _paths(band: Band) -> Iterator[tuple[str, str]]:
    """Yield every kind of span as one path of a rectangle a request: the strokes of a picture that can be stretched."""
    of: dict[str, list[str]] = {kind: [] for kind in ("wait", "queue", "held", "free", "answered", "trouble")}
    height = f"{max(band.lane, 0.1):.2f}"
    for lane in band.lanes:
        top = f"{lane.top:.2f}"
        for span in lane.spans:
            of[span.kind].append(f"M{span.x:g} {top}h{max(span.width, 0.5):g}v{height}H{span.x:g}z")
        if lane.answered is not None:
            of["answered" if lane.ok else "trouble"].append(f"M{lane.answered:g} {top}v{height}")
        if lane.trouble is not None:
            of["trouble"].append(f"M{lane.trouble:g} {top}v{height}")
    return ((kind, "".join(parts)) for kind, parts in of.items() if parts)


def _pings(pings: Iterable[Mapping[str, Any]], scale: _Scale) -> tuple[str, str]:
    """Return a path of dots where the bystander called, and one of the times that it visibly waited."""
    calls: dict[float, float] = {}
    for ping in pings:
        if ping["sent_s"] is not None:
            x = scale.x(ping["sent_s"])
            calls[x] = max(calls.get(x, 0.0), scale.x(ping["done_s"]) - x if ping["done_s"] is not None else 0.0)
    waits: list[list[float]] = []
    for x, width in sorted(calls.items()):
        if width < 8:
            continue
        if waits and x <= waits[-1][1]:
            waits[-1][1] = max(waits[-1][1], x + width)
        else:
            waits.append([x, x + width])
    dots = "".join(f"M{x:g} 7h0" for x, width in sorted(calls.items()) if width < 8)
    return dots, "".join(f"M{start:g} 7H{end:g}" for start, end in waits)


# --- more requests than lanes ------------------------------------------------------------------------------


class _Occupancy:
    """How many intervals are open in each column of time, on average over the column."""

    def __init__(self, scale: _Scale) -> None:
        self._per_second = COLUMNS / scale.horizon_s
        self._whole = [0.0] * (COLUMNS + 1)
        self._part = [0.0] * (COLUMNS + 1)

    def add(self, start_s: float | None, end_s: float | None) -> None:
        if start_s is not None and end_s is not None and end_s > start_s:
            self._change(start_s, 1)
            self._change(end_s, -1)

    def _change(self, moment_s: float, by: int) -> None:
        at = min(max(moment_s * self._per_second, 0.0), float(COLUMNS))
        column = int(at)
        self._part[column] += by * (column + 1 - at)
        if column < COLUMNS:
            self._whole[column + 1] += by

    def levels(self) -> list[float]:
        levels, open_ = [], 0.0
        for whole, part in zip(self._whole[:COLUMNS], self._part, strict=False):
            open_ += whole
            levels.append(max(open_ + part, 0.0))
        return levels


def _levels(run: Mapping[str, Any], scale: _Scale) -> dict[str, list[float]]:
    """Return how many callers wait, and how many tasks run and are queued, in each column of time."""
    waiting, running, queued = (_Occupancy(scale) for _ in range(3))
    for request in run["requests"]:
        waiting.add(request["sent_s"], request["done_s"])
    for task in run["tasks"]:
        queued.add(task["accepted_s"], task["started_s"])
        running.add(task["started_s"], task["ended_s"])
    return {"wait": waiting.levels(), "free": running.levels(), "queue": queued.levels()}


def _fill_areas(bands: Sequence[Band], levels: Sequence[Mapping[str, Sequence[float]]]) -> None:
    """Draw the levels of all bands, the highest of them as high as there is room."""
    most_waiting = max((max(each["wait"]) for each in levels), default=0.0)
    most_tasks = max((a + b for each in levels for a, b in zip(each["free"], each["queue"], strict=True)), default=0.0)
    up, down = HALF / (most_waiting or 1.0), HALF / (most_tasks or 1.0)
    for band, each in zip(bands, levels, strict=True):
        band.height = 2 * HALF
        stacked = [a + b for a, b in zip(each["free"], each["queue"], strict=True)]
        band.paths = [
            ("wait", _area(each["wait"], -up)),
            ("queue", _area(stacked, down)),
            ("free", _area(each["free"], down)),
        ]
        band.peaks = [
            (HALF - _round_below(most_waiting) * up, f"{_round_below(most_waiting):g} wait"),
            (HALF + _round_below(most_tasks) * down, f"{_round_below(most_tasks):g} tasks"),
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


# --- distribution ------------------------------------------------------------------------------------------


def distribution(groups: Iterable[Sequence[Mapping[str, Any]]]) -> Distribution | None:
    """Return how the response times of each group of runs are spread; None where there are none."""
    measured = [[run for run in runs if run["summary"]["response_s"]] for runs in groups]
    measured = [runs for runs in measured if runs]
    if not measured:
        return None
    every = [run["summary"]["response_s"] for runs in measured for run in runs]
    low = max(min(times["min"] for times in every), 1e-6)
    high = max(*(times["max"] for times in every), low * 1.0001)
    logarithmic = high >= LOGARITHMIC_FROM * low
    start, end = (math.log10(low), math.log10(high)) if logarithmic else (0.0, high)
    margin = (end - start) * 0.03
    start, end = start - (margin if logarithmic else 0.0), end + margin

    def place(seconds: float) -> float:
        value = math.log10(max(seconds, low)) if logarithmic else seconds
        return round(min(max((value - start) / (end - start), 0.0), 1.0) * WIDE, 1)

    ticks = _decades(low, high, place) if logarithmic else _ticks(high, place)
    return Distribution(ticks, [_spread(runs, place) for runs in measured], logarithmic)


def _decades(low: float, high: float, place: Callable[[float], float]) -> list[Tick]:
    digits = (1,) if high / low > 1000 else (1, 3) if high / low > 100 else (1, 2, 5)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    moments = [digit * 10.0**power for power in powers for digit in digits]
    return [_tick(place(moment), _short(moment)) for moment in moments if low * 0.93 <= moment <= high * 1.07]


def _short(seconds: float) -> str:
    for unit, per in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= per * 0.9999:
            return f"{seconds / per:g} {unit}"
    return f"{seconds / 1e-6:g} µs"


def _spread(runs: Sequence[Mapping[str, Any]], place: Callable[[float], float]) -> Spread:
    counts = [0] * BINS
    for run in runs:
        for request in run["requests"]:
            if request["response_s"] is not None:
                counts[min(int(place(request["response_s"]) * BINS / WIDE), BINS - 1)] += 1
    most = max(counts)
    step = WIDE / BINS
    dots: list[tuple[float, float]] = []
    path = ""
    if most <= DOTS:
        dots = [
            (round((column + 0.5) * step, 1), PLOT - 4 - 5.5 * up)
            for column, count in enumerate(counts)
            for up in range(count)
        ]
    else:
        tall = (PLOT - 4) / most
        path = "".join(
            f"M{column * step:g} {PLOT:g}v{-max(count * tall, 1):.1f}h{step:g}V{PLOT:g}z"
            for column, count in enumerate(counts)
            if count
        )
    statistics = [run["summary"]["response_s"] for run in runs]
    return Spread(
        list(runs),
        dots,
        path,
        [place(times["p50"]) for times in statistics],
        [place(times["max"]) for times in statistics],
    )
