"""The report's timeline as coordinates for a template: one chart per run, all on one time scale.

Maps the rows of runs to positions and computes no figure. x is in thousandths of the width, y in pixels.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from taskdemo_cli.documents.run import RequestRow, RunDocument
from taskdemo_cli.reports.scales import WIDE, Scale, moments
from taskdemo_cli.reports.timeline import DRAWN, Bar, last_moment, sample, stairs_key
from taskdemo_server.contract.drawing import HELD_UP_S, LANE

LARGE: Final = 40
"""Up to this many requests each have a lane with a dot and a figure; more have thin lanes."""
HIGHEST: Final = 160.0
"""Pixels that all thin lanes share."""
VISIBLE: Final = 8
"""Thousandths of the width from which a wait of the bystander is visible."""
MARGIN: Final = 1.01
"""Factor that leaves room after the last moment."""


Span: TypeAlias = tuple[str, float, float]
"""Its kind, as in the style sheet, then start and length in thousandths of the width."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One request with its task, and its spans and marks."""

    bar: Bar
    top: float
    spans: list[Span] = field(default_factory=list)
    marks: list[tuple[str, float]] = field(default_factory=list)
    """Kind and position."""


def draw(every_run: Sequence[RunDocument]) -> dict[str, Any] | None:
    """Return the charts of these runs on one scale; None if there was no request.

    `kinds` are the kinds of spans and marks drawn, for the legend; a `sampled` picture leaves requests out.
    """
    runs = [run for run in every_run if len(run.requests)]
    if not runs:
        return None
    most = max(len(run.requests) for run in runs)
    found = list(map(sample, runs))
    last = max(*map(last_moment, runs), *(bar.last for bars in found for bar in bars))
    scale = moments(last * MARGIN)
    charts = [_chart(run, bars, scale, thin=most > LARGE) for run, bars in zip(runs, found, strict=True)]
    kinds = {kind for chart in charts for kind in chart["kinds"]}
    return {"thin": most > LARGE, "sampled": most > DRAWN, "ticks": scale.ticks, "charts": charts, "kinds": kinds}


def _chart(run: RunDocument, bars: Sequence[Bar], scale: Scale, *, thin: bool) -> dict[str, Any]:
    """Return the chart of one run, its requests in an order that shows a queue as stairs.

    Each request has a lane; `thin` lanes are drawn as one path per kind of span or mark, to be stretched across.
    """
    high = min(LANE, HIGHEST / len(bars)) if thin else LANE
    ordered = sorted(bars, key=stairs_key(bars))
    lanes = [_lane(run, bar, scale, round(place * high, 2)) for place, bar in enumerate(ordered)]
    spans = {kind for lane in lanes for kind, *_ in (*lane.spans, *lane.marks)}
    paths = dict(_paths(lanes, high)) if thin else {}
    pings, ping_waits = _pings(run.bystander, scale)
    return {
        "run": run,
        "height": round(high * len(bars), 1),
        "lanes": lanes,
        "paths": paths,
        "kinds": paths.keys() if thin else spans,
        "pings": pings,
        "ping_waits": ping_waits,
    }


def _lane(run: RunDocument, bar: Bar, scale: Scale, top: float) -> Lane:
    lane = Lane(bar, top)
    if not bar.is_sent:
        return lane
    until_s = last_moment(run)
    for kind, start_s, end_s in bar.spans(until_s):
        x = scale.x(start_s)
        width = round(scale.x(end_s) - x, 1)
        if width > 0 or kind in {"free", "held"}:
            lane.spans.append((kind, x, width))
    if (trouble := bar.trouble(until_s)) is not None:
        lane.marks.append(("trouble", scale.x(trouble)))
    if bar.is_open:
        lane.marks.append(("open", float(WIDE)))
    lane.marks.append(("answered" if bar.request.error is None else "trouble", scale.x(bar.answer(until_s))))
    return lane


def _paths(lanes: Iterable[Lane], high: float) -> Iterator[tuple[str, str]]:
    """Yield each kind as one path, with a rectangle per span and a stroke per mark; the picture can be stretched."""
    of: dict[str, list[str]] = {kind: [] for kind in ("wait", "queue", "held", "free", "answered", "trouble")}
    height = f"{max(high, 0.1):.2f}"
    for lane in lanes:
        top = f"{lane.top:.2f}"
        for kind, x, width in lane.spans:
            of[kind].append(f"M{x:g} {top}h{max(width, 0.5):g}v{height}H{x:g}z")
        for kind, x in lane.marks:
            if kind != "open":  # no room for its arrow
                of[kind].append(f"M{x:g} {top}v{height}")
    return ((kind, "".join(parts)) for kind, parts in of.items() if parts)


def _pings(pings: Iterable[RequestRow], scale: Scale) -> tuple[str, str]:
    """Return a path of dots where the bystander was answered at once, and one of its waits."""
    dots: set[float] = set()
    waits: set[tuple[float, float]] = set()
    for ping in pings:
        sent, done = ping.sent_s, ping.done_s
        if sent is None:
            continue
        start, end = scale.x(sent), scale.x(done if done is not None else sent)
        if done is not None and (done - sent >= HELD_UP_S or end - start >= VISIBLE):
            waits.add((start, max(end, start + 1)))
        else:
            dots.add(start)
    return "".join(f"M{x:g} 7h0" for x in sorted(dots)), "".join(
        f"M{start:g} 7H{end:g}" for start, end in sorted(waits)
    )
