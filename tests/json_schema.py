"""Makes schema.json, which says to programs what the types say; TASKDEMO_REVIEW=1 has its test write it.

It describes what is written, so every field that a document does not leave out is required.
"""

import ast
import inspect
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from msgspec import UNSET, Struct
from msgspec.json import schema_components
from msgspec.structs import fields

from taskdemo_cli import stats
from taskdemo_cli.documents import blocking, capacity, changes, comparison, limits, run, scan
from taskdemo_cli.documents.changes import ChangesDocument
from taskdemo_cli.documents.codec import KINDS

DESCRIPTION: Final = (
    "What --json prints and --save FILE.json keeps. Seconds everywhere, as numbers in names ending in _s; offsets "
    "count from the first planned send of the run; null where not measured. Names may be added, none is renamed."
)
WRITTEN: Final = (*KINDS.values(), ChangesDocument)
PATH: Final = Path(str(files("taskdemo_cli.documents").joinpath("schema.json")))


def schema() -> str:
    """Return the schema as JSON text, made of the types and of the strings below their fields."""
    _, components = schema_components(WRITTEN, ref_template="#/$defs/{name}")
    for module in (run, blocking, comparison, limits, capacity, scan, changes, stats):
        told = _descriptions(inspect.getsource(module))
        for name in components.keys() & vars(module).keys():
            _complete(components[name], vars(module)[name], told.get(name, {}))
    names = {name: _snake(name) for name in sorted(components, key=_snake)}
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:taskdemo:schema:1",
        "title": "Documents of taskdemo",
        "description": DESCRIPTION,
        "oneOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in WRITTEN],
        "$defs": {new: components[old] for old, new in names.items()},
    }
    text = re.sub(r'"#/\$defs/(\w+)"', lambda found: f'"#/$defs/{names[found[1]]}"', json.dumps(whole))
    return _laid_out(json.loads(text), levels=4) + "\n"


def _laid_out(value: Any, levels: int, indent: str = "") -> str:
    """Return JSON with the members of objects on lines of their own, so many levels deep."""
    if not isinstance(value, dict) or not levels:
        return json.dumps(value)
    inner = indent + "  "
    members = (f"{inner}{json.dumps(name)}: {_laid_out(item, levels - 1, inner)}" for name, item in value.items())
    return "{\n" + ",\n".join(members) + f"\n{indent}}}"


def _complete(component: dict[str, Any], struct: type[Struct], told: dict[str, str]) -> None:
    component.pop("title", None)
    component["description"] = inspect.cleandoc(component["description"])  # as msgspec itself does before 0.23
    component["required"] = [field.name for field in fields(struct) if field.default is not UNSET]
    for name, described in component["properties"].items():
        described.pop("default", None)
        if name in told:
            described["description"] = told[name]


def _descriptions(source: str) -> dict[str, dict[str, str]]:
    """Return, for each class, the string below each of its fields that has one."""
    return {
        node.name: {
            field.target.id: " ".join(below.value.value.split())
            for field, below in zip(node.body, node.body[1:], strict=False)
            if isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        }
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef)
    }


def _snake(name: str) -> str:
    """Return `task_counts` for TaskCounts, `request` for RequestRow and `run` for RunDocument."""
    plain = re.sub(r"(Row|Document)$", "", name)
    return re.sub(r"(?<!^)(?=[A-Z])", "_", plain).lower()
