"""Whether data from outside has the shape of a TypedDict, as it says itself. Knows no document and no file."""

import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, Required, Union, get_args, get_origin, get_type_hints, is_typeddict

LONGEST_S = 1e9
"""No time in a field named `..._s` is longer than these 31 years; a scale for a longer one could not be drawn."""


class ShapeError(ValueError):
    """The first place where the data does not fit, and what is wrong there."""


def fitted(value: Any, shape: Any, where: str = "") -> Any:
    """Return `value` as the type `shape` has it. Raises ShapeError, which names the place, where it does not fit.

    Fields that `shape` does not know stay. A field that is missing is None, or empty, where the type allows that.
    """
    origin = get_origin(shape)
    if origin in (Required, NotRequired):
        return fitted(value, get_args(shape)[0], where)
    if shape is Any:
        return value
    if is_typeddict(shape):
        return _fitted_fields(value, shape, where)
    if origin is Literal:
        if isinstance(value, str) and value in get_args(shape):
            return value
        raise ShapeError(f"{where} is none of {', '.join(map(repr, get_args(shape)))}")
    if origin in (Union, types.UnionType):
        return _fitted_to_one(value, get_args(shape), where)
    if origin in (list, Sequence):
        if not isinstance(value, list):
            raise ShapeError(f"{where} is no list")
        return [fitted(item, get_args(shape)[0], f"{where}[{place}]") for place, item in enumerate(value)]
    if origin in (dict, Mapping):
        if not isinstance(value, dict):
            raise ShapeError(f"{where} is no object")
        return {key: fitted(item, get_args(shape)[1], f"{where}.{key}") for key, item in value.items()}
    return _fitted_plain(value, shape, where)


def _fitted_fields(value: Any, shape: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ShapeError(f"{where or 'it'} is no object")
    fields = dict(value)
    for name, kind in get_type_hints(shape, include_extras=True).items():
        place = f"{where}.{name}" if where else name
        if name in value:
            fields[name] = fitted(value[name], kind, place)
        elif get_origin(kind) is not NotRequired:
            fields[name] = _absent(kind, place)
    return fields


def _absent(shape: Any, where: str) -> Any:
    if type(None) in get_args(shape):
        return None
    if get_origin(shape) in (list, Sequence):
        return []
    if get_origin(shape) in (dict, Mapping):
        return {}
    raise ShapeError(f"{where} is missing")


def _fitted_to_one(value: Any, shapes: Sequence[Any], where: str) -> Any:
    if value is None and type(None) in shapes:
        return None
    others = [shape for shape in shapes if shape is not type(None)]
    for shape in others[:-1]:
        try:
            return fitted(value, shape, where)
        except ShapeError:
            continue
    return fitted(value, others[-1], where)


def _fitted_plain(value: Any, shape: Any, where: str) -> Any:
    if shape is float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ShapeError(f"{where} is no number")
        if where.endswith("_s") and abs(value) > LONGEST_S:
            raise ShapeError(f"{where} is no time of this world")
        return float(value)
    if not isinstance(value, shape) or (shape is int and isinstance(value, bool)):
        words = {int: "whole number", str: "text", bool: "true or false"}
        raise ShapeError(f"{where} is no {words.get(shape, shape.__name__)}")
    return value
