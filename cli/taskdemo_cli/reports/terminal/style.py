"""What all terminal views draw with: signs, colours, lines and fixed columns.

Knows rich, and nothing of runs. The colours are mid-tones with a contrast of at least 3.8 on black and on white, and
stay distinct for colour-blind eyes (after Okabe and Ito's palette, https://jfly.uni-koeln.de/color/); the signs carry
the same meaning without any colour.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal

from rich.cells import cell_len, chop_cells, set_cell_size
from rich.console import Console, ConsoleOptions
from rich.style import Style
from rich.text import Text

from taskdemo_server.contract.text import escape, shortened

NARROWEST: Final = 40
"""The fewest columns that anything is drawn in: on a narrower terminal, lines wrap or are cropped."""
WIDEST: Final = 120
"""Lines longer than this are hard to follow, however wide the terminal is."""
NAME: Final = 16
"""Columns of the name at the left of a line, such as a mode's."""


class Palette:
    """The styles of everything that is drawn; see above for the colours."""

    PLAIN: Final = Style()
    BOLD: Final = Style(bold=True)
    DIM: Final = Style(dim=True)
    WAITING: Final = Style(color="#d55e00")
    """Somebody waits."""
    WORKING: Final = Style(color="#1f83c9")
    """Work that nobody waits for."""
    QUEUED: Final = Style(dim=True)
    GOOD: Final = Style(color="#0a8f6b")
    BAD: Final = Style(color="#d13a6a", bold=True)
    DOUBT: Final = Style(color="#d55e00", bold=True)


class Glyph:
    """The signs that everything is drawn with."""

    WAIT: Final = "▂"
    WORK: Final = "▆"
    """Work that somebody waits for; `FREE`, which nobody waits for, is lower, so they differ without colour too."""
    FREE: Final = "▄"
    QUEUED: Final = "·"
    ANSWERED: Final = "●"
    OPEN: Final = "→"
    QUICK: Final = "╌"
    TICK: Final = "┊"
    BAR: Final = "━"
    BAR_REST: Final = "─"
    PARTS: Final = "▏▎▍▌▋▊▉█"
    YES: Final = "✓"
    NO: Final = "✗"
    PARTLY: Final = "~"
    DASH: Final = "-"
    CUT: Final = "…"
    FULL: Final = "█"
    HATCHED: Final = "▒"
    LEVELS: Final = "▁▂▃▄▅▆▇█"
    """From lowest to highest."""


YES: Final = (Glyph.YES, Palette.GOOD)
NO: Final = (Glyph.NO, Palette.BAD)
SIGNS: Final = {"yes": YES, "no": NO, "partly": (Glyph.PARTLY, Palette.DOUBT)}


class Drawing:
    """A rich renderable of lines that fit: rich supplies the width, and `draw(width)` yields the lines."""

    def __init__(self, draw: Callable[[int], Iterable[Text]]) -> None:
        self.draw = draw

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> Iterator[Text]:
        for line in self.draw(min(max(options.max_width, NARROWEST), WIDEST)):
            line.rstrip()
            yield line


def say(console: Console, text: str) -> None:
    """Print outside text as one line, never cropped, however long it is: a file could not show the rest."""
    console.print(row(escape(text)), soft_wrap=True)


def row(*parts: str | tuple[str, Style]) -> Text:
    """Return one line, never wrapped, of parts with or without a style. The parts must already be escaped."""
    return Text.assemble(*parts, no_wrap=True, overflow="crop", end="\n")


def paragraph(
    text: str, width: int, style: Style = Palette.PLAIN, first: str | tuple[str, Style] = "", rest: str | None = None
) -> Iterator[Text]:
    """Yield outside text wrapped into lines of at most `width` cells; `first`, then `rest`, are their prefixes."""
    first, of_first = (first, Palette.BOLD) if isinstance(first, str) else first
    rest = " " * cell_len(first) if rest is None else rest
    room = max(width - max(cell_len(first), cell_len(rest)), 1)
    lines = [""]
    for word in escape(text).split():
        for piece in chop_cells(word, room) if cell_len(word) > room else [word]:
            if lines[-1] and cell_len(lines[-1]) + 1 + cell_len(piece) > room:
                lines.append(piece)
            else:
                lines[-1] += f" {piece}" if lines[-1] else piece
    for index, line in enumerate(lines):
        yield row((rest if index else first, of_first), (line, style))


def cell(text: str, width: int, align: Literal["left", "right"] = "left") -> str:
    """Return outside text as exactly `width` terminal cells, cut with an ellipsis if it is longer."""
    shown = shortened(text, width)
    return set_cell_size(" " * (width - cell_len(shown)) + shown if align == "right" else shown, width)
