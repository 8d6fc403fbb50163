"""Documents as JSON text, and the type of each kind.

The text is made by the standard library's json, because texts from outside may hold lone surrogates.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

from msgspec import UNSET, to_builtins

from taskdemo_cli.documents.capacity import CapacityDocument
from taskdemo_cli.documents.comparison import ComparisonDocument
from taskdemo_cli.documents.limits import LimitsDocument
from taskdemo_cli.documents.run import Document, RunDocument
from taskdemo_cli.documents.scan import ScanDocument

AnyDocument: TypeAlias = RunDocument | ComparisonDocument | LimitsDocument | CapacityDocument | ScanDocument
KINDS: Final[dict[str, type[AnyDocument]]] = {
    "run": RunDocument,
    "comparison": ComparisonDocument,
    "limits": LimitsDocument,
    "capacity": CapacityDocument,
    "scan": ScanDocument,
}
"""The type that data of each kind is converted to: unknown fields are dropped, missing ones get their defaults."""


def runs_of(document: AnyDocument) -> Sequence[RunDocument]:
    """Return the runs of a run or of a comparison; other documents have none."""
    if isinstance(document, RunDocument):
        return [document]
    return document.runs if isinstance(document, ComparisonDocument) else ()


def json_chunks(document: Document) -> Iterator[str]:
    """Yield the document as JSON text, in pieces that joined are one value; one row per line, never all in memory.

    Raises ValueError for a figure that JSON cannot hold (infinite, not a number).
    """
    yield from _chunks(document)
    yield "\n"


def _chunks(value: Any) -> Iterator[str]:
    if isinstance(value, Document):
        opening = "{"
        for name in value.__struct_fields__:
            if (item := getattr(value, name)) is not UNSET:
                yield f"{opening}{json.dumps(name)}:"
                yield from _chunks(item)
                opening = ",\n"
        yield "}"
    elif isinstance(value, Sequence) and not isinstance(value, str):
        yield "["
        for place, row in enumerate(value):
            yield ",\n" if place else ""
            yield from _chunks(row)
        yield "]"
    else:
        yield json.dumps(to_builtins(value), separators=(",", ":"), allow_nan=False)
