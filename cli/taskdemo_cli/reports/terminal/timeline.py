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
from taskdemo_cli.reports.timeline import Bar, Chart, chart, first_round, horizon
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
MARKS: Final = {"answered": (Glyph.ANSWERED, Palette.BOLD), "trouble": NO, "open": (Glyph.OPEN, Palette.BOLD)}
LEGEND: Final = (
    (SPANS["wait"], 2, "waits"),
    (SPANS["held"], 2, "waits, work runs"),
    (MARKS["answered"], 1, "answered"),
    (SPANS["queue"], 2, "queued"),
    (SPANS["free"], 2, "works, nobody waits"),
    (MARKS["trouble"], 1, "failed, cancelled or lost"),
    (MARKS["open"], 1, "unfinished"),
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


class _Picture:
    """Lanes below each other on one time scale, each with a name; remembers what was painted, for the legend."""

    def __init__(self, charts: Sequence[Chart], width: int, least: int, figure: int) -> None:
        """Leave `least` columns for the names, and `figure` columns at the right."""
        self.left = min(max(least, *(len(_name(one.run)) for one in charts)), width // 3)
        self.columns = width - self.left - 1 - figure
        self.horizon_s = horizon(charts)
        self._figure = figure
        self._axis = {
            self.lane().column(moment): label
            for moment, label in ticks(self.horizon_s, (self.columns - 1) / TICK_COLUMNS)
        }
        self.painted: set[tuple[str, Style]] = set()

    def lane(self) -> Lane:
        return Lane(self.columns, self.horizon_s)

    def line(self, name: str, lane: Lane, style: Style, figure: str = "", of_figure: Style = Palette.PLAIN) -> Text:
        self.painted.update(filter(None, lane.cells))
        shown = (cell(figure, self._figure, "right"), of_figure)
        return row((cell(name, self.left), style), " ", *lane.parts(self._axis), shown)

    def axis(self, heading: str = "") -> Text:
        labels = axis_text(self._axis, self.columns + self._figure - len(heading))
        return row(" " * (self.left + 1), (labels + heading, Palette.DIM))


def timeline(all_runs: Sequence[RunDocument], width: int) -> Iterator[Text]:
    """Yield the picture of one or more runs on one time scale; of several rounds, only the first is drawn."""
    charts = list(map(chart, first_round(all_runs)))
    sampled = [_spread([bar for bar in one.bars if bar.is_sent]) for one in charts]
    if not any(sampled):
        yield row(("No request was sent, so there is no timeline.", Palette.DIM))
        return
    picture = _Picture(charts, width, 9, FIGURE)
    yield picture.axis("answer")
    for one, bars in zip(charts, sampled, strict=True):
        run = one.run
        counted = f"{len(bars)} of {len(run.requests):,}" if len(bars) < len(run.requests) else ""
        notes = chain([(_name(run), Palette.BOLD), (counted, Palette.DIM)], repeat(("", Palette.PLAIN)))
        for (note, of_note), bar in zip(notes, bars, strict=False):
            lane, request = picture.lane(), bar.request
            paint(lane, bar)
            figure = "no answer" if request.response_s is None else format_seconds(request.response_s)
            yield picture.line(note, lane, of_note, figure, Palette.PLAIN if request.error is None else Palette.BAD)
        if run.bystander:
            lane, worst = picture.lane(), run.summary.bystander_s
            pings = [(ping.sent_s, ping.done_s) for ping in run.bystander if ping.sent_s is not None]
            paint_pings(lane, [(sent, sent if done is None else done) for sent, done in pings])
            figure = format_seconds(worst.max) if worst else ""
            yield picture.line("GET /ping", lane, Palette.DIM, figure, Palette.DIM)
        if len(charts) > 1:
            yield picture.line("", picture.lane(), Palette.PLAIN)
    yield picture.axis()
    yield from _legend(picture.painted, width)


def overview(all_runs: Sequence[RunDocument], width: int) -> Iterator[Text]:
    """Yield the picture with one line per run: what any of its callers and tasks did at each moment."""
    charts = list(map(chart, first_round(all_runs)))
    picture = _Picture(charts, width, 16, 0)
    yield picture.axis()
    for one in charts:
        lane = picture.lane()
        paint(lane, *one.bars)
        yield picture.line(_name(one.run), lane, Palette.BOLD)
    yield from _legend(picture.painted, width)


def _name(run: RunDocument) -> str:
    return run.mode or "requests"


def _spread(bars: Sequence[Bar]) -> Sequence[Bar]:
    """Return at most BARS of the bars, evenly spread, the first and the last among them."""
    if len(bars) <= BARS:
        return bars
    return [bars[round(index * (len(bars) - 1) / (BARS - 1))] for index in range(BARS)]


def paint(lane: Lane, *bars: Bar) -> None:
    """Paint requests and their tasks into one lane."""
    spans = [span for bar in bars for span in bar.spans()]
    for kind, painting in SPANS.items():
        for _, start, end in (span for span in spans if span[0] == kind):
            lane.fill(start, end, *painting)
    for bar in bars:
        if bar.task and bar.task.runs > 1 and bar.task.started_s is not None:
            lane.mark(bar.task.started_s, str(min(bar.task.runs, 9)), Palette.BAD)
        for mark, moment in bar.marks():
            lane.mark(moment, *MARKS[mark])


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
    if any(sign.isdigit() for sign, _ in painted):
        yield row(("2", Palette.BAD), (" 3 ... 9 work begun that many times, or more", Palette.DIM))


def live_legend(width: int) -> Text:
    """Return the legend of a live run: the meaning of as many signs as fit into one line."""
    return next(_legend({painting for painting, _, _ in LEGEND}, width))
