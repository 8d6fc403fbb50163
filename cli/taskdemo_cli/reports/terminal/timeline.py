"""The timeline: a bar per request on one time scale, where one sees who waited, and what ran after the answer.

Draws run documents and computes nothing but columns. The low bar is somebody waiting, the tall bar is work, the dot
is the answer: a tall bar left of the dot was waited for, a tall bar right of it was not.
"""

from collections.abc import Iterator, Sequence
from itertools import islice, pairwise
from typing import Final

from rich.style import Style
from rich.text import Text

from taskdemo_cli.documents.pairing import pairs
from taskdemo_cli.documents.run import RunDocument
from taskdemo_cli.reports.scales import ticks
from taskdemo_cli.reports.terminal.style import Drawing, Glyphs, Palette, cell, row
from taskdemo_cli.reports.timeline import Bar, first_round, last_moment, stairs_key
from taskdemo_cli.units import format_seconds

BARS: Final = 6
"""Bars drawn of one run; of more requests, an evenly spread sample."""
CONSIDERED: Final = 1000
"""Requests among which the bars are chosen."""
TICK_COLUMNS: Final = 8
"""From one tick to the next, at least."""
FIGURE: Final = 9
"""Columns for the figure at the right."""
STYLES: Final = {"wait": Palette.WAITING, "held": Palette.WAITING, "queue": Palette.QUEUED, "free": Palette.WORKING}


class Lane:
    """One line of cells that is painted from left to right, each a glyph in a style."""

    def __init__(self, columns: int, horizon_s: float) -> None:
        self.columns = columns
        self.scale = (columns - 1) / horizon_s
        self.cells: list[tuple[str, Style] | None] = [None] * columns

    def column(self, moment_s: float) -> int:
        """Return the column that shows this moment."""
        return min(max(round(moment_s * self.scale), 0), self.columns - 1)

    def fill(self, from_s: float, to_s: float, glyph: str, style: Style) -> None:
        """Paint from one moment to another; at least the cell of the first."""
        first, last = self.column(from_s), self.column(to_s)
        for index in range(first, max(last, first + 1)):
            self.cells[index] = (glyph, style)

    def mark(self, moment_s: float, glyph: str, style: Style) -> None:
        """Paint one moment over what is there."""
        self.cells[self.column(moment_s)] = (glyph, style)

    def parts(self, grid: set[int], tick: str) -> Iterator[tuple[str, Style]]:
        """Yield the lane as text of one style each, with the grid where nothing was painted."""
        text, style = "", Palette.PLAIN
        for index, painted in enumerate(self.cells):
            glyph, own = painted or ((tick, Palette.DIM) if index in grid else (" ", Palette.PLAIN))
            if own is not style and text:
                yield text, style
                text = ""
            text, style = text + glyph, own
        yield text, style


def timeline(runs: Sequence[RunDocument]) -> Drawing:
    """Return the picture of one run or of several on one time scale; of several rounds, the first is drawn."""
    return Drawing(lambda width, glyphs: _lines(first_round(runs), width, glyphs))


def _lines(runs: Sequence[RunDocument], width: int, glyphs: Glyphs) -> Iterator[Text]:
    bars_of = [_bars(run) for run in runs]
    if not any(bars_of):
        yield row(("No request was sent, so there is no timeline.", Palette.DIM))
        return
    horizon = max(*(last_moment(run) for run in runs), *(bar.last for bars in bars_of for bar in bars))
    sampled = [_sample(bars) for bars in bars_of]
    left = min(max([len(_name(run)) for run in runs] + [9]), width // 3)
    columns = width - left - 1 - FIGURE
    scale = (columns - 1) / horizon
    axis = [(round(moment * scale), label) for moment, label in ticks(horizon, (columns - 1) / TICK_COLUMNS)]
    grid = {column for column, _ in axis}
    painted: set[tuple[str, Style]] = set()
    yield _axis(axis, left, columns, "answer", glyphs)
    for run, bars in zip(runs, sampled, strict=True):
        notes = [(cell(_name(run), left), Palette.BOLD)]
        if len(bars) < len(run.requests):
            notes.append((cell(f"{len(bars)} of {len(run.requests):,}", left), Palette.DIM))
        blank = (" " * left, Palette.PLAIN)
        for index, bar in enumerate(bars):
            lane = Lane(columns, horizon)
            paint(lane, bar, last_moment(run), glyphs)
            if bar.is_open:
                lane.mark(last_moment(run), glyphs.open, Palette.BOLD)
            painted.update(filter(None, lane.cells))
            figure = format_seconds(bar.answered - bar.sent) if bar.answered is not None else "no answer"
            style = Palette.PLAIN if bar.ok else Palette.BAD
            note = notes[index] if index < len(notes) else blank
            yield row(note, " ", *lane.parts(grid, glyphs.tick), (cell(figure, FIGURE, "right"), style))
        if run.bystander:
            yield _bystander(run, left, Lane(columns, horizon), grid, glyphs)
        if len(runs) > 1:
            yield row(" " * (left + 1), *Lane(columns, horizon).parts(grid, glyphs.tick))
    yield _axis(axis, left, columns, "", glyphs)
    yield from _legend(painted, width, glyphs)
    if any(bar.runs > 1 for bars in sampled for bar in bars):
        yield row(("2", Palette.BAD), (" 3 ... 9 work that was begun so many times, or more", Palette.DIM))


def height(runs: Sequence[RunDocument]) -> int:
    """Return how many lines `timeline` takes, at the most."""
    return sum(min(len(run.requests), BARS) + 2 for run in first_round(runs)) + 4


def overview(runs: Sequence[RunDocument]) -> Drawing:
    """Return the same picture with a line for each run: what any of its callers and tasks did at each moment."""
    return Drawing(lambda width, glyphs: _overview_lines(first_round(runs), width, glyphs))


def _overview_lines(runs: Sequence[RunDocument], width: int, glyphs: Glyphs) -> Iterator[Text]:
    horizon = max(last_moment(run) for run in runs)
    left = min(max([len(_name(run)) for run in runs] + [16]), width // 3)
    columns = width - left - 1
    axis = [
        (round(moment * (columns - 1) / horizon), label) for moment, label in ticks(horizon, columns / TICK_COLUMNS)
    ]
    painted: set[tuple[str, Style]] = set()
    yield _axis(axis, left, columns - FIGURE, "", glyphs)
    for run in runs:
        lane, bars, until_s = Lane(columns, horizon), _bars(run), last_moment(run)
        spans = [span for bar in bars for span in bar.spans(until_s)]
        signs = {"queue": glyphs.queued, "free": glyphs.free, "wait": glyphs.wait, "held": glyphs.work}
        for kind, sign in signs.items():  # who waits is painted over what nobody waits for
            for _, start, end in (span for span in spans if span[0] == kind and span[2] > span[1]):
                lane.fill(start, end, sign, STYLES[kind])
        for bar in bars:
            if bar.answered is not None:
                lane.mark(bar.answered, *((glyphs.answered, Palette.BOLD) if bar.ok else (glyphs.failed, Palette.BAD)))
            if (trouble := bar.trouble(until_s)) is not None:
                lane.mark(trouble, glyphs.failed, Palette.BAD)
        painted.update(filter(None, lane.cells))
        yield row((cell(_name(run), left), Palette.BOLD), " ", *lane.parts({column for column, _ in axis}, glyphs.tick))
    yield from _legend(painted, width, glyphs)


def _name(run: RunDocument) -> str:
    return run.mode or "requests"


def _bars(run: RunDocument) -> list[Bar]:
    """Return the requests that were sent, in an order that shows a queue as stairs; of very many, some."""
    step = -(-len(run.requests) // CONSIDERED) or 1
    found = [bar for pair in islice(pairs(run), 0, None, step) if (bar := Bar.of(*pair))]
    return sorted(found, key=stairs_key(found))


def _sample(bars: Sequence[Bar]) -> Sequence[Bar]:
    """Return at most BARS of the bars, evenly spread, the first and the last among them."""
    if len(bars) <= BARS:
        return bars
    return [bars[round(index * (len(bars) - 1) / (BARS - 1))] for index in range(BARS)]


def paint(lane: Lane, bar: Bar, until_s: float, glyphs: Glyphs) -> None:
    """Paint one request and its task; what had not ended by `until_s` reaches to there."""
    signs = {"wait": glyphs.wait, "held": glyphs.work, "queue": glyphs.queued, "free": glyphs.free}
    for kind, start, end in bar.spans(until_s):
        lane.fill(start, end, signs[kind], STYLES[kind])
    if bar.runs > 1 and bar.started is not None:
        lane.mark(bar.started, str(min(bar.runs, 9)), Palette.BAD)
    if (trouble := bar.trouble(until_s)) is not None:
        lane.mark(trouble, glyphs.failed, Palette.BAD)
    if not bar.ok:
        lane.mark(bar.answer(until_s), glyphs.failed, Palette.BAD)
    elif bar.answered is not None:
        lane.mark(bar.answered, glyphs.answered, Palette.BOLD)


def paint_pings(lane: Lane, waited: Sequence[tuple[float, float]], glyphs: Glyphs) -> None:
    """Paint calls of the bystander, sent and answered: dots where it was at once, the waiting where it had to wait."""
    for sent, after in pairwise([sent for sent, _ in waited]):
        lane.fill(sent, after, glyphs.quick, Palette.QUEUED)
    for sent, done in waited:
        if not lane.cells[lane.column(sent)]:
            lane.mark(sent, glyphs.quick, Palette.QUEUED)
        if lane.column(done) > lane.column(sent) + 1:
            lane.fill(sent, done, glyphs.wait, Palette.WAITING)


def _bystander(run: RunDocument, left: int, lane: Lane, grid: set[int], glyphs: Glyphs) -> Text:
    paint_pings(
        lane,
        [
            (ping.sent_s, ping.done_s if ping.done_s is not None else ping.sent_s)
            for ping in run.bystander
            if ping.sent_s is not None
        ],
        glyphs,
    )
    worst = run.summary.bystander_s
    figure = format_seconds(worst.max) if worst else ""
    return row(
        (cell("GET /ping", left), Palette.DIM),
        " ",
        *lane.parts(grid, glyphs.tick),
        (cell(figure, FIGURE, "right"), Palette.DIM),
    )


def _axis(ticks: list[tuple[int, str]], left: int, columns: int, heading: str, glyphs: Glyphs) -> Text:
    room = columns + FIGURE - len(heading)
    line = [" "] * room
    for column, label in ticks:
        shown, first = glyphs.tick + label, column
        if column + len(shown) >= room:  # the last one ends at its tick
            shown, first = label + glyphs.tick, column - len(label)
        if column < room and not "".join(line[first - 1 : column]).strip():
            line[first : first + len(shown)] = shown
    return row(" " * (left + 1), ("".join(line) + heading, Palette.DIM))


def _legend(painted: set[tuple[str, Style]], width: int, glyphs: Glyphs) -> Iterator[Text]:
    """Yield what the signs mean, only those that were painted."""
    line: list[tuple[str, Style]] = []
    used = 0
    for sign, style, times, meaning in _meanings(glyphs):
        if (sign, style) not in painted:
            continue
        size = times + 1 + len(meaning) + 2
        if used and used + size - 2 > width:
            yield row(*line)
            line, used = [], 0
        line += [(sign * times, style), (f" {meaning}  ", Palette.DIM)]
        used += size
    yield row(*line)


def live_legend(width: int, glyphs: Glyphs) -> Text:
    """Return what the signs of a run that goes on mean, as many as fit into one line."""
    return next(_legend({(sign, style) for sign, style, *_ in _meanings(glyphs)}, width, glyphs))


def _meanings(glyphs: Glyphs) -> tuple[tuple[str, Style, int, str], ...]:
    return (
        (glyphs.wait, Palette.WAITING, 2, "waits"),
        (glyphs.work, Palette.WAITING, 2, "waits for the work"),
        (glyphs.answered, Palette.BOLD, 1, "answered"),
        (glyphs.queued, Palette.QUEUED, 2, "queued"),
        (glyphs.free, Palette.WORKING, 2, "works, nobody waits"),
        (glyphs.failed, Palette.BAD, 1, "failed, cancelled or lost"),
        (glyphs.open, Palette.BOLD, 1, "not ended when we stopped looking"),
    )
