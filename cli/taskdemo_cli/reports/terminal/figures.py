"""Statistics as lines: the table of percentiles, the histogram and the progress bar."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from rich.text import Text

from taskdemo_cli.analysis.rounds import Time, columns_of
from taskdemo_cli.reports.terminal.style import Glyph, Palette, cell, row
from taskdemo_cli.stats import Bin, supported
from taskdemo_cli.units import format_count, format_seconds, told_apart

LABEL: Final = 16
COLUMN: Final = 8
DROPPED_FIRST: Final = ("p999", "p90", "mean", "p95", "p99", "min")
"""Columns that a narrow terminal drops, in this order."""


def statistics_table(times: Mapping[str, Time], width: int) -> Iterator[Text]:
    """Yield, after an empty line, a line of headings and one for each of these times, by what it is called here."""
    if not times:
        return
    columns = columns_of(times.values())
    for name in DROPPED_FIRST:
        if LABEL + COLUMN * len(columns) > width:
            columns.pop(name, None)
    headings = "".join(cell(heading, COLUMN, "right") for heading in columns.values())
    yield row("")
    yield row((cell("", LABEL) + headings, Palette.DIM))
    for label, time in times.items():
        values = time.values
        figures = (
            format_seconds(getattr(values, name)) if supported(name, values.count) else Glyph.DASH for name in columns
        )
        yield row(cell(label, LABEL), *(cell(figure, COLUMN, "right") for figure in figures))


def histogram(bins: Sequence[Bin], width: int) -> Iterator[Text]:
    """Yield one bar for each bin, the longest as long as the width allows; there must be at least one bin."""
    most = max(bin_.count for bin_ in bins)
    counts = max(len(format_count(bin_.count)) for bin_ in bins)
    labels = _spans(bins)
    left = min(max(LABEL, *map(len, labels)), width // 2)
    room = width - left - 1 - counts - 1
    for bin_, label in zip(bins, labels, strict=True):
        bar = _bar(bin_.count / most, room) if bin_.count else ""
        yield row(
            (cell(label, left, "right") + " ", Palette.DIM),
            (bar, Palette.WORKING),
            f"{' ' if bar else ''}{format_count(bin_.count)}",
        )


def _spans(bins: Sequence[Bin]) -> list[str]:
    """Return the range of each bin, with enough digits to tell all edges apart."""
    edges = sorted({edge for bin_ in bins for edge in (bin_.from_s, bin_.to_s)})
    shown = dict(zip(edges, told_apart(edges, format_seconds), strict=True))
    return [
        shown[one.from_s] if one.from_s == one.to_s else f"{shown[one.from_s]} {Glyph.DASH} {shown[one.to_s]}"
        for one in bins
    ]


def _bar(share: float, room: int) -> str:
    """Return a bar of `share` of the room, at least a sliver."""
    parts = len(Glyph.PARTS)
    eighths = max(round(share * room * parts), 1)
    full, rest = divmod(eighths, parts)
    return Glyph.PARTS[-1] * full + (Glyph.PARTS[rest - 1] if rest else "")


def progress(share: float, room: int) -> tuple[str, str]:
    """Return the done and the remaining part of a progress bar of `room` cells."""
    done = min(max(int(share * room), 0), room)
    return Glyph.BAR * done, Glyph.BAR_REST * (room - done)
