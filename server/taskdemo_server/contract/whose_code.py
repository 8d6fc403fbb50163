"""Whose code a file is: the user's, Python's, taskdemo's, or an installed library's. Standard library only."""

import functools
import sysconfig
import traceback
from pathlib import Path
from typing import Final

from taskdemo_server.contract.text import error_text

INSTALLED: Final = frozenset({"site-packages", "dist-packages"})
"""Names of folders that hold installed libraries."""
_NOT_USERS: Final = tuple(
    Path(folder).resolve()
    for folder in (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), Path(__file__).parents[1])
)
"""The folders of Python's and taskdemo's own files."""


@functools.cache
def is_pythons(filename: str) -> bool:
    """Return whether a file is Python's or taskdemo's own, or no file: some code has none, such as Python's startup."""
    path = Path(filename).resolve()
    is_within = any(path.is_relative_to(folder) for folder in _NOT_USERS)
    return filename.startswith("<") or (is_within and INSTALLED.isdisjoint(path.parts))


@functools.cache
def is_users(filename: str) -> bool:
    """Return whether a file is the user's own: neither Python's nor taskdemo's nor an installed package's."""
    path = Path(filename)  # what was compiled to C names its source, without the folder
    return path.is_absolute() and not is_pythons(filename) and INSTALLED.isdisjoint(path.resolve().parts)


def describe_error(error: BaseException, longest: int = 4096) -> str:
    """Return `Kind: text (file:line)` of an exception, on one line, with that many characters of text. Not escaped.

    The file and line are the last ones outside libraries, if there are any.
    """
    lines = []
    raised: BaseException | None = error
    while raised is not None:  # of a group, on to its first one
        lines += [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(raised.__traceback__)]
        raised = raised.exceptions[0] if isinstance(raised, BaseExceptionGroup) else None
    own = [f" ({Path(file).name}:{line})" for file, line in lines if is_users(file)]
    where = "".join(own[-1:])
    if isinstance(error, SyntaxError) and error.filename:
        where = f" ({Path(error.filename).name}:{error.lineno})"
        return f"{type(error).__name__}: {error.msg}{where}"
    text = error_text(error)
    return f"{text if len(text) <= longest else f'{text[: longest - 1]}…'}{where}"
