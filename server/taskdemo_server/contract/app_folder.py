"""What `--app` means for a folder: whatever `fastapi dev` would start there. Standard library only."""

import tomllib
from pathlib import Path
from typing import Final

from taskdemo_server.contract.import_string import UnusableError
from taskdemo_server.contract.text import error_text, shortened

DEFAULT_FILES: Final = ("main.py", "app.py", "api.py", "app/main.py", "app/app.py", "app/api.py")
"""Where `fastapi dev` looks when no file is named, in its order."""


def found_in_folder(option: str, text: str, here: Path) -> tuple[str, Path]:
    """Return what `text` stands for and the folder to resolve it from; unchanged unless `text` is a folder or empty.

    A folder stands for the entrypoint in its pyproject.toml, or for a file with a usual name. Raises UnusableError if
    there is neither.
    """
    where, _, name = text.partition(":")
    folder = here / where
    is_named = Path(where).name.isidentifier()  # as a package must be; `.` and `..` are not
    if not folder.is_dir() or (is_named and folder.joinpath("__init__.py").is_file()):
        return text, here
    entrypoint = _entrypoint(option, text, folder)
    if entrypoint is not None and not name:
        return entrypoint, folder
    for file in DEFAULT_FILES:
        for path in (Path(where, file), Path(where, "src", file)):
            if (here / path).is_file():
                return f"{path}:{name}" if name else str(path), here
    raise UnusableError(
        f"{option} {text}: none of {', '.join(DEFAULT_FILES)} is in {shortened(str(folder.resolve()), 200)}, and its"
        f" pyproject.toml names no entrypoint under [tool.fastapi]; name the file: {option} path/to/file.py"
    )


def _entrypoint(option: str, text: str, folder: Path) -> str | None:
    try:
        with (folder / "pyproject.toml").open("rb") as file:
            found = tomllib.load(file).get("tool", {}).get("fastapi", {}).get("entrypoint")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, AttributeError) as error:
        raise UnusableError(f"{option} {text}: its pyproject.toml cannot be read ({error_text(error)})") from None
    if found is not None and not (isinstance(found, str) and found.partition(":")[0]):
        raise UnusableError(f"{option} {text}: the entrypoint in its pyproject.toml is {found!r}; it takes module:name")
    return found
