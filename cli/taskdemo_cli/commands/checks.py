"""What an option's text must be: each check returns what was meant, or raises UserError with what to type instead."""

import difflib
import math
import pathlib
from collections.abc import Callable
from typing import Any

from taskdemo_cli.errors import UserError
from taskdemo_cli.units import read_plain, read_seconds, read_whole
from taskdemo_server.contract import import_string
from taskdemo_server.contract.modes import ENGINES, GROUPS, MODE_BY_NAME
from taskdemo_server.contract.settings import BUILT_IN_WORKS
from taskdemo_server.contract.text import shortened


def a_mode(name: str | None) -> str | None:
    """Check a mode's name. Raises UserError with the names there are, the nearest first."""
    if name is None or name in MODE_BY_NAME:
        return name
    near = difflib.get_close_matches(name, MODE_BY_NAME, n=1)
    guess = f"did you mean {near[0]}? The" if near else "the"
    raise UserError(f"there is no mode {name!r}; {guess} modes are {', '.join(MODE_BY_NAME)}")


def an_engine(name: str) -> str:
    """Check an engine's name. Raises UserError with the names there are."""
    if name not in ENGINES:
        raise UserError(f"there is no engine {name!r}; the engines are {', '.join(ENGINES)}")
    return name


def a_work(text: str | None) -> str | None:
    """Check a work's name, not yet whether there is such a function. Raises UserError with what to type instead."""
    if text is None or text in BUILT_IN_WORKS:
        return text
    if ":" in text or "." in text:
        try:
            import_string.parse("--work", text)
        except import_string.UnusableError as error:
            raise UserError(str(error)) from None
        return text
    near = difflib.get_close_matches(text, BUILT_IN_WORKS, n=1)
    guess = f"did you mean {near[0]}? The" if near else "the"
    raise UserError(
        f"there is no work {text!r}; {guess} works are {', '.join(BUILT_IN_WORKS)}, or your own as module:function"
    )


def an_own_work(text: str | None) -> str | None:
    """Check the name of a function of the user's own. Raises UserError with what to type instead."""
    if text in BUILT_IN_WORKS:
        raise UserError(f"--work is {text}: each experiment has its own; leave --work out, or name module:function")
    return a_work(text)


def an_app(text: str | None) -> str | None:
    """Check the name of an ASGI application. Raises UserError with what to type instead."""
    try:
        if text is not None:
            import_string.parse("--app", text)
    except import_string.UnusableError as error:
        raise UserError(str(error)) from None
    return text


def a_token(text: str | None) -> str | None:
    """Check that a secret can be sent in a header. Raises UserError (which does not repeat it)."""
    if text is not None and not (text and text.isascii() and text.isprintable() and text == text.strip()):
        raise UserError("--token goes into a header: it takes visible ASCII characters, at least one")
    return text


def folder_of(name: str) -> str | None:
    """Return where to look for what the user has named: the current folder; None for a work that comes along."""
    try:
        return None if name in BUILT_IN_WORKS else str(pathlib.Path.cwd())
    except FileNotFoundError:
        raise UserError("the current folder is gone, and what you named is looked for there; cd to another") from None


def only_one(choices: dict[str, object]) -> None:
    """Raise UserError where more than one of these options was given."""
    given = [name for name, value in choices.items() if value is not None]
    if len(given) > 1:
        raise UserError(f"{given[0]} and {given[1]} each say where to fire: give one of them")


def mode_list(text: str | None) -> list[str] | None:
    """Read `A,B,...`, with groups of modes among them; None where nothing was asked for.

    Raises UserError for a name that is not a mode's.
    """
    if text is None:
        return None
    given = [name.strip() for name in text.split(",") if name.strip()]
    names = list(dict.fromkeys(mode for name in given for mode in GROUPS.get(name, (name,))))
    if not names:
        raise UserError(f"--modes names no mode; the modes are {','.join(MODE_BY_NAME)}")
    for name in names:
        a_mode(name)
    return names


def a_number(
    option: str,
    read: Callable[[str], float],
    words: str,
    least: float = 0,
    most: float = 1e9,
    *,
    above: bool = False,
) -> Callable[[Any], Any]:
    """Return what makes a number of an option's text; an option that was not given keeps its own default.

    What is returned raises UserError, with what the option takes.
    """

    def parse(given: Any) -> Any:
        try:
            value = read(given) if isinstance(given, str) else given
        except ValueError:
            value = math.nan
        if not least <= value <= most or (above and value == least):
            what = shortened(given, 40) if isinstance(given, str) and given.strip() else repr(given)
            limit = f", at most {most:,.0f}" if value > most and not words.endswith(str(most)) else ""
            raise UserError(f"{option} is {what}: it takes {words}{limit}")
        return value

    return parse


def from_1(option: str, most: float = 1e9) -> Callable[[Any], Any]:
    """Return what reads a count, 1 or more."""
    return a_number(option, read_whole, "a whole number from 1", 1, most)


def seconds(option: str, *, above: bool = False) -> Callable[[Any], Any]:
    """Return what reads a time in seconds; `above`: 0 is not one."""
    least = " above 0" if above else ", 0 or more"
    return a_number(option, read_seconds, f"seconds{least}, such as 2, 500ms or 1m", above=above)


def per_second(text: str) -> float:
    """Read a rate, `50` or `50/s`. Raises ValueError."""
    return read_plain(text.strip().removesuffix("/s"))


a_port = a_number("--port", read_whole, "0 (any free port) to 65535", 0, 65535)
a_used_port = a_number("--port", read_whole, "the port of a server, 1 to 65535", 1, 65535)
