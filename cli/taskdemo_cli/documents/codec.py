"""A document as JSON text, and back: what is read has the shape of the types, whatever was in the file.

The text is made by the standard library's json, because texts from outside may hold lone surrogates.
"""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final, TypeAlias

from msgspec import UNSET, Struct, ValidationError, convert, to_builtins

from taskdemo_cli.documents.capacity import CapacityDocument
from taskdemo_cli.documents.comparison import ComparisonDocument
from taskdemo_cli.documents.limits import LimitsDocument
from taskdemo_cli.documents.run import RunDocument
from taskdemo_cli.documents.scan import ScanDocument

AnyDocument: TypeAlias = RunDocument | ComparisonDocument | LimitsDocument | CapacityDocument | ScanDocument
KINDS: Final[dict[str, type[AnyDocument]]] = {
    "run": RunDocument,
    "comparison": ComparisonDocument,
    "limits": LimitsDocument,
    "capacity": CapacityDocument,
    "scan": ScanDocument,
}
NOUNS: Final = {
    "int": "a whole number",
    "float": "a number",
    "str": "text",
    "bool": "true or false",
    "array": "a list",
    "object": "an object",
}
"""What the types of JSON are called in sentences."""


class ShapeError(ValueError):
    """The first place where the data does not fit, and what is wrong there, in a few words."""


def read(data: Any, kind: str) -> AnyDocument:
    """Return the data of this kind, one of KINDS, as its document. Raises ShapeError where it does not fit.

    Fields that the types do not know are left out; a field that is missing has its default, where it has one.
    """
    try:
        return convert(data, KINDS[kind])
    except ValidationError as error:
        raise ShapeError(_trouble(str(error))) from error
    except UnicodeEncodeError as error:  # of msgspec, where half a character stands for one of few words
        raise ShapeError("a text in it is not valid") from error


def _trouble(text: str) -> str:
    """Say in our words what msgspec found, and where."""
    text, _, path = text.partition(" - at `$")
    place = path.strip("`.") or "it"
    if missing := re.match(r"Object missing required field `(\w+)`", text):
        return f"{'' if place == 'it' else f'{place}.'}{missing[1]} is missing"
    if text.startswith("Invalid enum value"):
        return f"{place} cannot be {text.removeprefix('Invalid enum value ')}"
    if " <= " in text or " >= " in text:
        is_time = place.endswith("_s") and not place.endswith("per_s")
        return f"{place} is not a valid {'time' if is_time else 'figure'}"
    expected = re.match(r"Expected `(\w+)", text)
    return f"{place} is not {NOUNS.get(expected[1], expected[1]) if expected else 'valid'}"


def json_chunks(document: Struct | dict[str, Any]) -> Iterator[str]:
    """Yield the document as JSON text, in pieces that joined are one value; one row per line, never all in memory.

    Raises ValueError for a figure that JSON cannot hold (infinite, not a number).
    """
    yield from _chunks(document)
    yield "\n"


def _chunks(value: Any) -> Iterator[str]:
    if isinstance(value, AnyDocument):
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
