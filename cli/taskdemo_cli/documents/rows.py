"""Rows of a document that are made when they are looked at."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Generic, TypeVar, overload

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
