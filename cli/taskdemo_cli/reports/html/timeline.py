"""The report's timeline as coordinates for a template: one chart per run, all on one time scale.

Maps the rows of runs to positions and computes no figure. x is in thousandths of the width, y in pixels.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from taskdemo_cli.documents.run import RequestRow, RunDocument
from taskdemo_cli.reports.scales import Scale, moments
from taskdemo_cli.reports.timeline import DRAWN, Bar, Chart, chart, horizon
from taskdemo_server.contract.drawing import HELD_UP_S, LANE

LARGE: Final = 40
"""Up to this many requests each have a lane with a dot and a figure; more have thin lanes."""
HIGHEST: Final = 160.0
"""Pixels that all thin lanes share."""
VISIBLE: Final = 8
"""Thousandths of the width from which a wait of the bystander is visible."""
MARGIN: Final = 1.01
"""Factor that leaves room after the last moment."""


@dataclass(frozen=True, slots=True)
class Lane:
    """One request with its task, and its spans and marks."""

    bar: Bar
    top: float
    spans: Sequence[tuple[str, float, float]]
    """The kind, as in the style sheet, then start and length in thousandths of the width."""
    marks: Sequence[tuple[str, float]]
    """Kind and position."""


def draw(every_run: Sequence[RunDocument]) -> dict[str, Any] | None:
    """Return the charts of these runs on one scale; None if there was no request.

    `kinds` are the kinds of spans and marks drawn, for the legend; a `sampled` picture leaves requests out.
    """
    charts = [chart(run) for run in every_run if len(run.requests)]
    if not charts:
        return None
    most = max(len(one.run.requests) for one in charts)
    scale = moments(horizon(charts) * MARGIN)
    drawn = [_drawn(one, scale, thin=most > LARGE) for one in charts]
    kinds = {kind for one in drawn for kind in one["kinds"]}
    return {"thin": most > LARGE, "sampled": most > DRAWN, "ticks": scale.ticks, "charts": drawn, "kinds": kinds}


def _drawn(one: Chart, scale: Scale, *, thin: bool) -> dict[str, Any]:
    """Return a chart with a lane for each request; `thin` ones are a path per kind, to be stretched across."""
    high = min(LANE, HIGHEST / len(one.bars)) if thin else LANE
    lanes = [_lane(bar, scale, round(place * high, 2)) for place, bar in enumerate(one.bars)]
    paths = dict(_paths(lanes, high)) if thin else {}
    pings, ping_waits = _pings(one.run.bystander, scale)
    return {
        "run": one.run,
        "height": round(high * len(one.bars), 1),
        "lanes": lanes,
        "paths": paths,
        "kinds": paths.keys() if thin else {kind for lane in lanes for kind, *_ in (*lane.spans, *lane.marks)},
        "pings": pings,
        "ping_waits": ping_waits,
    }


def _lane(bar: Bar, scale: Scale, top: float) -> Lane:
    edges = ((kind, scale.x(start_s), scale.x(end_s)) for kind, start_s, end_s in bar.spans())
    spans = [(kind, x, round(end - x, 1)) for kind, x, end in edges if end > x or kind in {"free", "held"}]
    return Lane(bar, top, spans, [(kind, scale.x(moment)) for kind, moment in bar.marks()])


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
