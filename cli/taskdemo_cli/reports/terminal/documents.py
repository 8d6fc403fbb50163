"""Which report is drawn of which document."""

from collections.abc import Callable
from typing import Any, Final

from rich.console import RenderableType

from taskdemo_cli.reports.terminal.capacity import capacity_report
from taskdemo_cli.reports.terminal.diff_table import changes_report
from taskdemo_cli.reports.terminal.limits import limits_report
from taskdemo_cli.reports.terminal.report import comparison_report, run_report
from taskdemo_cli.reports.terminal.scan import scan_report

REPORTS: Final[dict[str, Callable[[Any], RenderableType]]] = {
    "run": run_report,
    "comparison": comparison_report,
    "limits": limits_report,
    "capacity": capacity_report,
    "scan": scan_report,
    "changes": changes_report,
}
"""By the document's kind."""
