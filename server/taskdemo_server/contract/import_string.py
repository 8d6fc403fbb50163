"""Import strings, `module:name`: parses what the user typed, and imports it. Standard library only.

The one place that imports anything because somebody named it; a name from the network never gets here. Not
`pkgutil.resolve_name`, which imports and looks up in one call: an AttributeError in the module's own code would look
like a missing name, and the two need different messages.
"""

import difflib
import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from taskdemo_server.contract.text import escape, shortened
from taskdemo_server.contract.whose_code import INSTALLED, describe_error


class UnusableError(ValueError):
    """What the user named cannot be used; the text is one sentence that says what to type instead."""


def is_dotted(text: str) -> bool:
    """Return whether this is a Python name, or several joined by dots."""
    return all(part.isidentifier() for part in text.split("."))


def parse(option: str, text: str) -> tuple[str, str]:
    """Return the module and the name in `module:name`. Raises UnusableError if `text` does not have that form."""
    module, colon, name = text.partition(":")
    if colon and name.isidentifier() and is_dotted(module) and not module.endswith(".py"):
        if module == "__main__":
            raise UnusableError(f"{option} {text}: __main__ is taskdemo itself; name the module that {name} is in")
        return module, name
    if text.endswith(".py") or ".py:" in text or "/" in text:
        path, _, name = text.partition(":")
        guess = ".".join(part for part in path.removesuffix(".py").split("/") if part.isidentifier()) or "module"
        hint = f"a module is named without .py and with dots: {option} {guess}:{name or 'name'}"
    elif not colon and "." in text:
        hint = f"did you mean {option} {text.rpartition('.')[0]}:{text.rpartition('.')[2]}?"
    elif "." in name and is_dotted(name):
        hint = f"{name} is not a module-level name; call it in a function there, and name that: {option} {module}:NAME"
    else:
        hint = f"it takes {option} module:name, both Python names"
    raise UnusableError(f"{option} is {shortened(text, 100)!r}: {hint}")


def load(option: str, text: str, folder: str | None) -> Any:
    """Import what `text` names, looking in `folder` first. Raises UnusableError, whatever goes wrong in the import."""
    module_name, name = parse(option, text)
    return attribute(option, text, load_module(option, text, module_name, name, folder), name, folder)


def load_module(option: str, text: str, module_name: str, name: str, folder: str | None) -> ModuleType:
    """Import a module, looking in `folder` first. Raises UnusableError, in whose text `name` is what was wanted."""
    if folder is not None and folder not in sys.path:
        sys.path.insert(_after_the_library(), folder)
    try:
        return importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing is not None and f"{module_name}.".startswith(f"{missing}."):
            raise UnusableError(_no_module(option, module_name, name, folder)) from error
        what_to_do = "fix that first"
        if missing is not None and "." not in missing:
            what_to_do = _find_missing(f"{option} {{}}:{name}", module_name, Path(folder or ".").resolve(), missing)
        why = escape(f"{describe_error(error, 200)}; {what_to_do}")
        raise UnusableError(f"{option} {text}: importing it failed with {why}") from error


def has(folder: Path, module: str) -> bool:
    """Return whether a module or a package of this name is in this folder."""
    return folder.joinpath(f"{module}.py").is_file() or folder.joinpath(module).is_dir()


def attribute(option: str, text: str, module: ModuleType, name: str, folder: str | None) -> Any:
    """Return what `name`, maybe a dotted one, is in a module. Raises UnusableError, which suggests what there is."""
    name, *more = name.split(".")
    try:
        found = getattr(module, name)
    except AttributeError:
        there = [one for one, value in vars(module).items() if callable(value) and not one.startswith("_")]
        near = difflib.get_close_matches(name, there, n=1)
        has = f"{_place(module, folder)} has {_own_names(module, there)}"
        guess = f"did you mean {option} {module.__name__}:{near[0]}?" if near else has
        raise UnusableError(f"{option} {text}: there is no {name} in {module.__name__}; {guess}") from None
    for part in more:
        try:
            found = getattr(found, part)
        except AttributeError:
            raise UnusableError(f"{option} {text}: there is no {part} in {shortened(repr(found), 60)}") from None
    return found


def _after_the_library() -> int:
    """Return the index after the standard library in `sys.path`: a user's json.py must not break what inherits it."""
    places = (at for at, path in enumerate(sys.path) if Path(path).name in INSTALLED)
    return next(places, len(sys.path))


def _no_module(option: str, module: str, name: str, folder: str | None) -> str:
    here = Path(folder or ".")
    hint = f"looked in {shortened(str(here), 200)} first; go to the folder that {module.partition('.')[0]} is in"
    if near := _nearest(module.split("."), here):
        hint = f"did you mean {option} {'.'.join(near)}:{name}?"
    return f"{option} {module}:{name}: there is no module {module}; {hint}"


def _find_missing(typed: str, module: str, here: Path, missing: str) -> str:
    """Return what to do about a `missing` module, which `module` imports; `typed` takes the name to type instead."""
    if missing in here.parts:
        at = here.parts.index(missing)
        return f"go to {Path(*here.parts[:at])}, and type {typed.format('.'.join((*here.parts[at:], module)))}"
    folder, rest = here, module
    while "." in rest:
        package, _, rest = rest.partition(".")
        folder /= package
        if has(folder, missing):
            return f"go to {folder}, and type {typed.format(rest)}"
    return f"install it in {sys.prefix}, where taskdemo is, or install taskdemo where your application is"


def _nearest(parts: list[str], here: Path) -> list[str]:
    """Return the parts of a module's name with the first wrong one corrected; empty if nothing is similar."""
    first, *rest = parts
    there = {path.stem for path in here.glob("*.py")} | {path.parent.name for path in here.glob("*/__init__.py")}
    if first in there and rest:
        near = _nearest(rest, here / first)
        return [first, *near] if near else []
    near = difflib.get_close_matches(first, sorted(there), n=1)
    return [*near, *rest] if near else []


def _own_names(module: Any, callables: list[str]) -> str:
    """Return which of these names the module defines rather than imports, for people."""
    there = [(name, getattr(module, name)) for name in callables]
    own = [name for name, one in there if not hasattr(one, "__qualname__") or one.__module__ == module.__name__]
    return shortened(", ".join(own), 120) if own else "nothing that can be called"


def _place(module: Any, folder: str | None) -> str:
    file = Path(getattr(module, "__file__", None) or module.__name__)
    return shortened(str(file.relative_to(folder) if folder and file.is_relative_to(folder) else file), 200)
