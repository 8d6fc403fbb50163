"""The report's timeline as coordinates for a template to draw: one band a run, on one scale of time.

Turns the rows of runs into places and computes no figure. Across, places are thousandths of the width; down, they
are pixels. However many requests there are, what is returned stays small.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from taskdemo_cli.documents.types import BystanderRow, RequestRow, RunDocument, TaskRow
from taskdemo_cli.reports.html.concurrency import HALF, Crowd, areas
from taskdemo_cli.reports.html.scales import Moments, Tick

LARGE: Final = 40
"""Up to so many requests have a lane with a dot and a figure of its own; more have thin lanes."""
EACH: Final = 2000
"""Up to so many requests are drawn one by one; of more, it is drawn how many waited and ran at each moment."""
LANE: Final = 18.0
BAND: Final = 160.0
"""Pixels that thin lanes share."""
VISIBLE: Final = 8
"""Thousandths from which on one sees that the bystander waited."""
HELD_UP_S: Final = 0.1
"""A bystander who waited for so long was held up, however little of the picture that is."""
MARGIN: Final = 1.01
"""Room after the last moment."""
TROUBLE: Final = frozenset({"failed", "cancelled", "lost"})


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
    request: RequestRow
    task: TaskRow | None


@dataclass(slots=True)
class Band:
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


@dataclass(frozen=True, slots=True)
class Picture:
    """All bands on one scale: `lanes`, or `paths` for thin lanes, or `areas`, as `drawn` says."""

    drawn: str
    ticks: list[Tick]
    bands: list[Band]
    kinds: frozenset[str]
    """What is drawn of lanes, for the legend."""


class Timeline:
    """All bands on one scale. It must see every request with its task before it is drawn."""

    def __init__(self, runs: Sequence[RunDocument]) -> None:
        self._runs = [run for run in runs if len(run.requests)]
        most = max((len(run.requests) for run in self._runs), default=0)
        self.drawn = "lanes" if most <= LARGE else "paths" if most <= EACH else "areas"
        self._crowds = [Crowd(_horizon(self._runs)) for _ in self._runs]
        self._pairs: list[list[tuple[RequestRow, TaskRow | None]]] = [[] for _ in self._runs]

    def watcher(self, run: RunDocument) -> Callable[[RequestRow | None, TaskRow | None], None] | None:
        """Return what must see the rows of this run, if it is to be drawn."""
        at = next((at for at, own in enumerate(self._runs) if own is run), None)
        if at is None:
            return None
        if self.drawn == "areas":
            return self._crowds[at].see
        pairs = self._pairs[at]
        return lambda request, task: None if request is None else pairs.append((request, task))

    def draw(self) -> Picture | None:
        """Return the picture; None where no request was sent."""
        if not self._runs:
            return None
        if self.drawn == "areas":
            scale = Moments(_horizon(self._runs))
            bands = [
                Band(run, height=2 * HALF, paths=paths, peaks=peaks)
                for run, (paths, peaks) in zip(self._runs, areas(self._crowds), strict=True)
            ]
        else:
            scale = Moments(
                max(_horizon(self._runs), *(_last(pair) * MARGIN for pairs in self._pairs for pair in pairs))
            )
            bands = [_band(run, pairs, scale, self.drawn) for run, pairs in zip(self._runs, self._pairs, strict=True)]
        for band in bands:
            band.pings, band.ping_waits = _pings(band.run.bystander, scale)
        return Picture(self.drawn, scale.ticks(), bands, frozenset(kind for band in bands for kind in _kinds(band)))


def _kinds(band: Band) -> Iterator[str]:
    yield from (kind for kind, _ in band.paths)
    for lane in band.lanes:
        yield from (span.kind for span in lane.spans)
        yield "answered" if lane.ok else "trouble"
        if lane.trouble is not None:
            yield "trouble"
        if lane.open:
            yield "open"


def _horizon(runs: Iterable[RunDocument]) -> float:
    """Return the last second that is drawn, as the summaries have it, with some room after it."""
    moments = [1e-6]
    for run in runs:
        moments += [run.summary.wall_s or 0.0, run.summary.tasks.last_ended_s or 0.0]
        moments += [ping.done_s for ping in run.bystander if ping.done_s is not None]
    return max(moments) * MARGIN


def _last(pair: tuple[RequestRow, TaskRow | None]) -> float:
    """Return the last moment that is known of a request and its task."""
    request, task = pair
    moments = [request.sent_s, request.done_s]
    moments += [task.started_s, task.ended_s] if task else []
    return max((moment for moment in moments if moment is not None), default=0.0)


def _band(run: RunDocument, pairs: Sequence[tuple[RequestRow, TaskRow | None]], scale: Moments, drawn: str) -> Band:
    """Return the picture of one run, its requests in an order that shows a queue as stairs."""
    together = max(map(_last, pairs), default=0.0) / 50 or 1.0
    ordered = sorted(pairs, key=lambda pair: (round((pair[0].sent_s or 0.0) / together), _last(pair), pair[0].n))
    high = LANE if drawn == "lanes" else min(LANE, BAND / len(ordered))
    lanes = [_lane(run, request, task, scale, round(place * high, 2)) for place, (request, task) in enumerate(ordered)]
    height = round(high * len(ordered), 1)
    return Band(run, height, lanes) if drawn == "lanes" else Band(run, height, paths=list(_paths(lanes, high)))


def _lane(run: RunDocument, request: RequestRow, task: TaskRow | None, scale: Moments, top: float) -> Lane:
    sent, done = request.sent_s, request.done_s
    started, ended = (task.started_s, task.ended_s) if task else (None, None)
    state = task.state if task else None
    ok = request.error is None and done is not None
    if sent is None:
        return Lane(top, [], None, False, None, False, request, task)
    answered = done if done is not None else sent
    still = max(run.summary.wall_s or 0.0, answered, started or 0.0)
    spans = [_span(scale, "wait", sent, answered)]
    if started is not None:
        until = ended if ended is not None else still if state == "started" else max(started, answered)
        if started > answered:
            spans.append(_span(scale, "queue", answered, started))
        if started < answered:
            spans.append(_span(scale, "held", started, min(until, answered)))
        if until > answered:
            spans.append(_span(scale, "free", max(started, answered), until))
    elif task:
        spans.append(_span(scale, "queue", answered, ended if ended is not None else still))
    trouble = (ended if ended is not None else max(answered, started or 0.0)) if state in TROUBLE else None
    return Lane(
        top,
        [span for span in spans if span.width > 0 or span.kind in {"free", "held"}],
        scale.x(answered),
        ok,
        None if trouble is None else scale.x(trouble),
        state in {"accepted", "started"},
        request,
        task,
    )


def _span(scale: Moments, kind: str, start_s: float, end_s: float) -> Span:
    x = scale.x(start_s)
    return Span(kind, x, round(scale.x(end_s) - x, 1))


def _paths(lanes: Iterable[Lane], high: float) -> Iterator[tuple[str, str]]:
    """Yield every kind of span as one path of a rectangle a request: the strokes of a picture that can be stretched."""
    of: dict[str, list[str]] = {kind: [] for kind in ("wait", "queue", "held", "free", "answered", "trouble")}
    height = f"{max(high, 0.1):.2f}"
    for lane in lanes:
        top = f"{lane.top:.2f}"
        for span in lane.spans:
            of[span.kind].append(f"M{span.x:g} {top}h{max(span.width, 0.5):g}v{height}H{span.x:g}z")
        if lane.answered is not None:
            of["answered" if lane.ok else "trouble"].append(f"M{lane.answered:g} {top}v{height}")
        if lane.trouble is not None:
            of["trouble"].append(f"M{lane.trouble:g} {top}v{height}")
    return ((kind, "".join(parts)) for kind, parts in of.items() if parts)


def _pings(pings: Iterable[BystanderRow], scale: Moments) -> tuple[str, str]:
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
