"""A report as the picture of a terminal."""

import io
import re
from collections.abc import Callable
from typing import Any

from rich.console import Console, RenderableType

from taskdemo_cli.documents.codec import AnyDocument
from taskdemo_cli.reports.terminal.capacity import capacity_report
from taskdemo_cli.reports.terminal.limits import limits_report
from taskdemo_cli.reports.terminal.report import comparison_report, run_report
from taskdemo_cli.reports.terminal.scan import scan_report
from taskdemo_server.contract.text import shortened


def picture_of(document: AnyDocument) -> str:
    """Return the report of any document as a picture."""
    draw: dict[str, Callable[[Any], Any]] = {
        "run": run_report,
        "comparison": lambda document: comparison_report(document, whole=True),
        "limits": limits_report,
        "capacity": capacity_report,
        "scan": scan_report,
    }
    return picture(draw[document.kind](document), shortened(document.command or "taskdemo", 80))


def picture(report: RenderableType, title: str, width: int = 100) -> str:
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
