"""A report as the picture of a terminal."""

import io
import re
from collections.abc import Iterator
from functools import partial
from typing import Final

from rich.console import Console

from taskdemo_cli.documents.codec import AnyDocument
from taskdemo_cli.documents.comparison import ComparisonDocument
from taskdemo_cli.reports.terminal.documents import drawing
from taskdemo_cli.reports.terminal.report import comparison_report
from taskdemo_cli.reports.terminal.style import Drawing
from taskdemo_server.contract.text import shortened

WIDTH: Final = 100


def chunks(document: AnyDocument) -> Iterator[str]:
    """Yield the report of any document as a picture, in one piece."""
    yield picture(document, shortened(document.command or "taskdemo", 80))


def picture(document: AnyDocument, title: str, width: int = WIDTH) -> str:
    """Return the report of a document as the SVG picture of a terminal; it fetches nothing from anywhere."""
    report = drawing(document)
    if isinstance(document, ComparisonDocument):
        report = Drawing(partial(comparison_report, document, whole=True))
    # No colour system: a style remembers how it was written first, and the terminal may write it in another one.
    console = Console(
        file=io.StringIO(),
        record=True,
        width=width,
        force_terminal=True,
        color_system=None,
        no_color=False,
    )
    console.print(report)
    # Without rich's font faces, which name addresses to fetch them from; the reader's monospace font serves.
    return re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title=shortened(title, width)), flags=re.DOTALL)
