"""Which runs a document holds, and which task belongs to which request of a run. Computes no figure."""

from collections.abc import Iterator, Sequence

from taskdemo_cli.documents.codec import AnyDocument
from taskdemo_cli.documents.comparison import ComparisonDocument
from taskdemo_cli.documents.run import RequestRow, RunDocument, TaskRow


def runs_of(document: AnyDocument) -> Sequence[RunDocument]:
    """Return the runs of a run or of a comparison; limits have none."""
    match document:
        case RunDocument():
            return [document]
        case ComparisonDocument():
            return document.runs
        case _:
            return ()


def pairs(run: RunDocument) -> Iterator[tuple[RequestRow, TaskRow | None]]:
    """Yield every request with its task, if it has one.

    The tasks come in the order of their requests, so those read ahead are few; in any other order it works too.
    """
    ahead: dict[str, TaskRow] = {}
    tasks = iter(run.tasks)
    for request in run.requests:
        wanted = request.task_id
        if wanted is not None and wanted not in ahead:
            for task in tasks:
                ahead[task.id] = task
                if task.id == wanted:
                    break
        yield request, ahead.pop(wanted, None) if wanted is not None else None
