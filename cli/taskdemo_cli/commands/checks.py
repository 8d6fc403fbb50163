"""Validators for option values: each returns what was meant, or raises UserError with what to type instead."""

import difflib
import math
import pathlib
import re
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

from taskdemo_cli.errors import UserError
from taskdemo_cli.units import read_plain, read_seconds, read_whole
from taskdemo_server.contract import import_string
from taskdemo_server.contract.app_location import found_in_folder
from taskdemo_server.contract.modes import DEFAULT_MODES, ENGINES, GROUPS, MODE_BY_NAME, NEEDS, WITH_BACKEND
from taskdemo_server.contract.settings import BUILT_IN_WORKS, LARGEST_POOL
from taskdemo_server.contract.text import shortened

if TYPE_CHECKING:  # slow to import
    from taskdemo_cli.documents.run import Skipped

# --- names -------------------------------------------------------------------------------------------------


def _one_of(kind: str, names: Collection[str], more: str = "") -> Callable[[str, str], str]:
    """Return a validator for a name. Typer's choices list the names, but suggest none for a misspelt one."""

    def check(_option: str, name: str) -> str:
        near = difflib.get_close_matches(name, names, n=1)
        guess = f"did you mean {near[0]}? The" if near else "the"
        if name not in names:
            raise UserError(f"there is no {kind} {name!r}; {guess} {kind}s are {', '.join(names)}{more}")
        return name

    return check


mode = _one_of("mode", MODE_BY_NAME)
_mode_of_several = _one_of("mode", [*MODE_BY_NAME, *GROUPS])
engine = _one_of("engine", ENGINES)
_need = _one_of("need", NEEDS)
_built_in_work = _one_of("work", BUILT_IN_WORKS, ", or your own as module:function")


def mode_list(text: str) -> list[str]:
    """Parse `A,B,...`, which may include groups of modes."""
    given = [name.strip() for name in text.split(",") if name.strip()]
    names = list(dict.fromkeys(mode for name in given for mode in GROUPS.get(name, (name,))))
    if not names:
        raise UserError(f"--modes is empty; the modes are {','.join(MODE_BY_NAME)}")
    return [_mode_of_several("--modes", name) for name in names]


def needs(names: list[str]) -> list[str]:
    """Validate names of needs, each value one name or `A,B,...`; a repeated name counts once."""
    return [_need("--need", name) for name in dict.fromkeys(name.strip() for text in names for name in text.split(","))]


def work(option: str, text: str) -> str:
    """Validate a work's name, but not whether the function exists."""
    if ":" not in text and "." not in text:
        return _built_in_work(option, text)
    try:
        import_string.parse(option, text)
    except import_string.UnusableError as error:
        raise UserError(str(error)) from None
    return text


def app(option: str, text: str) -> str:
    """Validate the name of an ASGI application, and return that of a folder as its file: `main.py`, not `.`.

    The server that imports it checks the rest.
    """
    if not text.strip():
        raise UserError(
            f"{option} is empty; it takes a file, a folder, or module:name, as fastapi dev does: --app main.py"
        )
    here = pathlib.Path(folder_of(text) or ".")
    try:
        found, folder = found_in_folder(text, here)
    except import_string.UnusableError as error:
        raise UserError(str(error)) from None
    return found if folder.samefile(here) else text


def token(option: str, text: str) -> str:
    """Validate that a secret can be sent in a header. The error does not repeat it."""
    if not (text and text.isascii() and text.isprintable() and text == text.strip()):
        raise UserError(f"{option} must be non-empty visible ASCII, because it is sent in a header")
    return text


def queue(option: str, name: str) -> str:
    """Validate that every engine accepts a queue of this name."""
    if not re.fullmatch(r"[A-Za-z][\w.-]{0,99}", name, re.ASCII):
        what = f"{option} {shortened(name, 80)!r} is not a queue name"
        raise UserError(f"{what}; start with a letter, then use letters, digits, '.', '_' or '-'")
    return name


# --- numbers -----------------------------------------------------------------------------------------------


def _number(
    read: Callable[[str], float], words: str, least: float = 0, most: float = 1e9, *, above: bool = False
) -> Callable[[str, Any], Any]:
    """Return a parser for the number of an option, from its name and text; a default, already a number, stays as it is.

    `above`: it must be more than `least`. `words` say in the error what the option takes. Typer's own `min` and `max`
    name neither the value nor what to type, and know no units.
    """

    def check(option: str, given: Any) -> Any:
        try:
            value = read(given) if isinstance(given, str) else given
        except ValueError:
            value = math.nan
        if not least <= value <= most or (above and value == least):
            what = shortened(given, 40) if isinstance(given, str) and given.strip() else repr(given)
            limit = f", at most {most:,.0f}" if value > most and not words.endswith(str(most)) else ""
            raise UserError(f"{option} is {what}: it takes {words}{limit}")
        return value

    return check


count = _number(read_whole, "a whole number from 1", 1)
process_count = _number(read_whole, "a whole number from 1", 1, LARGEST_POOL)
seconds = _number(read_seconds, "seconds, 0 or more, such as 2, 500ms or 1m")
seconds_above_0 = _number(read_seconds, "seconds above 0, such as 2, 500ms or 1m", above=True)
rate = _number(
    lambda text: read_plain(text.strip().removesuffix("/s")), "requests per second, above 0", 0, 1e6, above=True
)
port = _number(read_whole, "0 (any free port) to 65535", 0, 65535)
used_port = _number(read_whole, "the port of a server, 1 to 65535", 1, 65535)


# --- several options together ------------------------------------------------------------------------------


def only_one(choices: dict[str, object]) -> None:
    """Raise UserError if more than one of these options was given."""
    given = [name for name, value in choices.items() if value is not None]
    if len(given) > 1:
        raise UserError(f"{given[0]} and {given[1]} each say where to fire: give one of them")


def not_without(needed: str, typed: Iterable[str], names: Iterable[str]) -> None:
    """Raise UserError if an option of these names was typed: without `needed`, it means nothing."""
    own = {f"--{name}" for name in names}
    add = "add one" if " or " in needed else "add it"
    for option in typed:
        if option in own:
            raise UserError(f"{option} needs {needed}: {add}, or leave {option} out")


def used_by(modes: Iterable[str], **given: str | None) -> None:
    """Raise UserError if a broker, a backend or a queue is given, and none of these modes uses one."""
    for name, value in given.items():
        backed = ("that can keep results apart from tasks", WITH_BACKEND)
        which, users = backed if name == "backend" else ("of queue engines", ENGINES)
        if value is not None and not set(modes) & set(users):
            raise UserError(f"--{name} is for the modes {which}: {', '.join(users)}; choose one, or leave it out")


def installed_modes(modes: str | None, **queues: str | None) -> "tuple[list[str], list[Skipped]]":
    """Return which of these modes, or of the default ones, can be run here, and why the others cannot.

    `queues` are the options that one of them must have a use for. Raises UserError if none is installed.
    """
    from taskdemo_cli.documents.run import Skipped

    names = list(DEFAULT_MODES) if modes is None else mode_list(modes)
    used_by(names, **queues)
    missing = {name: extra for name in names if (extra := MODE_BY_NAME[name].missing)}
    if len(missing) == len(names):
        are = "is" if len(names) == 1 else "are"
        extras = ",".join(missing.values())
        raise UserError(f"{', '.join(names)} {are} not installed; run pip install 'taskdemo[{extras}]'")
    return [name for name in names if name not in missing], [
        Skipped(mode=name, why=f"not installed; run pip install 'taskdemo[{extra}]'") for name, extra in missing.items()
    ]


def folder_of(name: str) -> str | None:
    """Return the folder in which to look for what the user named: the current one; None for a built-in work.

    Raises UserError if that folder no longer exists.
    """
    try:
        return None if name in BUILT_IN_WORKS else str(pathlib.Path.cwd())
    except FileNotFoundError:
        raise UserError(
            "the current folder no longer exists, so what you named cannot be found; cd to another folder"
        ) from None
