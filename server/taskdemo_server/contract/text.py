"""Text from outside, made safe to show: nothing in it can steer a terminal or hide. Standard library only."""

import re
from typing import Final

_OPTION: Final = re.compile(r"(password\s*=\s*)(?:'[^']*'|[^&\s]*)")
"""A password in the query of a URL, where Redis and PostgreSQL accept it too, or in PostgreSQL's `host=...`."""
_UNESCAPED: Final = re.compile(r"[/?#@\[\]]|%(?![0-9A-Fa-f]{2})")
"""What cannot stand in the password of a URL as it is; each library makes something else of it."""
_VALIDATING: Final = frozenset({"fastapi", "pydantic_core"})
"""Packages whose exceptions list the fields that are wrong; their text quotes the values, which may be secret."""


def escape(text: str) -> str:
    r"""Return `text` with every character that is not plainly visible written as its Python escape.

    Control characters, ANSI and OSC sequences, bidirectional and zero-width marks, line separators, lone
    surrogates (what `surrogateescape` makes of invalid UTF-8), unassigned and private characters: all come out
    as ``\x1b``, ``\u202e`` and the like. A backslash stays as it is, so the result is for reading, not parsing.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def shortened(text: str, width: int) -> str:
    """Return `escape(text)` cut to at most `width` characters; if it was cut, the last one is an ellipsis."""
    shown = escape(text[: width + 1])
    return shown if len(shown) <= width and len(text) <= width else shown[: max(width - 1, 0)] + "…"


def error_text(error: BaseException) -> str:
    """Return an exception's type and text on one line, cut to a length for the journal. Not safe to show."""
    try:
        text = " ".join(_words(error).split())
    except Exception:  # noqa: BLE001  str() of a user's exception may fail too
        text = ""
    return f"{type(error).__name__}: {text}"[:4096] if text else type(error).__name__


def _words(error: BaseException) -> str:
    """Return an exception's text and notes; of a group, also its first one's.

    Of pydantic's and FastAPI's, return which fields are wrong, without their values.
    """
    if isinstance(error, BaseExceptionGroup):
        return f"{error}: {error_text(error.exceptions[0])}"
    of_fields = getattr(error, "errors", None)
    if type(error).__module__.partition(".")[0] not in _VALIDATING or not callable(of_fields):
        return "; ".join([str(error), *getattr(error, "__notes__", ())])
    fields: dict[str, list[str]] = {}
    for one in of_fields():
        fields.setdefault(one["msg"], []).append(".".join(map(str, one["loc"])))
    return "; ".join(": ".join(filter(None, (", ".join(names), what))) for what, names in fields.items())


def without_password(url: str) -> str:
    """Return a broker's URL without its password, safe to show."""
    # Not by a URL parser: a password that breaks URL syntax, with a slash for instance, must be hidden too.
    before, at, place = url.rpartition("@")
    scheme, slashes, who = before.partition("://")
    user, colon, _ = who.partition(":")
    shown = f"{scheme}{slashes}{user}:***@{place}" if at and colon else url
    return shortened(_OPTION.sub(r"\1***", shown), 200)


def is_password_odd(url: str) -> bool:
    """Return whether a broker's URL has a password that must be written otherwise in a URL."""
    before, at, _ = url.rpartition("@")
    return bool(at) and _UNESCAPED.search(before.partition("://")[2].partition(":")[2]) is not None
