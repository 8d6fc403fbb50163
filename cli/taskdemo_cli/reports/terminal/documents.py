"""The terminal report for each kind of document."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from rich.text import Text

from taskdemo_cli.documents.changes import ChangesDocument
from taskdemo_cli.documents.codec import AnyDocument
from taskdemo_cli.reports.terminal.capacity import capacity_report
from taskdemo_cli.reports.terminal.changes import changes_report
from taskdemo_cli.reports.terminal.comparison import comparison_report
from taskdemo_cli.reports.terminal.limits import limits_report
from taskdemo_cli.reports.terminal.run import run_report
from taskdemo_cli.reports.terminal.scan import scan_report
from taskdemo_cli.reports.terminal.style import Drawing

REPORTS: Final[dict[str, Callable[[Any, int], Iterator[Text]]]] = {
    "run": run_report,
    "comparison": comparison_report,
    "limits": limits_report,
    "capacity": capacity_report,
    "scan": scan_report,
    "changes": changes_report,
}
"""By the document's kind: the function that yields its lines for a terminal of so many columns."""


def drawing(document: AnyDocument | ChangesDocument) -> Drawing:
    """Return the report of a document of any kind, for rich to print."""
    return Drawing(partial(REPORTS[document.kind], document))
