"""A document as a table for spreadsheets (RFC 4180)."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from taskdemo_cli.documents.capacity import CapacityDocument
from taskdemo_cli.documents.codec import AnyDocument, runs_of
from taskdemo_cli.documents.limits import LimitsDocument
from taskdemo_cli.documents.rows import pairs
from taskdemo_cli.documents.scan import ScanDocument
from taskdemo_server.contract.text import escape

RUN_COLUMNS: Final = ("mode", "round")
REQUEST_COLUMNS: Final = (
    *("n", "task_id", "status", "error"),
    *("planned_s", "sent_s", "first_byte_s", "done_s", "response_s"),
)
TASK_COLUMNS: Final = ("state", "accepted_s", "started_s", "ended_s", "cpu_s", "where", "message", "error", "runs")
CELL_COLUMNS: Final = ("mode", "limit", "verdict", "text", "measured")
STEP_COLUMNS: Final = (
    *("rate", "sustained", "cause", "failed"),
    *("backlog", "backlog_growth_per_s", "growth_low_per_s", "growth_high_per_s", "max_parallel"),
)
STEP_TIMES: Final = ("response_s", "corrected_s", "completion_s", "work_s", "bystander_s")
"""The times of a step whose medians are columns."""
JUDGED_COLUMNS: Final = ("blocks", "cause", "loop_wait_s", "threads_wait_s")
ENDPOINT_COLUMNS: Final = (
    *("method", "path", "target", "skipped", "ok", "failed", "response_p50_s", "response_max_s"),
    *(*JUDGED_COLUMNS, "text"),
)
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""A spreadsheet evaluates a text that begins with one of these as a formula."""


def chunks(document: AnyDocument) -> Iterator[str]:
    """Yield the document as CSV (RFC 4180): one row per request with its task, per cell, step or endpoint."""
    return map(_line, _rows(document))


def _rows(document: AnyDocument) -> Iterator[Iterable[Any]]:
    match document:
        case LimitsDocument():
            yield CELL_COLUMNS
            for mode, cells in document.modes.items():
                for limit, cell in cells.items():
                    yield mode, limit, cell.verdict, cell.text, json.dumps(cell.measured)
        case CapacityDocument():
            yield "mode", *STEP_COLUMNS, *(f"{name.removesuffix('_s')}_p50_s" for name in STEP_TIMES)
            for mode, found in document.modes.items():
                for step in found.steps:
                    medians = [getattr(getattr(step, name), "p50", None) for name in STEP_TIMES]
                    yield mode, *(getattr(step, column) for column in STEP_COLUMNS), *medians
        case ScanDocument():
            yield ENDPOINT_COLUMNS
            for one in document.endpoints:
                counts = (one.summary.requests.ok, one.summary.requests.failed) if one.summary else (None, None)
                response = one.summary and one.summary.response_s
                times = (response.p50, response.max) if response else (None, None)
                judged = [getattr(one.blocking, name, None) for name in JUDGED_COLUMNS]
                yield one.method, one.path, one.target, one.skipped, *counts, *times, *judged, one.text
        case _:
            yield *RUN_COLUMNS, *REQUEST_COLUMNS, *(f"task_{column}" for column in TASK_COLUMNS)
            for run in runs_of(document):
                head = [getattr(run, column) for column in RUN_COLUMNS]
                for request, task in pairs(run):
                    tail = [getattr(task, column) if task else None for column in TASK_COLUMNS]
                    yield [*head, *(getattr(request, column) for column in REQUEST_COLUMNS), *tail]


def _line(values: Iterable[Any]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow([_cell(value) for value in values])
    return line.getvalue()


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = escape(value)
    return f"'{text}" if value.startswith(FORMULA) else text
