"""The rows of a run, built on access, and the pairs of requests and tasks. Computes no figure."""

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar, overload

from taskdemo_cli.documents.run import RequestRow, RunDocument, TaskRow

Row = TypeVar("Row")


class Rows(Sequence[Row], Generic[Row]):
    """A sequence that builds a row with `make` on each access: a million rows would take most of a gigabyte."""

    def __init__(self, places: Sequence[int], make: Callable[[int], Row]) -> None:
        self._places = places
        self._make = make

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> list[Row]: ...
    def __getitem__(self, at: int | slice) -> Row | list[Row]:
        """Build the row at this place, or a list of those in a slice."""
        if isinstance(at, slice):
            return [self._make(place) for place in self._places[at]]
        return self._make(self._places[at])


def pairs(run: RunDocument) -> Iterator[tuple[RequestRow, TaskRow | None]]:
    """Yield every request with its task, if it has one.

    Tasks are in the order of their requests, so few are read ahead; any other order works too.
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
