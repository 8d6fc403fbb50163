"""Reading a document's rows: which runs it holds, and which task belongs to which request. Computes no figure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def runs_of(document: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the runs of a run or of a comparison; limits have none."""
    runs: Sequence[Mapping[str, Any]] = [document] if document["kind"] == "run" else document.get("runs", ())
    return runs


def pairs(run: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any] | None]]:
    """Yield every request with its task, if it has one.

    The tasks come in the order of their requests, so those read ahead are few; in any other order it works too.
    """
    ahead: dict[str, Mapping[str, Any]] = {}
    tasks = iter(run["tasks"])
    for request in run["requests"]:
        wanted = request["task_id"]
        if wanted is not None and wanted not in ahead:
            for task in tasks:
                ahead[task["id"]] = task
                if task["id"] == wanted:
                    break
        yield request, ahead.pop(wanted, None) if wanted is not None else None
