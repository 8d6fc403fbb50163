"""Reading a document's rows: which runs it holds, and which task belongs to which request. Computes no figure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

Row: TypeAlias = Mapping[str, Any]
AT_A_TIME = 500


def runs_of(document: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the runs of a run or of a comparison; limits have none."""
    runs: Sequence[Mapping[str, Any]] = [document] if document["kind"] == "run" else document.get("runs", ())
    return runs


def pairs(run: Mapping[str, Any]) -> Iterator[tuple[Row, Row | None]]:
    """Yield every request with its task, if it has one."""
    return ((request, task) for request, task in walk(run) if request is not None)


def walk(run: Mapping[str, Any]) -> Iterator[tuple[Row | None, Row | None]]:
    """Yield every request with its task, if it has one, and then the tasks that no request has named.

    The tasks come in the order of their requests, so those read ahead are few; in any other order it works too.
    """
    ahead: dict[str, Row] = {}
    tasks = _each(run["tasks"])
    for request in _each(run["requests"]):
        wanted = request["task_id"]
        if wanted is not None and wanted not in ahead:
            for task in tasks:
                ahead[task["id"]] = task
                if task["id"] == wanted:
                    break
        yield request, ahead.pop(wanted, None) if wanted is not None else None
    yield from ((None, task) for task in ahead.values())
    yield from ((None, task) for task in tasks)


def _each(rows: Sequence[Row]) -> Iterator[Row]:
    """Yield the rows; in slices, because rows that are made when they are looked at are made faster so."""
    for start in range(0, len(rows), AT_A_TIME):
        yield from rows[start : start + AT_A_TIME]
