"""What all terminal views draw with: glyphs with an ASCII counterpart, colours, fixed columns, figures for people.

Knows rich, and nothing of runs. The colours are mid-tones, chosen to keep a contrast of 3.8 or more on black and on
white and to stay apart for colour-blind eyes (after Okabe and Ito's palette, https://jfly.uni-koeln.de/color/); the
glyphs carry the same meaning without any colour.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Console, ConsoleOptions
from rich.style import Style
from rich.text import Text

from taskdemo_server.visible import shortened, visible

WIDEST: Final = 120
"""Lines longer than this are hard to follow, however wide the terminal is."""

PLAIN: Final = Style()
BOLD: Final = Style(bold=True)
DIM: Final = Style(dim=True)
WAITING: Final = Style(color="#d55e00")
"""Somebody waits."""
WORKING: Final = Style(color="#1f83c9")
"""Work that nobody waits for."""
QUEUED: Final = Style(color="#808080")
GOOD: Final = Style(color="#0a8f6b")
BAD: Final = Style(color="#d13a6a", bold=True)
DOUBT: Final = Style(color="#d55e00", bold=True)


@dataclass(frozen=True, slots=True)
class Glyphs:
    """One drawing of everything that has a sign; two sets, of which each terminal gets what it can show."""

    wait: str
    work: str
    queued: str
    answered: str
    failed: str
    open: str
    quick: str
    tick: str
    rule: str
    bar: str
    bar_rest: str
    parts: str
    yes: str
    no: str
    partly: str
    dot: str
    dash: str
    cut: str


UNICODE: Final = Glyphs(
    wait="▂",
    work="▆",
    queued="·",
    answered="●",
    failed="✗",
    open="→",
    quick="·",
    tick="┊",
    rule="─",
    bar="━",
    bar_rest="─",
    parts="▏▎▍▌▋▊▉█",
    yes="✓",
    no="✗",
    partly="~",
    dot="·",
    dash="-",
    cut="…",
)
ASCII: Final = Glyphs(
    wait="_",
    work="=",
    queued=".",
    answered="o",
    failed="x",
    open=">",
    quick=".",
    tick="|",
    rule="-",
    bar="#",
    bar_rest="-",
    parts="#",
    yes="+",
    no="x",
    partly="~",
    dot="-",
    dash="-",
    cut="~",
)


class Drawing:
    """A renderable made of lines that fit: `draw(width, glyphs)` is asked for them when the width is known."""

    def __init__(self, draw: Callable[[int, Glyphs], Iterable[Text]]) -> None:
        self.draw = draw

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> Iterator[Text]:
        yield from self.draw(min(options.max_width, WIDEST), ASCII if options.ascii_only else UNICODE)


def row(*parts: str | tuple[str, Style]) -> Text:
    """Return one line, never wrapped, of parts with or without a style. The parts must be visible text already."""
    return Text.assemble(*parts, no_wrap=True, overflow="crop", end="\n")


def paragraph(text: str, width: int, style: Style = PLAIN, first: str = "", rest: str | None = None) -> Iterator[Text]:
    """Yield outside text wrapped into lines of at most `width` cells, with `first` and then `rest` before them."""
    rest = " " * cell_len(first) if rest is None else rest
    room = max(width - max(cell_len(first), cell_len(rest)), 1)
    lines = [""]
    for word in visible(text).split():
        for piece in chop_cells(word, room) if cell_len(word) > room else [word]:
            if lines[-1] and cell_len(lines[-1]) + 1 + cell_len(piece) > room:
                lines.append(piece)
            else:
                lines[-1] += f" {piece}" if lines[-1] else piece
    for index, line in enumerate(lines):
        yield row((rest if index else first, BOLD), (line, style))


def cell(text: str, width: int, align: Literal["left", "right"] = "left") -> str:
    """Return outside text as exactly `width` terminal cells, cut with an ellipsis where it is longer."""
    shown = shortened(text, width)
    used = cell_len(shown)
    if used > width:
        return set_cell_size(shown, width)
    return " " * (width - used) + shown if align == "right" else shown + " " * (width - used)


def number(value: float) -> str:
    """Return a count or rate with thousands separated: 12,345 or 8.1."""
    if value >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.1f}"


def duration(seconds: float) -> str:
    """Return seconds with three figures and their unit: 850 µs, 4.12 ms, 1.01 s, 2 min 5 s."""
    if seconds < 0:
        return "-" + duration(-seconds)
    for limit, factor, unit in ((9.995e-4, 1e6, "µs"), (0.9995, 1e3, "ms"), (99.95, 1.0, "s")):
        if seconds < limit:
            value = seconds * factor
            return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"
    if seconds < 599.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 600 else f"{minutes / 60:.1f} h"
