"""The table of limits: what each mode can and cannot do, while the experiments run and when they are through."""

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.style import Style
from rich.text import Text

from taskdemo_cli.documents.limits import QUESTIONS, Cell, LimitsDocument, limits_in
from taskdemo_cli.reports.terminal.painter import Block, PlainLines, screens
from taskdemo_cli.reports.terminal.style import WIDEST, Drawing, Glyphs, Palette, cell, paragraph, row
from taskdemo_cli.stats import grouped
from taskdemo_cli.units import format_count, format_seconds
from taskdemo_server.contract.text import escape

LABEL: Final = 12
WIDEST_COLUMN: Final = 17
LEGIBLE: Final = 6
"""A name is broken anywhere in a column that is so wide, and cut in a narrower one."""
BREAKS: Final = {"threadpool": "thread-pool", "background": "back-ground", "background-async": "back-ground-async"}
"""Where a mode's name may be broken in a column that is too narrow for its parts."""
BESIDE: Final = "beside it what was counted, or the longest wait of GET /ping; same: the server runs the tasks"


def limit_name(limit: str) -> str:
    """Return how people read the name of a limit: `survive_server_kill` is 'server kill'."""
    return limit.removeprefix("survive_").replace("_", " ")


def limits_report(document: LimitsDocument) -> RenderableType:
    """Return a sentence for each cell, modes with the same one sharing it, and the table.

    The table comes last, so that it is what a terminal still shows when the command is through.
    """
    modes = document.modes
    return Group(
        Drawing(lambda width, glyphs: _sentence_lines(document, width, glyphs)),
        Drawing(lambda width, _: _note_lines(document, width)),
        Drawing(lambda width, glyphs: limits_table(list(modes), modes, limits_in(modes), frozenset(), width, glyphs)),
        Drawing(_legend_lines),
    )


def _legend_lines(width: int, glyphs: Glyphs) -> Iterator[Text]:
    signs = f"{glyphs.yes} yes  {glyphs.partly} partly  {glyphs.no} no; "
    yield from paragraph(BESIDE, width, Palette.DIM, signs, "")


def limits_table(
    modes: Sequence[str],
    cells: Mapping[str, Mapping[str, Cell]],
    limits: Sequence[str],
    running: frozenset[tuple[str, str]],
    width: int,
    glyphs: Glyphs,
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
                sign, style = _sign(found, glyphs)
                parts += [(sign, style), (f" {figure(found, column - 3)}".ljust(column - 1), Palette.PLAIN)]
            else:
                parts.append((cell(glyphs.cut if (mode, limit) in running else "", column), Palette.DIM))
        yield row(*parts)


def _broken(mode: str, width: int) -> list[str]:
    """Return a mode's name in pieces that fit."""
    if len(mode) <= width:
        return [escape(mode)]
    shown = escape(mode)
    # Where its own parts fit, its name stays one that can be typed.
    if any(len(part) + 1 > width for part in shown.split("-")):
        shown = BREAKS.get(mode, "-".join(textwrap.wrap(shown, width - 1)) if width >= LEGIBLE else shown)
    pieces = [""]
    for part in shown.split("-"):
        if pieces[-1] and len(pieces[-1]) + len(part) > width - 1:
            pieces.append(part)
        else:
            pieces[-1] += part
        pieces[-1] += "-"
    return [*pieces[:-1], pieces[-1][:-1]]


def _sign(found: Cell, glyphs: Glyphs) -> tuple[str, Style]:
    signs = {
        "yes": (glyphs.yes, Palette.GOOD),
        "no": (glyphs.no, Palette.BAD),
        "partly": (glyphs.partly, Palette.DOUBT),
    }
    return signs[found.verdict]


def figure(found: Cell, width: int) -> str:
    """Return the figure beside the sign, whole or not at all: the text `figure`, or else the first number measured.

    Where `12 of 12` has no room, it is `12/12`.
    """
    measured = found.measured
    shown = escape(measured["figure"]) if isinstance(measured.get("figure"), str) else ""
    for name, value in measured.items():
        if not shown and isinstance(value, int | float) and not isinstance(value, bool):
            shown = format_seconds(value) if name.endswith("_s") else format_count(value)
    shorter = shown if cell_len(shown) <= width else shown.replace(" of ", "/")
    return shorter if cell_len(shorter) <= width else ""


def _sentence_lines(document: LimitsDocument, width: int, glyphs: Glyphs) -> Iterator[Text]:
    modes = document.modes
    for limit in limits_in(modes):
        yield from paragraph(QUESTIONS.get(limit, limit_name(limit)), width, Palette.BOLD)
        said = grouped(
            ((cells[limit].text, *_sign(cells[limit], glyphs)), mode) for mode, cells in modes.items() if limit in cells
        )
        for (text, sign, style), sharing in said.items():
            yield from paragraph(", ".join(sharing), width, Palette.DIM, (f"  {sign} ", style))
            yield from paragraph(text, width, Palette.PLAIN, "    ")
        yield row("")


def _note_lines(document: LimitsDocument, width: int) -> Iterator[Text]:
    """Yield with which versions it was seen, and what is missing in the table, and why."""
    packages = document.environment.get("packages")
    known = packages if isinstance(packages, dict) else {}
    if versions := [f"{name} {known[name]}" for name in ("fastapi", "starlette", "uvicorn") if name in known]:
        yield from paragraph(f"Seen with {', '.join(versions)}.", width, Palette.DIM)
        yield row("")
    for skipped in document.skipped:
        yield from paragraph(f"skipped: {skipped.why}", width, Palette.DIM, first=cell(skipped.mode, 17))
    if document.interrupted:
        yield from paragraph("Interrupted: these are the experiments that were through by then.", width, Palette.DOUBT)
    causes = grouped(((failed.mode, failed.why), limit_name(failed.limit)) for failed in document.failed or [])
    for (mode, why), names in causes.items():
        what = f"{', '.join(names)} {'was' if len(names) == 1 else 'were'} not carried out: {why}"
        yield from paragraph(what, width, Palette.DIM, first=cell(mode, 17))
    if document.skipped or document.interrupted or document.failed:
        yield row("")


class LimitsScreen:
    """The experiments on a terminal: the table, filling in."""

    def __init__(self, block: Block, title: str, modes: Sequence[str], limits: Sequence[str]) -> None:
        self._block = block
        self._title = title
        self._modes = list(modes)
        self._limits = list(limits)
        self._glyphs = block.glyphs
        self._cells: dict[str, dict[str, Cell]] = {}
        self._running: dict[tuple[str, str], str] = {}
        self._paint()

    def start(self, mode: str, limit: str, what: str) -> None:
        """Say that this experiment runs now; `what` is what it does, in words."""
        self._running[mode, limit] = what
        self._paint()

    def done(self, mode: str, limit: str, found: Cell) -> None:
        """Put what was found into its cell."""
        self._running.pop((mode, limit), None)
        self._cells.setdefault(mode, {})[limit] = found
        self._paint()

    def fail(self, mode: str, limit: str, why: str) -> None:
        """Leave the cell of an experiment that could not be carried out empty; the final report says why."""
        del why
        self._running.pop((mode, limit), None)
        self._paint()

    def skip(self, mode: str, why: str) -> None:
        """Leave a mode out; the final report says why."""
        del why
        self._modes = [name for name in self._modes if name != mode]
        self._paint()

    def _paint(self) -> None:
        width = min(self._block.width, WIDEST)
        lines = [row((cell(self._title, width), Palette.BOLD)), row("")]
        lines += limits_table(self._modes, self._cells, self._limits, frozenset(self._running), width, self._glyphs)
        lines.append(row(""))
        for (mode, limit), what in self._running.items():
            lines.append(row((cell(f"{mode}, {limit_name(limit)}: {what}", width), Palette.DIM)))
        self._block.paint(lines)


class PlainLimits(PlainLines):
    """The experiments as plain lines, one for each that is through."""

    def start(self, mode: str, limit: str, what: str) -> None:
        """Nothing: an experiment is told when it is through."""

    def done(self, mode: str, limit: str, found: Cell) -> None:
        """Say what was found."""
        self._say(f"  {mode}, {limit_name(limit)}: {found.verdict} {figure(found, 40)}")

    def fail(self, mode: str, limit: str, why: str) -> None:
        """Say why an experiment could not be carried out."""
        self._say(f"  {mode}, {limit_name(limit)}: not carried out: {why}")


limits_screen = screens(LimitsScreen, PlainLimits)
"""The screen of the experiments."""
