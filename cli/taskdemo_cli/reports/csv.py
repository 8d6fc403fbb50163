"""A document as a table for spreadsheets (RFC 4180)."""

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from taskdemo_cli.documents.capacity import CapacityDocument
from taskdemo_cli.documents.codec import AnyDocument
from taskdemo_cli.documents.limits import LimitsDocument
from taskdemo_cli.documents.pairing import pairs, runs_of
from taskdemo_cli.documents.scan import ScanDocument
from taskdemo_server.contract.text import escape

RUN_COLUMNS: Final = ("mode", "round")
REQUEST_COLUMNS: Final = (
    "n",
    "task_id",
    "status",
    "error",
    "planned_s",
    "sent_s",
    "first_byte_s",
    "done_s",
    "response_s",
)
TASK_COLUMNS: Final = ("state", "accepted_s", "started_s", "ended_s", "cpu_s", "where", "message", "error", "runs")
CELL_COLUMNS: Final = ("mode", "limit", "verdict", "text", "measured")
STEP_COLUMNS: Final = (
    "rate",
    "sustained",
    "cause",
    "failed",
    "backlog",
    "backlog_growth_per_s",
    "growth_low_per_s",
    "growth_high_per_s",
    "max_parallel",
)
STEP_TIMES: Final = ("response_s", "corrected_s", "completion_s", "work_s", "bystander_s")
"""Of each of these the median."""
ENDPOINT_COLUMNS: Final = (
    *("method", "path", "target", "skipped", "ok", "failed", "response_p50_s", "response_max_s"),
    *("blocks", "cause", "loop_wait_s", "threads_wait_s", "text"),
)
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""A spreadsheet takes a text that begins like this for something to compute."""


def chunks(document: AnyDocument) -> Iterator[str]:
    """Yield the document as CSV (RFC 4180): a row a request with its task, a limit's cell, a step, or an endpoint."""
    if isinstance(document, LimitsDocument):
        yield _line(CELL_COLUMNS)
        for mode, cells in document.modes.items():
            for limit, cell in cells.items():
                measured = json.dumps(cell.measured)
                yield _line((mode, limit, cell.verdict, cell.text, measured))
        return
    if isinstance(document, CapacityDocument):
        yield _line(("mode", *STEP_COLUMNS, *(f"{name.removesuffix('_s')}_p50_s" for name in STEP_TIMES)))
        for mode, found in document.modes.items():
            for step in found.steps:
                medians = [getattr(getattr(step, name), "p50", None) for name in STEP_TIMES]
                yield _line((mode, *(getattr(step, column) for column in STEP_COLUMNS), *medians))
        return
    if isinstance(document, ScanDocument):
        yield _line(ENDPOINT_COLUMNS)
        for one in document.endpoints:
            requests, response = (one.summary.requests, one.summary.response_s) if one.summary else (None, None)
            judged = one.blocking
            yield _line(
                (
                    *(one.method, one.path, one.target, one.skipped),
                    *((requests.ok, requests.failed) if requests else (None, None)),
                    *((response.p50, response.max) if response else (None, None)),
                    *(
                        (judged.blocks, judged.cause, judged.loop_wait_s, judged.threads_wait_s)
                        if judged
                        else [None] * 4
                    ),
                    one.text,
                )
            )
        return
    yield _line((*RUN_COLUMNS, *REQUEST_COLUMNS, *(f"task_{column}" for column in TASK_COLUMNS)))
    for run in runs_of(document):
        head = [getattr(run, column) for column in RUN_COLUMNS]
        for request, task in pairs(run):
            tail = [getattr(task, column) if task else None for column in TASK_COLUMNS]
            yield _line([*head, *(getattr(request, column) for column in REQUEST_COLUMNS), *tail])


def _line(values: Iterable[Any]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow([_cell(value) for value in values])
    return line.getvalue()


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = escape(value)
    return f"'{text}" if value.startswith(FORMULA) else text
