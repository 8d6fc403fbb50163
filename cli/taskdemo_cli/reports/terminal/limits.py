"""The table of limits: what each mode can and cannot do, while the experiments run and when they are done."""

import textwrap
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Final

from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from rich.text import Text

from taskdemo_cli.documents.limits import Cell, LimitsDocument, limit_name, limit_question, limits_in
from taskdemo_cli.reports.terminal.notes import note_lines
from taskdemo_cli.reports.terminal.painter import Screen
from taskdemo_cli.reports.terminal.style import SIGNS, Glyph, Palette, cell, paragraph, row
from taskdemo_cli.stats import grouped
from taskdemo_server.contract.text import escape

LABEL: Final = 12
WIDEST_COLUMN: Final = 17
BREAKS: Final = {"threadpool": "thread-pool", "background": "back-ground", "background-async": "back-ground-async"}
"""Where a mode's name breaks in a column that is too narrow for its parts."""
BESIDE: Final = "then the count, or the longest wait of GET /ping; same: the server runs the tasks"


def limits_report(document: LimitsDocument, width: int) -> Iterator[Text]:
    """Yield a sentence for each cell, shared by modes with the same one, then the table.

    The table comes last because the terminal still shows it when the command has ended.
    """
    modes = document.modes
    yield from _sentence_lines(document, width)
    yield from _version_lines(document, width)
    yield from note_lines(document, width)
    yield row("")
    yield from limits_table(list(modes), modes, limits_in(modes), (), width)
    signs = f"{Glyph.YES} yes  {Glyph.PARTLY} partly  {Glyph.NO} no; "
    yield from paragraph(BESIDE, width, Palette.DIM, signs, "")


def limits_table(
    modes: Sequence[str],
    cells: Mapping[str, Mapping[str, Cell]],
    limits: Sequence[str],
    running: Container[tuple[str, str]],
    width: int,
) -> Iterator[Text]:
    """Yield the table: a line for each limit, a column for each mode; `running` are the (mode, limit) under way."""
    column = max(min((width - LABEL) // max(len(modes), 1), WIDEST_COLUMN), 2)
    names = [_broken(mode, column - 1) for mode in modes]
    for line in range(max(map(len, names), default=0)):
        yield row(
            " " * LABEL, *((cell(name[line] if line < len(name) else "", column), Palette.BOLD) for name in names)
        )
    for limit in limits:
        parts: list[tuple[str, Style]] = [(cell(limit_name(limit), LABEL), Palette.BOLD)]
        for mode in modes:
            found = cells.get(mode, {}).get(limit)
            if found is not None:
                parts += [SIGNS[found.verdict], (f" {figure(found, column - 3)}".ljust(column - 1), Palette.PLAIN)]
            else:
                parts.append((cell(Glyph.CUT if (mode, limit) in running else "", column), Palette.DIM))
        yield row(*parts)


def _broken(mode: str, width: int) -> list[str]:
    shown = escape(mode)
    # If its parts fit, break only between them: the name can still be typed.
    fits = all(len(part) < width for part in shown.split("-"))
    return textwrap.wrap(shown if fits else BREAKS.get(mode, shown), width)


def figure(found: Cell, width: int) -> str:
    """Return the figure beside the sign, whole or not at all; `12 of 12` becomes `12/12` if it does not fit."""
    shown = escape(found.figure)
    shorter = shown if cell_len(shown) <= width else shown.replace(" of ", "/")
    return shorter if cell_len(shorter) <= width else ""


def _sentence_lines(document: LimitsDocument, width: int) -> Iterator[Text]:
    modes = document.modes
    for limit in limits_in(modes):
        yield from paragraph(limit_question(limit), width, Palette.BOLD)
        said = grouped(
            ((cells[limit].text, *SIGNS[cells[limit].verdict]), mode) for mode, cells in modes.items() if limit in cells
        )
        for (text, sign, style), sharing in said.items():
            yield from paragraph(", ".join(sharing), width, Palette.DIM, (f"  {sign} ", style))
            yield from paragraph(text, width, Palette.PLAIN, "    ")
        yield row("")


def _version_lines(document: LimitsDocument, width: int) -> Iterator[Text]:
    packages = document.environment.get("packages")
    known = packages if isinstance(packages, dict) else {}
    if versions := [f"{name} {known[name]}" for name in ("fastapi", "starlette", "uvicorn") if name in known]:
        yield from paragraph(f"Seen with {', '.join(versions)}.", width, Palette.DIM)


class LimitsScreen(Screen):
    """The experiments: the table, filling in."""

    def __init__(self, console: Console, title: str, modes: Sequence[str], limits: Sequence[str]) -> None:
        super().__init__(console, title, modes)
        self._limits = list(limits)
        self._cells: dict[str, dict[str, Cell]] = {}
        self._running: dict[tuple[str, str], None] = {}

    def start(self, mode: str, limit: str) -> None:
        """Show that this experiment runs now."""
        self._running[mode, limit] = None
        self._show()

    def done(self, mode: str, limit: str, found: Cell) -> None:
        """Show the cell of an experiment."""
        self._running.pop((mode, limit), None)
        self._cells.setdefault(mode, {})[limit] = found
        self._show(f"  {mode}, {limit_name(limit)}: {found.verdict} {figure(found, 40)}")

    def fail(self, mode: str, limit: str, why: str) -> None:
        """Leave the cell of a failed experiment empty; the final report says why, too."""
        self._running.pop((mode, limit), None)
        self._show(f"  {mode}, {limit_name(limit)}: not carried out: {why}")

    def _lines(self, width: int) -> Iterator[Text]:
        yield row((cell(self._title, width), Palette.BOLD))
        yield row("")
        yield from limits_table(self._names, self._cells, self._limits, self._running, width)
        yield row("")
        for mode, limit in self._running:
            yield row((cell(f"{mode}, {limit_question(limit)}", width), Palette.DIM))
