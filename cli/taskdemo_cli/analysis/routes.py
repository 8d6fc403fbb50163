"""The routes in OpenAPI documents: which can be called without guessing, and with which values.

Pure. The documents come from users' applications, so whatever in them does not follow the specification is ignored.
"""

import re
import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

from taskdemo_cli.units import format_list

METHODS: Final = ("get", "post", "put", "patch", "delete", "options", "head", "trace")
DEEPEST: Final = 10
"""References and schemas that are nested deeper count as circular."""
SENT_ANYWAY: Final = frozenset({"accept", "host", "user-agent"})
"""Headers that every request has, with the client's own value if the document gives none."""
FRAMING: Final = frozenset({"content-length", "transfer-encoding"})
"""Headers that give a body's length: with an example value, the server would take what is sent next for that body."""
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_IN_A_PATH: Final = "/-._~!$&'()*+,;=:@%"
_IN_BRACES: Final = re.compile(r"\{([^{}:]*)[^{}]*\}")
"""A parameter in a path; in Starlette's own paths, a colon and a converter may follow the name."""
_NOTHING: Final = object()


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of an application."""

    method: str
    path: str
    """As in the document: `/items/{item_id}`."""
    target: str = ""
    """The path and query to request, with the document's example values."""
    headers: tuple[tuple[str, str], ...] = ()
    """The headers that it requires, with example values too."""
    skipped: str | None = None
    """Why it is not called; None if it can be."""
    key: str | None = None
    """The option that would send the API key that it takes."""


def routes_of(document: Mapping[str, Any], under: str = "", given: Collection[str] = ()) -> Iterator[Route]:
    """Yield every operation of a document, in its order; `under` is where its application is mounted.

    `given` are the names of headers, in lower case, that each request has anyway.
    """
    for path, item in _mapping(document.get("paths")).items():
        operations = _mapping(item)
        for method in METHODS:
            whole = under + path
            if method not in operations or not whole.startswith("/"):
                continue
            if method == "get":
                yield _route(document, whole, operations, _mapping(operations["get"]), given)
            else:
                yield Route(method.upper(), whole, skipped=f"{method.upper()} may write")


def _route(
    document: Mapping[str, Any],
    path: str,
    item: Mapping[str, Any],
    operation: Mapping[str, Any],
    given: Collection[str],
) -> Route:
    values: dict[str, dict[str, Any]] = {"path": {}, "query": {}, "header": {}, "cookie": {}}
    missing: list[str] = []
    for (place, name), parameter in _parameters(document, item, operation).items():
        if place not in values or not (place == "path" or parameter.get("required") is True):
            continue
        if place == "header" and name.lower() in given:
            continue
        value = _example(document, parameter)
        if _is_usable(value, place, name):
            values[place][name] = value
        elif place != "header" or name.lower() not in SENT_ANYWAY:
            missing.append(f"{name} ({place})")
    undescribed = [f"{name} (path)" for name in dict.fromkeys(_IN_BRACES.findall(path)) if name not in values["path"]]
    if missing := list(dict.fromkeys([*missing, *undescribed])):
        return Route("GET", path, skipped=f"it needs {format_list(missing)}, but no example is given")
    if _resolved(document, operation.get("requestBody")).get("required") is True:
        return Route("GET", path, skipped="it needs a body")
    query = urlencode({name: _listed(value) for name, value in values["query"].items()}, doseq=True, quote_via=quote)
    headers = [(name, _text(value)) for name, value in values["header"].items()]
    if values["cookie"] and "cookie" not in given:
        headers.append(("Cookie", "; ".join(f"{name}={_text(value)}" for name, value in values["cookie"].items())))
    filled = _IN_BRACES.sub(lambda found: quote(_text(values["path"][found[1]]), safe=""), path)
    target = quote(filled, safe=_IN_A_PATH) + (f"?{query}" if query else "")
    return Route("GET", path, target, tuple(headers), key=_key(document, operation, target, given))


def _key(document: Mapping[str, Any], operation: Mapping[str, Any], target: str, given: Collection[str]) -> str | None:
    schemes = _mapping(_mapping(document.get("components")).get("securitySchemes"))
    for needed in _sequence(operation.get("security", document.get("security"))):
        for scheme in (_resolved(document, schemes.get(name)) for name in _mapping(needed)):
            if scheme.get("type") == "apiKey" and _TOKEN.fullmatch(name := _text(scheme.get("name"))):
                if scheme.get("in") == "header" and name.lower() in given:
                    continue  # it is sent already, so it is not what is missing
                joined = "&" if "?" in target else "?"
                ways = {
                    "header": f"-H {shlex.quote(f'{name}: KEY')}",
                    "cookie": f"-H {shlex.quote(f'Cookie: {name}=KEY')}",
                    "query": f"--path {shlex.quote(f'{target}{joined}{name}=KEY')}",
                }
                return ways.get(str(scheme.get("in")))
    return None


def _parameters(
    document: Mapping[str, Any], item: Mapping[str, Any], operation: Mapping[str, Any]
) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Return the parameters by place and name; those of the operation override those of the whole path."""
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for one in (*_sequence(item.get("parameters")), *_sequence(operation.get("parameters"))):
        parameter = _resolved(document, one)
        found[str(parameter.get("in")), str(parameter.get("name"))] = parameter
    return found


def _example(document: Mapping[str, Any], parameter: Mapping[str, Any]) -> Any:
    """Return an example value that the document gives for a parameter; _NOTHING if it gives none."""
    if "example" in parameter:
        return parameter["example"]
    for one in _mapping(parameter.get("examples")).values():
        example = _resolved(document, one)
        if "value" in example:
            return example["value"]
    return _example_of(document, parameter.get("schema"), 0)


def _example_of(document: Mapping[str, Any], schema: Any, depth: int) -> Any:
    schema = _resolved(document, schema)
    if "example" in schema:
        return schema["example"]
    if examples := _sequence(schema.get("examples")):
        return examples[0]
    if schema.get("default") is not None:
        return schema["default"]
    if "const" in schema:
        return schema["const"]
    if allowed := _sequence(schema.get("enum")):
        return allowed[0]
    if depth < DEEPEST:
        for one in (*_sequence(schema.get("allOf")), *_sequence(schema.get("anyOf")), *_sequence(schema.get("oneOf"))):
            if (value := _example_of(document, one, depth + 1)) is not _NOTHING:
                return value
        if "items" in schema and (value := _example_of(document, schema["items"], depth + 1)) is not _NOTHING:
            return [value]
    return _NOTHING


def _resolved(document: Mapping[str, Any], value: Any) -> Mapping[str, Any]:
    """Return the object that a value is or refers to in the document; an empty one if the reference leads nowhere."""
    for _ in range(DEEPEST):
        reference = _mapping(value).get("$ref")
        if not isinstance(reference, str):
            return _mapping(value)
        value = document
        for part in reference.removeprefix("#/").split("/"):
            value = _mapping(value).get(part.replace("~1", "/").replace("~0", "~"))
    return {}


def _is_usable(value: Any, place: str, name: str) -> bool:
    """Return whether a value can be written in its place."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return place == "query" and all(isinstance(one, str | int | float) for one in value)
    if place == "query":
        return isinstance(value, str | int | float)
    # An empty value would make the path another route's; a header takes visible ASCII characters on one line.
    if not isinstance(value, str | int | float) or not (shown := _text(value)) or not shown.isprintable():
        return False
    if place == "path":
        return True
    return shown.isascii() and bool(_TOKEN.fullmatch(name)) and (place == "cookie" or name.lower() not in FRAMING)


def _listed(value: Any) -> Any:
    return [_text(one) for one in value] if isinstance(value, list) else _text(value)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _sequence(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
