"""Two saved results side by side: each figure old and new, and whether the difference is more than noise."""

from collections.abc import Iterator
from typing import Final

from rich.console import RenderableType
from rich.style import Style
from rich.text import Text

from taskdemo_cli.analysis.diff import Change, ChangesDocument
from taskdemo_cli.analysis.rounds import NAMES
from taskdemo_cli.reports.terminal.style import Drawing, Palette, cell, paragraph, row
from taskdemo_cli.units import format_count, format_seconds, format_share

LABEL: Final = 15
ROOMY: Final = 66
"""Below so many columns there is no place for the percentage."""
UNKNOWN: Final = "noise not known: it takes several rounds of both; save both with --rounds 5"


def changes_report(document: ChangesDocument) -> RenderableType:
    """Return the table of changes, a block for each mode, and what makes the two results hard to compare."""
    return Drawing(lambda width, _: _lines(document, width))


def _lines(document: ChangesDocument, width: int) -> Iterator[Text]:
    roomy = width >= ROOMY
    heading = f"{'':<{LABEL}}{'old':>10}{'new':>10}{'change' if roomy else '':>{9 if roomy else 0}}  verdict"
    for remark in document["remarks"]:
        yield from paragraph(remark, width, Palette.DOUBT)
    if document["remarks"]:
        yield row("")
    yield row((heading, Palette.DIM))
    before = None
    for change in document["changes"]:
        if change["mode"] != before:
            before = change["mode"]
            yield row((cell(before, width).rstrip(), Palette.BOLD))
        shown = format_count if change["figure"] == "requests_per_s" else format_seconds
        name = cell(f"  {NAMES[change['figure']]}", LABEL)
        figures = f"{shown(change['old']):>10}{shown(change['new']):>10}"
        figures += f"{_percentage(change):>9}  " if roomy else "  "
        yield row(name, figures, _words(change))
    if not document["changes"]:
        yield row(("The two results have no figure in common.", Palette.DOUBT))
    if any(change["outcome"] == "unknown" for change in document["changes"]):
        yield row("")
        yield from paragraph(UNKNOWN, width, Palette.DIM)


def _percentage(change: Change) -> str:
    if not change["old"]:
        return ""
    share = (change["new"] - change["old"]) / abs(change["old"])
    return f"{'-' if share < 0 else '+'}{format_share(abs(share))}"


def _words(change: Change) -> tuple[str, Style]:
    if change["outcome"] == "unknown":
        return "noise not known", Palette.DIM
    if change["outcome"] == "not comparable":
        return "not comparable", Palette.DOUBT
    if change["outcome"] == "within noise":
        return "within noise", Palette.PLAIN
    return f"{change['outcome']}, beyond noise", Palette.GOOD if change["outcome"] == "better" else Palette.BAD
