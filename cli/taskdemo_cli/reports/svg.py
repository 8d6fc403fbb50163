"""A report as the picture of a terminal."""

import io
import re
from collections.abc import Iterator
from typing import Final

from rich.console import Console, RenderableType

from taskdemo_cli.documents.codec import AnyDocument
from taskdemo_cli.documents.comparison import ComparisonDocument
from taskdemo_cli.reports.terminal.documents import REPORTS
from taskdemo_cli.reports.terminal.report import comparison_report
from taskdemo_server.contract.text import shortened

WIDTH: Final = 100


def chunks(document: AnyDocument) -> Iterator[str]:
    """Yield the report of any document as a picture, in one piece."""
    if isinstance(document, ComparisonDocument):
        report = comparison_report(document, whole=True)
    else:
        report = REPORTS[document.kind](document)
    yield picture(report, shortened(document.command or "taskdemo", 80))


def picture(report: RenderableType, title: str, width: int = WIDTH) -> str:
    """Return a report as the SVG picture of a terminal; it fetches nothing from anywhere."""
    # No colour system: a style remembers how it was written first, and the terminal may write it in another one.
    console = Console(
        file=io.StringIO(),
        record=True,
        width=width,
        force_terminal=True,
        color_system=None,
        legacy_windows=False,
        no_color=False,
        markup=False,
        emoji=False,
        highlight=False,
    )
    console.print(report)
    # Without rich's font faces, which name addresses to fetch them from; the reader's monospace font serves.
    return re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title=shortened(title, width)), flags=re.DOTALL)
