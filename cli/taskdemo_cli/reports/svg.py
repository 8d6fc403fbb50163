"""A report as the picture of a terminal."""

import io
import re
from collections.abc import Iterator
from functools import partial
from typing import Final

from rich.console import Console

from taskdemo_cli.documents.codec import AnyDocument
from taskdemo_cli.documents.comparison import ComparisonDocument
from taskdemo_cli.reports.terminal.comparison import comparison_report
from taskdemo_cli.reports.terminal.documents import drawing
from taskdemo_cli.reports.terminal.style import Drawing
from taskdemo_server.contract.text import shortened

WIDTH: Final = 100


def chunks(document: AnyDocument) -> Iterator[str]:
    """Yield the report of any document as an SVG picture, in one piece."""
    yield picture(document, shortened(document.command or "taskdemo", 80))


def picture(document: AnyDocument, title: str, width: int = WIDTH) -> str:
    """Return the report of a document as an SVG picture of a terminal, which loads no external resource."""
    report = drawing(document)
    if isinstance(document, ComparisonDocument):
        report = Drawing(partial(comparison_report, document, whole=True))
    # No colour system: a rich style caches its first rendering, and the terminal may need another colour system.
    console = Console(
        file=io.StringIO(),
        record=True,
        width=width,
        force_terminal=True,
        color_system=None,
        no_color=False,
    )
    console.print(report)
    # Drop rich's font faces, which load fonts from the network; the reader's monospace font will do.
    return re.sub(r"@font-face \{.*?\}\s*", "", console.export_svg(title=shortened(title, width)), flags=re.DOTALL)
