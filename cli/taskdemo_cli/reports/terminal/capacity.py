"""How much each mode takes: while the rates rise, and when the limits are found."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.style import Style
from rich.text import Text

from taskdemo_cli.documents.capacity import CapacityDocument, CapacityStep, ModeCapacity
from taskdemo_cli.reports.scales import WIDE, Scale, round_numbers
from taskdemo_cli.reports.terminal.comparison_table import NAME
from taskdemo_cli.reports.terminal.figures import progress
from taskdemo_cli.reports.terminal.painter import Block, PlainLines, screens
from taskdemo_cli.reports.terminal.report import threshold_lines
from taskdemo_cli.reports.terminal.style import ASCII, WIDEST, Drawing, Glyphs, Palette, cell, paragraph, row
from taskdemo_cli.units import format_count, format_rate, format_seconds

FIGURE: Final = 9
"""Columns of a rate."""
CAUSE: Final = 12
STEP_LINES: Final = 8
"""So many of the newest steps are shown live."""


def capacity_report(document: CapacityDocument) -> RenderableType:
    """Return a sentence or two for each mode, and the picture of all on one scale, which a terminal shows last."""
    return Group(
        Drawing(lambda width, _: _text_lines(document, width)),
        Drawing(lambda width, glyphs: capacity_table(list(document.modes), document.modes, width, glyphs)),
        Drawing(lambda width, glyphs: _legend_lines(document, width, glyphs)),
        Drawing(lambda width, glyphs: threshold_lines(document.thresholds or (), width, glyphs)),
    )


class RateScale(Scale):
    """A logarithmic scale of rates in `columns` cells, from below the lowest to above the highest of them."""

    def __init__(self, rates: Sequence[float], columns: int) -> None:
        low = min(rates, default=1.0) * 0.501
        high = max(max(rates, default=10.0) * 1.12, low * 3.2)
        roundest_first = (rate for digit in (1, 5, 2) for rate in round_numbers(low, high, (digit,)))
        super().__init__(low, high, ((rate, format_rate(rate)) for rate in roundest_first), logarithmic=True)
        self.columns = columns

    def cells(self, rate: float | None) -> int:
        """Return how many cells lie below this rate."""
        return round(self.x(rate or 0.0) * self.columns / WIDE)

    def heading(self) -> str:
        """Return the labels that there is room for, each with its line below its first character."""
        line = [" "] * self.columns
        for x, rate, _ in self.ticks:
            label, at = f"|{rate}", round(x * self.columns / WIDE)
            end = at + len(label)
            if end <= self.columns and not "".join(line[max(at - 1, 0) : end + 1]).strip():
                line[at:end] = label
        return "".join(line)


def capacity_table(
    names: Sequence[str], modes: Mapping[str, ModeCapacity], width: int, glyphs: Glyphs, running: str | None = None
) -> Iterator[Text]:
    """Yield a row for each mode on one logarithmic scale: sustained in full, given in hatched."""
    rates = [rate for one in modes.values() for rate in (one.sustained_per_s, one.failed_at_per_s) if rate]
    scale = RateScale(rates, max(width - NAME - 2 * FIGURE - CAUSE - 3, 8))
    yield row(
        (cell("", NAME + 1) + cell(scale.heading(), scale.columns), Palette.DIM),
        (f"{'sustained':>{FIGURE + 1}}{'reckoned':>{FIGURE}} gave in", Palette.DIM),
    )
    for name in names:
        found = modes.get(name)
        if found is None:
            yield row(
                (cell(name, NAME + 1), Palette.BOLD), ("measured now" if name == running else "waiting", Palette.DIM)
            )
            continue
        full = scale.cells(found.sustained_per_s)
        until = max(scale.cells(found.failed_at_per_s), full + bool(found.failed_at_per_s))
        yield row(
            (cell(name, NAME) + " ", Palette.BOLD),
            (glyphs.full * full, Palette.GOOD),
            (glyphs.hatched * (min(until, scale.columns) - full), Palette.WAITING),
            " " * (scale.columns - min(until, scale.columns)),
            cell(_sustained(found, glyphs), FIGURE + 1, "right"),
            cell(glyphs.dash if found.expected_per_s is None else format_rate(found.expected_per_s), FIGURE, "right"),
            " ",
            (cell(found.cause, CAUSE).rstrip(), Palette.BAD if found.cause == "refused" else Palette.PLAIN),
        )


def _sustained(found: ModeCapacity, glyphs: Glyphs) -> str:
    if found.sustained_per_s is None:
        return glyphs.dash
    at_least = found.cause in {"client", "not reached"}
    return f"{'>' if at_least else ''}{format_rate(found.sustained_per_s)}"


def _legend_lines(document: CapacityDocument, width: int, glyphs: Glyphs) -> Iterator[Text]:
    words = f"{glyphs.full} sustained  {glyphs.hatched} gave in; requests per second, on a logarithmic scale"
    yield from paragraph(f"{words}; each step {format_seconds(document.step_s)}", width, Palette.DIM)


def _text_lines(document: CapacityDocument, width: int) -> Iterator[Text]:
    if document.interrupted:
        yield from paragraph("Interrupted: these are the limits and the steps up to then.", width, Palette.DOUBT)
        yield row("")
    for name, found in document.modes.items():
        yield from paragraph(found.text, width, first=cell(name, NAME) + " ")
    for skipped in document.skipped:
        yield from paragraph(f"skipped: {skipped.why}", width, Palette.DIM, first=cell(skipped.mode, NAME) + " ")
    yield row("")


def step_words(step: CapacityStep) -> str:
    """Return what became of a step, in a line."""
    took = f", response p50 {format_seconds(step.response_s.p50)}" if step.response_s else ""
    growth = round(step.backlog_growth_per_s, 2) + 0.0  # which makes a zero of a negative one
    backlog = f"backlog {format_count(round(step.backlog))}, growing by {format_rate(growth)}"
    return f"{'sustained' if step.sustained else f'gave in, {step.cause}'}{took}, {backlog}"


class CapacityScreen:
    """The search on a terminal: the modes so far, the steps of the one that is measured, and how its backlog grows."""

    def __init__(self, block: Block, title: str, names: Sequence[str]) -> None:
        self._block = block
        self._title = title
        self._names = list(names)
        self._glyphs = block.glyphs
        self._found: dict[str, ModeCapacity] = {}
        self._running: str | None = None
        self._doing = ""
        self._steps: list[CapacityStep] = []
        self._backlog: Sequence[tuple[float, float]] = ()
        self._share = 0.0
        self._paint()

    def start(self, name: str, what: str) -> None:
        """Say what is done now: a step at this rate, with this option."""
        if name != self._running:
            self._running, self._steps = name, []
        self._doing = f"{name}: {what}, step {len(self._steps) + 1}{self._turn(name)}"
        self._backlog, self._share = (), 0.0
        self._paint()

    def _turn(self, name: str) -> str:
        return f" (mode {self._names.index(name) + 1} of {len(self._names)})" if len(self._names) > 1 else ""

    def update(self, backlog: Sequence[tuple[float, float]], share: float) -> None:
        """Show the backlog so far, moments and sizes, and which share of the step is over."""
        self._backlog, self._share = backlog, share
        self._paint()

    def measured(self, step: CapacityStep) -> None:
        """Show what became of a step."""
        self._steps.append(step)
        self._paint()

    def done(self, name: str, found: ModeCapacity) -> None:
        """Put the limit of a mode into its row."""
        self._found[name] = found
        self._paint()

    def skip(self, name: str, why: str) -> None:
        """Leave a mode out; the final report says why."""
        del why
        self._names = [one for one in self._names if one != name]
        self._paint()

    def _paint(self) -> None:
        width = min(self._block.width, WIDEST)
        self._block.paint(list(self._lines(width)))

    def _lines(self, width: int) -> Iterator[Text]:
        yield row((cell(self._title, width), Palette.BOLD))
        yield row("")
        yield from capacity_table(self._names, self._found, width, self._glyphs, self._running)
        if self._running is None:
            return
        yield row("")
        done, rest = progress(min(self._share, 1.0), 20, self._glyphs)
        yield row((done, Palette.WORKING), (rest, Palette.DIM), f"  {cell(self._doing, width - 22).rstrip()}")
        yield row((cell("backlog", NAME), Palette.DIM), *self._curve(width - NAME - FIGURE))
        for step in self._steps[-STEP_LINES:]:
            sign, style = (self._glyphs.yes, Palette.GOOD) if step.sustained else (self._glyphs.no, Palette.BAD)
            words = cell(step_words(step), width - FIGURE - 2).rstrip()
            yield row(cell(format_rate(step.rate), FIGURE, "right"), " ", (sign, style), f" {words}")

    def _curve(self, columns: int) -> Iterator[tuple[str, Style]]:
        sizes = [size for _, size in self._backlog][-columns:]
        most = max(sizes, default=0.0)
        levels = self._glyphs.levels
        drawn = "".join(levels[min(int(size / max(most, 8.0) * len(levels)), len(levels) - 1)] for size in sizes)
        yield drawn, Palette.WAITING
        yield f" {format_count(round(sizes[-1]))}" if sizes else "", Palette.PLAIN


class PlainCapacity(PlainLines):
    """The search as plain lines, one for each step and one for each limit."""

    def __init__(self, console: Console, title: str, names: Sequence[str]) -> None:
        super().__init__(console, title)
        self._names = list(names)
        self._doing = ""

    def start(self, name: str, what: str) -> None:
        """Take note of what is done now: a step is told when it is through."""
        self._doing = f"{name} {what}"

    def measured(self, step: CapacityStep) -> None:
        """Say what became of a step."""
        self._say(f"  {self._doing}: {step_words(step)}")

    def done(self, name: str, found: ModeCapacity) -> None:
        """Say which limit was found."""
        turn = f" ({self._names.index(name) + 1} of {len(self._names)})" if len(self._names) > 1 else ""
        self._say(f"  {name}{turn}: {_sustained(found, ASCII)}, {found.cause}")


capacity_screen = screens(CapacityScreen, PlainCapacity)
"""The screen of the search."""
