"""The table that compares modes, live and final, and the intervals of its figures over several rounds."""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

from rich.style import Style
from rich.text import Text

from taskdemo_cli.analysis.rounds import COLUMNS, NAMES, figure_words, over_rounds, troubles
from taskdemo_cli.documents.comparison import ComparisonDocument, Interval
from taskdemo_cli.documents.run import RunDocument
from taskdemo_cli.reports.terminal.style import Glyph, Palette, cell, row
from taskdemo_cli.units import format_count, format_seconds

NAME: Final = 16
"""Columns of a mode's name."""
TROUBLE: Final = "trouble"
AGAINST: Final = 32
"""Columns of an interval and of the difference to the reference."""


def _widths(width: int) -> tuple[int, ...]:
    """Return the widths of the figure columns that fit whole into a terminal of this width."""
    sizes = (10, 10, 9, 8, 9) if width >= 79 else (9, 9, 8, 7, 8)
    return tuple(size for size, end in zip(sizes, accumulate(sizes), strict=True) if NAME + end <= width)


def _room(width: int) -> int:
    """Return the width of the column for what went wrong: 0 if its heading does not fit."""
    room = width - NAME - sum(_widths(width)) - 2
    return room if room >= len(TROUBLE) else 0


def comparison_heading(width: int) -> Iterator[Text]:
    """Yield the two heading lines of a comparison."""
    for line in (0, 1):
        words = (NAMES[path].rsplit(" ", 1)[line] for path in COLUMNS)
        headings = (cell(word, size, "right") for word, size in zip(words, _widths(width), strict=False))
        name, trouble = ("mode", TROUBLE[: _room(width)]) if line else ("", "")
        yield row((f"{name:<{NAME}}{''.join(headings)}  {trouble}", Palette.DIM))


def comparison_cells(runs: Sequence[RunDocument], width: int) -> Iterator[tuple[str, Style]]:
    """Yield the figures of one mode's runs, under `comparison_heading`, and what went wrong in them."""
    for path, size in zip(COLUMNS, _widths(width), strict=False):
        value = over_rounds(runs, path)
        yield cell(Glyph.DASH if value is None else figure_words(path, value), size, "right"), Palette.PLAIN
    words = [f"{format_count(count)} {what}" for what, count in troubles(runs).items()]
    yield "  ", Palette.PLAIN
    yield _fitting(words or ["none"], _room(width)), Palette.BAD if words else Palette.DIM


def _fitting(words: list[str], room: int) -> str:
    """Join as many words as fit: a count that is cut short would be a different count."""
    fewer = ([*words[:kept], Glyph.CUT] for kept in range(len(words) - 1, 0, -1))
    texts = [", ".join(each) for each in (words, *fewer)]
    return next((text for text in texts if len(text) <= room), cell(texts[-1], room).rstrip())


def interval_lines(document: ComparisonDocument, width: int) -> Iterator[Text]:
    """Yield, for several rounds, each median response's interval, and whether its difference is more than noise."""
    entries = [entry for entry in document.intervals if entry.figure == "response_s.p50"]
    if not entries:
        return
    yield row("")
    yield row(
        (f"{cell('', NAME)} p50, 95 % interval  against {cell(document.reference, width - NAME - 29)}", Palette.DIM)
    )
    for entry in entries:
        span = f"{format_seconds(entry.low)} {Glyph.DASH} {format_seconds(entry.high)}"
        against = _against(entry) if width >= NAME + AGAINST else ()
        yield row((cell(entry.mode, NAME), Palette.BOLD), f" {span:<19} ", *against)


def _against(entry: Interval) -> Iterator[tuple[str, Style]]:
    difference = entry.difference
    if difference is None:
        yield " -", Palette.DIM
        return
    sign = "+" if difference.mean > 0 else ""
    yield f" {sign}{format_seconds(difference.mean)}".ljust(11), Palette.PLAIN
    yield ("within noise", Palette.DIM) if difference.within_noise else ("beyond noise", Palette.PLAIN)
