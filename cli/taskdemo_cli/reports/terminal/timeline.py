"""The timeline: a bar per request on one time scale, which shows who waited and what ran after the answer.

Draws run documents and computes only columns. A low bar is a caller's wait, a tall bar is work, the dot is the answer:
work left of the dot runs while its caller waits, work right of it while nobody waits.
"""

from collections.abc import Container, Iterator, Mapping, Sequence
from itertools import chain, groupby, pairwise, repeat
from operator import itemgetter
from typing import Final

from rich.style import Style
from rich.text import Text

from taskdemo_cli.documents.run import RunDocument
from taskdemo_cli.reports.scales import ticks
from taskdemo_cli.reports.terminal.style import NO, Glyph, Palette, cell, row
from taskdemo_cli.reports.timeline import Bar, first_round, last_moment, sample, stairs_key
from taskdemo_cli.units import format_seconds

BARS: Final = 6
"""Bars drawn per run; of more requests, an evenly spread sample."""
TICK_COLUMNS: Final = 8
"""The fewest columns from one tick to the next."""
FIGURE: Final = 9
"""Columns for the figure at the right."""
SPANS: Final = {
    "queue": (Glyph.QUEUED, Palette.QUEUED),
    "free": (Glyph.FREE, Palette.WORKING),
    "wait": (Glyph.WAIT, Palette.WAITING),
    "held": (Glyph.WORK, Palette.WAITING),
}
"""How each kind of span is painted, in this order: waits cover what nobody waits for."""
ANSWERED: Final = (Glyph.ANSWERED, Palette.BOLD)
OPEN: Final = (Glyph.OPEN, Palette.BOLD)
LEGEND: Final = (
    (SPANS["wait"], 2, "waits"),
    (SPANS["held"], 2, "waits, work runs"),
    (ANSWERED, 1, "answered"),
    (SPANS["queue"], 2, "queued"),
    (SPANS["free"], 2, "works, nobody waits"),
    (NO, 1, "failed, cancelled or lost"),
    (OPEN, 1, "not ended when we stopped looking"),
)
"""Each sign in its style, how often the legend repeats it, and its meaning."""


class Lane:
    """One line of cells to paint, each a glyph in a style."""

    def __init__(self, columns: int, horizon_s: float) -> None:
        self.columns = columns
        self.scale = (columns - 1) / horizon_s
        self.cells: list[tuple[str, Style] | None] = [None] * columns

    def column(self, moment_s: float) -> int:
        """Return the column that shows this moment."""
        return min(max(round(moment_s * self.scale), 0), self.columns - 1)

    def fill(self, from_s: float, to_s: float, glyph: str, style: Style) -> None:
        """Paint from one moment to another, but at least the cell of the first."""
        first, last = self.column(from_s), self.column(to_s)
        for index in range(first, max(last, first + 1)):
            self.cells[index] = (glyph, style)

    def mark(self, moment_s: float, glyph: str, style: Style) -> None:
        """Paint the cell of one moment, over what is there."""
        self.cells[self.column(moment_s)] = (glyph, style)

    def parts(self, grid: Container[int] = ()) -> Iterator[tuple[str, Style]]:
        """Yield the lane as pieces of text in one style each, with the grid where nothing was painted."""
        cells = (
            painted or ((Glyph.TICK, Palette.DIM) if index in grid else (" ", Palette.PLAIN))
            for index, painted in enumerate(self.cells)
        )
        for style, alike in groupby(cells, key=itemgetter(1)):
            yield "".join(glyph for glyph, _ in alike), style


def timeline(all_runs: Sequence[RunDocument], width: int) -> Iterator[Text]:
    """Yield the picture of one or more runs on one time scale; of several rounds, only the first is drawn."""
    runs = first_round(all_runs)
    bars_of = [_bars(run) for run in runs]
    if not any(bars_of):
        yield row(("No request was sent, so there is no timeline.", Palette.DIM))
        return
    horizon = max(*(last_moment(run) for run in runs), *(bar.last for bars in bars_of for bar in bars))
    sampled = [_spread(bars) for bars in bars_of]
    left = min(max(9, *(len(_name(run)) for run in runs)), width // 3)
    columns = width - left - 1 - FIGURE
    place = Lane(columns, horizon).column
    axis = {place(moment): label for moment, label in ticks(horizon, (columns - 1) / TICK_COLUMNS)}
    painted: set[tuple[str, Style]] = set()
    yield _axis_line(axis, left, columns, "answer")
    for run, bars in zip(runs, sampled, strict=True):
        counted = f"{len(bars)} of {len(run.requests):,}" if len(bars) < len(run.requests) else ""
        notes = chain([(_name(run), Palette.BOLD), (counted, Palette.DIM)], repeat(("", Palette.PLAIN)))
        for (note, of_note), bar in zip(notes, bars, strict=False):
            lane = Lane(columns, horizon)
            paint(lane, bar, last_moment(run))
            if bar.is_open:
                lane.mark(last_moment(run), *OPEN)
            painted.update(filter(None, lane.cells))
            request = bar.request
            figure = "no answer" if request.response_s is None else format_seconds(request.response_s)
            style = Palette.PLAIN if request.error is None else Palette.BAD
            yield row((cell(note, left), of_note), " ", *lane.parts(axis), (cell(figure, FIGURE, "right"), style))
        if run.bystander:
            lane, worst = Lane(columns, horizon), run.summary.bystander_s
            pings = [(ping.sent_s, ping.done_s) for ping in run.bystander if ping.sent_s is not None]
            paint_pings(lane, [(sent, sent if done is None else done) for sent, done in pings])
            figure = cell(format_seconds(worst.max) if worst else "", FIGURE, "right")
            yield row((cell("GET /ping", left), Palette.DIM), " ", *lane.parts(axis), (figure, Palette.DIM))
        if len(runs) > 1:
            yield row(" " * (left + 1), *Lane(columns, horizon).parts(axis))
    yield _axis_line(axis, left, columns, "")
    yield from _legend(painted, width)
    if any(bar.task and bar.task.runs > 1 for bars in sampled for bar in bars):
        yield row(("2", Palette.BAD), (" 3 ... 9 work begun that many times, or more", Palette.DIM))


def height(runs: Sequence[RunDocument]) -> int:
    """Return the most lines that `timeline` may take."""
    return sum(min(len(run.requests), BARS) + 2 for run in first_round(runs)) + 4


def overview(all_runs: Sequence[RunDocument], width: int) -> Iterator[Text]:
    """Yield the picture with one line per run: what any of its callers and tasks did at each moment."""
    runs = first_round(all_runs)
    horizon = max(last_moment(run) for run in runs)
    left = min(max(16, *(len(_name(run)) for run in runs)), width // 3)
    columns = width - left - 1
    place = Lane(columns, horizon).column
    axis = {place(moment): label for moment, label in ticks(horizon, columns / TICK_COLUMNS)}
    painted: set[tuple[str, Style]] = set()
    yield _axis_line(axis, left, columns - FIGURE, "")
    for run in runs:
        lane, bars, until_s = Lane(columns, horizon), _bars(run), last_moment(run)
        spans = [span for bar in bars for span in bar.spans(until_s)]
        for kind, painting in SPANS.items():
            for _, start, end in (span for span in spans if span[0] == kind and span[2] > span[1]):
                lane.fill(start, end, *painting)
        for bar in bars:
            if bar.request.done_s is not None:
                lane.mark(bar.request.done_s, *(ANSWERED if bar.request.error is None else NO))
            if (trouble := bar.trouble(until_s)) is not None:
                lane.mark(trouble, *NO)
        painted.update(filter(None, lane.cells))
        yield row((cell(_name(run), left), Palette.BOLD), " ", *lane.parts(axis))
    yield from _legend(painted, width)


def _name(run: RunDocument) -> str:
    return run.mode or "requests"


def _bars(run: RunDocument) -> list[Bar]:
    """Return the requests that were sent, sampled if very many, in an order that shows a queue as stairs."""
    found = [bar for bar in sample(run) if bar.is_sent]
    return sorted(found, key=stairs_key(found))


def _spread(bars: Sequence[Bar]) -> Sequence[Bar]:
    """Return at most BARS of the bars, evenly spread, the first and the last among them."""
    if len(bars) <= BARS:
        return bars
    return [bars[round(index * (len(bars) - 1) / (BARS - 1))] for index in range(BARS)]


def paint(lane: Lane, bar: Bar, until_s: float) -> None:
    """Paint one request and its task; what had not ended extends to `until_s`."""
    for kind, start, end in bar.spans(until_s):
        lane.fill(start, end, *SPANS[kind])
    if bar.task and bar.task.runs > 1 and bar.task.started_s is not None:
        lane.mark(bar.task.started_s, str(min(bar.task.runs, 9)), Palette.BAD)
    if (trouble := bar.trouble(until_s)) is not None:
        lane.mark(trouble, *NO)
    if bar.request.error is not None:
        lane.mark(bar.answer(until_s), *NO)
    elif bar.request.done_s is not None:
        lane.mark(bar.request.done_s, *ANSWERED)


def paint_pings(lane: Lane, waited: Sequence[tuple[float, float]]) -> None:
    """Paint the bystander's calls, as (sent, answered): a dashed line for quick answers, bars for waits."""
    for sent, after in pairwise([sent for sent, _ in waited]):
        lane.fill(sent, after, Glyph.QUICK, Palette.QUEUED)
    for sent, done in waited:
        if not lane.cells[lane.column(sent)]:
            lane.mark(sent, Glyph.QUICK, Palette.QUEUED)
        if lane.column(done) > lane.column(sent) + 1:
            lane.fill(sent, done, Glyph.WAIT, Palette.WAITING)


def axis_text(axis: Mapping[int, str], room: int) -> str:
    """Return the labels of these columns, each with its tick, as many as fit."""
    line = [" "] * room
    for column, label in axis.items():
        shown, first = Glyph.TICK + label, column
        if column + len(shown) >= room:  # the last label ends at its tick
            shown, first = label + Glyph.TICK, column - len(label)
        if column < room and not "".join(line[first - 1 : column]).strip():
            line[first : first + len(shown)] = shown
    return "".join(line)


def _axis_line(axis: Mapping[int, str], left: int, columns: int, heading: str) -> Text:
    return row(" " * (left + 1), (axis_text(axis, columns + FIGURE - len(heading)) + heading, Palette.DIM))


def _legend(painted: set[tuple[str, Style]], width: int) -> Iterator[Text]:
    """Yield the meaning of the signs that were painted."""
    line: list[tuple[str, Style]] = []
    used = 0
    for (sign, style), times, meaning in LEGEND:
        if (sign, style) not in painted:
            continue
        size = times + 1 + len(meaning) + 2
        if used and used + size - 2 > width:
            yield row(*line)
            line, used = [], 0
        line += [(sign * times, style), (f" {meaning}  ", Palette.DIM)]
        used += size
    yield row(*line)


def live_legend(width: int) -> Text:
    """Return the legend of a live run: the meaning of as many signs as fit into one line."""
    return next(_legend({painting for painting, _, _ in LEGEND}, width))
