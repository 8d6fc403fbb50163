"""Two saved results side by side: each figure old and new, and whether the difference is more than noise."""

from collections.abc import Iterator
from typing import Final

from rich.style import Style
from rich.text import Text

from taskdemo_cli.analysis.rounds import NAMES, figure_words
from taskdemo_cli.documents.changes import Change, ChangeOutcome, ChangesDocument
from taskdemo_cli.reports.terminal.style import Palette, cell, paragraph, row
from taskdemo_cli.units import format_share, told_apart

LABEL: Final = 15
ROOMY: Final = 66
"""Columns of a terminal that has room for the percentage."""
UNKNOWN: Final = "noise not known: both results need several rounds (compare --rounds 5)"
MEANS: Final = (
    "Each figure is the mean over its rounds. In a result's own table only percentiles are; the others are the largest."
)
BY_ROUNDS: Final[frozenset[ChangeOutcome]] = frozenset({"better", "worse", "within noise"})
OUTCOMES: Final[dict[ChangeOutcome, tuple[str, Style]]] = {
    "better": ("better, beyond noise", Palette.GOOD),
    "worse": ("worse, beyond noise", Palette.BAD),
    "within noise": ("within noise", Palette.PLAIN),
    "unknown": ("noise not known", Palette.DIM),
    "not comparable": ("not comparable", Palette.DOUBT),
}


def changes_report(document: ChangesDocument, width: int) -> Iterator[Text]:
    """Yield what makes the two results hard to compare, then the table of changes, a block for each mode."""
    roomy = width >= ROOMY
    heading = f"{'':<{LABEL}}{'old':>10}{'new':>10}{'change' if roomy else '':>{9 if roomy else 0}}  verdict"
    for remark in document.remarks:
        yield from paragraph(remark, width, Palette.DOUBT)
    if document.remarks:
        yield row("")
    yield row((heading, Palette.DIM))
    before = None
    for change in document.changes:
        if change.mode != before:
            before = change.mode
            yield row((cell(before, width).rstrip(), Palette.BOLD))
        figure = change.figure
        name = cell(f"  {NAMES[figure]}", LABEL)
        figures = f"{figure_words(figure, change.old):>10}{figure_words(figure, change.new):>10}"
        figures += f"{_percentage(change):>9}  " if roomy else "  "
        yield row(name, figures, OUTCOMES[change.outcome])
    if not document.changes:
        yield row(("The two results have no figure in common.", Palette.DOUBT))
    outcomes = {change.outcome for change in document.changes}
    if outcomes & BY_ROUNDS:
        yield row("")
        yield from paragraph(MEANS, width, Palette.DIM)
    if "unknown" in outcomes:
        yield row("")
        yield from paragraph(UNKNOWN, width, Palette.DIM)


def _percentage(change: Change) -> str:
    if not change.old:
        return ""
    share = (change.new - change.old) / abs(change.old)
    shown = told_apart([abs(share), 1.0], format_share)[0] if change.new else format_share(1.0)  # no "-100 %" of a rest
    return f"{'-' if share < 0 else '+'}{shown}"
