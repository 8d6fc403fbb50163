"""The capacity of each mode: live while the rates rise, and as the final report."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from rich.console import Console
from rich.style import Style
from rich.text import Text

from taskdemo_cli.documents.capacity import CapacityDocument, CapacityStep, ModeCapacity
from taskdemo_cli.reports.scales import WIDE, rates
from taskdemo_cli.reports.terminal.figures import progress
from taskdemo_cli.reports.terminal.notes import note_lines, threshold_lines
from taskdemo_cli.reports.terminal.painter import Screen
from taskdemo_cli.reports.terminal.style import NAME, NO, YES, Glyph, Palette, cell, paragraph, row
from taskdemo_cli.reports.terminal.timeline import axis_text
from taskdemo_cli.units import format_count, format_rate, format_seconds

FIGURE: Final = 9
"""Columns of a rate."""
CAUSE: Final = 12
STEP_LINES: Final = 8
"""How many of the newest steps are shown live."""


def capacity_report(document: CapacityDocument, width: int) -> Iterator[Text]:
    """Yield a sentence or two for each mode, then all modes on one scale, which a terminal still shows at the end."""
    yield from _text_lines(document, width)
    yield from capacity_table(list(document.modes), document.modes, width)
    legend = f"{Glyph.FULL} sustained  {Glyph.HATCHED} gave in; requests per second, on a logarithmic scale"
    yield from paragraph(f"{legend}; each step {format_seconds(document.step_s)}", width, Palette.DIM)
    yield from threshold_lines(document.thresholds or (), width)


def capacity_table(
    names: Sequence[str], modes: Mapping[str, ModeCapacity], width: int, running: str | None = None
) -> Iterator[Text]:
    """Yield a row for each mode on one logarithmic scale: sustained rates in full blocks, up to failure in hatched."""
    found_rates = [rate for one in modes.values() for rate in (one.sustained_per_s, one.failed_at_per_s) if rate]
    scale = rates(min(found_rates, default=1.0), max(found_rates, default=10.0))
    columns = max(width - NAME - 2 * FIGURE - CAUSE - 3, 8)

    def cells(place: float) -> int:
        return round(place * columns / WIDE)

    axis = {cells(place): label for place, label, _ in scale.ticks} if found_rates else {}
    yield row(
        (cell("", NAME + 1) + axis_text(axis, columns), Palette.DIM),
        (f"{'sustained':>{FIGURE + 1}}{'expected':>{FIGURE}} gave in", Palette.DIM),
    )
    for name in names:
        found = modes.get(name)
        if found is None:
            yield row(
                (_name(name) + " ", Palette.BOLD), ("measured now" if name == running else "waiting", Palette.DIM)
            )
            continue
        full = cells(scale.x(found.sustained_per_s or 0.0))
        until = max(cells(scale.x(found.failed_at_per_s or 0.0)), full + bool(found.failed_at_per_s))
        yield row(
            (_name(name) + " ", Palette.BOLD),
            (Glyph.FULL * full, Palette.GOOD),
            (Glyph.HATCHED * (min(until, columns) - full), Palette.WAITING),
            " " * (columns - min(until, columns)),
            cell(_sustained(found), FIGURE + 1, "right"),
            cell(Glyph.DASH if found.expected_per_s is None else format_rate(found.expected_per_s), FIGURE, "right"),
            " ",
            (cell(found.cause, CAUSE).rstrip(), Palette.BAD if found.cause == "refused" else Palette.PLAIN),
        )


def _name(name: str) -> str:
    return cell(name.removeprefix("http://"), NAME)  # of a URL, show the part that differs


def _sustained(found: ModeCapacity) -> str:
    if found.sustained_per_s is None:
        return Glyph.DASH
    return f"{'>' if found.is_at_least else ''}{format_rate(found.sustained_per_s)}"


def _text_lines(document: CapacityDocument, width: int) -> Iterator[Text]:
    for name, found in document.modes.items():
        yield from paragraph(found.text, width, first=_name(name) + " ")
    yield from note_lines(document, width)
    yield row("")


def step_words(step: CapacityStep) -> str:
    """Return the outcome of a step in one line."""
    took = f", p50 {format_seconds(step.response_s.p50)}" if step.response_s else ""
    growth = round(step.backlog_growth_per_s, 2)
    backlog = f"backlog {format_count(round(step.backlog))}, growing by {format_rate(growth)}"
    return f"{'sustained' if step.sustained else f'gave in, {step.cause}'}{took}, {backlog}"


class CapacityScreen(Screen):
    """The search: the modes so far, the steps of the running one, and how its backlog grows."""

    def __init__(self, console: Console, title: str, names: Sequence[str]) -> None:
        super().__init__(console, title, names)
        self._found: dict[str, ModeCapacity] = {}
        self._running: str | None = None
        self._what = self._doing = ""
        self._steps: list[CapacityStep] = []
        self._backlog: Sequence[tuple[float, float]] = ()
        self._share = 0.0

    def start(self, name: str, what: str) -> None:
        """Show what runs now: a step of mode `name`, with the option and the rate in `what`."""
        if name != self._running:
            self._running, self._steps = name, []
        self._what, self._backlog, self._share = what, (), 0.0
        self._doing = f"{name}: {what}, step {len(self._steps) + 1}{self._turn(name, 'mode ')}"
        self._show()

    def _turn(self, name: str, noun: str = "") -> str:
        return f" ({noun}{self._names.index(name) + 1} of {len(self._names)})" if len(self._names) > 1 else ""

    def update(self, backlog: Sequence[tuple[float, float]], share: float) -> None:
        """Show the step's backlog so far, as (moment, size), and the share of the step that is over."""
        self._backlog, self._share = backlog, share
        self._show()

    def measured(self, step: CapacityStep) -> None:
        """Show the outcome of a step."""
        self._steps.append(step)
        self._show(f"  {self._running} {self._what}: {step_words(step)}")

    def done(self, name: str, found: ModeCapacity) -> None:
        """Show the limit of a mode."""
        self._found[name] = found
        self._show(f"  {name}{self._turn(name)}: {_sustained(found)}, {found.cause}")

    def _lines(self, width: int) -> Iterator[Text]:
        yield row((cell(self._title, width), Palette.BOLD))
        yield row("")
        yield from capacity_table(self._names, self._found, width, self._running)
        if self._running is None:
            return
        yield row("")
        done, rest = progress(self._share, 20)
        yield row((done, Palette.WORKING), (rest, Palette.DIM), f"  {cell(self._doing, width - 22).rstrip()}")
        yield row((cell("backlog", NAME), Palette.DIM), *self._curve(width - NAME - FIGURE))
        for step in self._steps[-STEP_LINES:]:
            words = cell(step_words(step), width - FIGURE - 3).rstrip()
            sign = YES if step.sustained else NO
            yield row(cell(format_rate(step.rate), FIGURE, "right"), " ", sign, f" {words}")

    def _curve(self, columns: int) -> Iterator[tuple[str, Style]]:
        sizes = [size for _, size in self._backlog][-columns:]
        most = max(sizes, default=0.0)
        highest = len(Glyph.LEVELS) - 1
        drawn = "".join(Glyph.LEVELS[min(int(size / max(most, 8.0) * (highest + 1)), highest)] for size in sizes)
        yield drawn, Palette.WAITING
        yield f" {format_count(round(sizes[-1]))}" if sizes else "", Palette.PLAIN
