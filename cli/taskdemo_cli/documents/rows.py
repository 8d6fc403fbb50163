"""Rows of a document that are made when they are looked at, and the document as JSON text, never all in memory."""

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar, overload

Row = TypeVar("Row")


class Rows(Sequence[Row], Generic[Row]):
    """Rows that are made when they are looked at, because a million of them as dicts would take a gigabyte."""

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> list[Row]: ...
    def __getitem__(self, at: int | slice) -> Row | list[Row]:
        """Make the row at this place, or a list of those in a slice."""
        if isinstance(at, slice):
            return [self.make(i) for i in range(*at.indices(len(self)))]
        size = len(self)
        if not -size <= at < size:
            raise IndexError(at)
        return self.make(at % size)

    @abstractmethod
    def make(self, at: int) -> Row:
        """Make the row at the place `at`, 0 <= at < len(self)."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]  # as with lists; the base class would allow it


ROWS_PER_CHUNK = 500


def json_chunks(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the document as JSON text, in pieces that joined are one value; a row a line, never all in memory.

    Raises ValueError for a figure that JSON cannot hold (infinite, not a number).
    """
    yield from _chunks(document)
    yield "\n"


def _chunks(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping) and any(_holds_more(item) for item in value.values()):
        opening = "{"
        for key, item in value.items():
            yield f"{opening}{json.dumps(key)}:"
            yield from _chunks(item)
            opening = ",\n"
        yield "}"
    elif isinstance(value, Sequence) and not isinstance(value, str) and value:
        if isinstance(value[0], Mapping) and "requests" in value[0]:
            for place, item in enumerate(value):
                yield "[" if place == 0 else ",\n"
                yield from _chunks(item)
        else:
            for start in range(0, len(value), ROWS_PER_CHUNK):
                rows = value[start : start + ROWS_PER_CHUNK]
                yield ("[" if start == 0 else ",\n") + ",\n".join(_text(row) for row in rows)
        yield "]"
    else:
        yield _text([] if isinstance(value, Rows) else value)


def _holds_more(value: Any) -> bool:
    return isinstance(value, Mapping | Sequence) and not isinstance(value, str)


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
