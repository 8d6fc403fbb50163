"""What `--app` means: the module and the name of an application, as `fastapi dev` finds them. Standard library only."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from taskdemo_server.contract.import_string import UnusableError, has, is_dotted
from taskdemo_server.contract.text import error_text, shortened

OPTION: Final = "--app"
DEFAULT_FILES: Final = ("main.py", "app.py", "api.py", "app/main.py", "app/app.py", "app/api.py")
"""Where `fastapi dev` looks when no file is named, in its order."""


@dataclass(frozen=True, slots=True)
class Location:
    """Where an application is: a name in a module, or None to search it; and the folder to import the module from."""

    module: str
    name: str | None
    folder: Path
    file: Path | None = None
    """The file that was named; None if a module was."""


def locate(text: str, folder: Path) -> Location:
    """Return where an application is; `text` is a file, a folder or a module, each maybe with `:name`, or empty.

    Raises UnusableError if there is no such file.
    """
    text, folder = found_in_folder(text, folder)
    where, _, name = text.partition(":")
    name = name.removesuffix("()")
    if name and not is_dotted(name):
        raise UnusableError(f"{OPTION} is {shortened(text, 100)!r}: after the colon it takes a Python name")
    path = folder / where
    if path.is_file() or where.endswith(".py") or "/" in where:
        if path.is_dir():
            path /= "__init__.py"
        if not path.is_file():
            raise UnusableError(f"{OPTION} {text}: there is no file {shortened(str(path), 200)}")
        return _of_file(path.resolve(), name or None)
    if where == "__main__":
        raise UnusableError(f"{OPTION} {text}: __main__ is taskdemo itself; name the file that the application is in")
    if not is_dotted(where):
        raise UnusableError(f"{OPTION} is {shortened(text, 100)!r}: it takes a file, or module:name, both Python names")
    top = where.partition(".")[0]
    places = (one for one in (folder, folder / "src") if has(one, top))
    return Location(where, name or None, next(places, folder))


def found_in_folder(text: str, here: Path) -> tuple[str, Path]:
    """Return what `text` stands for and the folder to resolve it from; unchanged unless `text` is a folder or empty.

    A folder stands for the entrypoint in its pyproject.toml, or for a file with a usual name. Raises UnusableError if
    there is neither.
    """
    where, _, name = text.partition(":")
    folder = here / where
    is_named = Path(where).name.isidentifier()  # as a package must be; `.` and `..` are not
    if not folder.is_dir() or (is_named and folder.joinpath("__init__.py").is_file()):
        return text, here
    entrypoint = _entrypoint(text, folder)
    if entrypoint is not None and not name:
        return entrypoint, folder
    for file in DEFAULT_FILES:
        for path in (Path(where, file), Path(where, "src", file)):
            if (here / path).is_file():
                return f"{path}:{name}" if name else str(path), here
    raise UnusableError(
        f"{OPTION} {text}: none of {', '.join(DEFAULT_FILES)} is in {shortened(str(folder.resolve()), 200)}, and its"
        f" pyproject.toml names no entrypoint under [tool.fastapi]; name the file: {OPTION} path/to/file.py"
    )


def _entrypoint(text: str, folder: Path) -> str | None:
    try:
        with (folder / "pyproject.toml").open("rb") as file:
            found = tomllib.load(file).get("tool", {}).get("fastapi", {}).get("entrypoint")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError) as error:
        raise UnusableError(f"{OPTION} {text}: its pyproject.toml cannot be read ({error_text(error)})") from None
    if found is not None and not (isinstance(found, str) and found.partition(":")[0]):
        raise UnusableError(f"{OPTION} {text}: the entrypoint in its pyproject.toml is {found!r}; it takes module:name")
    return found


def _of_file(path: Path, name: str | None) -> Location:
    """Return the location of a file's module: each folder above it with an __init__.py is a package."""
    parts = [] if path.stem == "__init__" else [path.stem]
    folder = path.parent
    while folder.joinpath("__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    if not all(part.isidentifier() for part in parts):
        raise UnusableError(f"{OPTION} {path.name}: Python cannot import a file with that name; rename it")
    return Location(".".join(parts), name, folder, path)
