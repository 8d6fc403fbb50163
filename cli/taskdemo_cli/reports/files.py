"""Results as files: written by their ending, whole or not at all, and read back. Draws nothing itself.

A file appears under its name only when it is complete.
"""

import contextlib
import errno
import glob
import json
import math
import os
import pkgutil
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from taskdemo_cli.documents.codec import KINDS, AnyDocument, ShapeError, read
from taskdemo_cli.errors import FAILED, UserError
from taskdemo_server.contract.settings import VERSION
from taskdemo_server.contract.text import escape, shortened

PAGE: Final = ".html"
_PART: Final = ".part"
_STILL_S: Final = 60.0
"""Nobody writes any more to a growing file that has not grown for so long."""
DIGITS: Final = 18
"""More than a whole number of ours ever has; Python refuses to read thousands of them."""


# --- before anything runs ----------------------------------------------------------------------------------


def check(saves: Iterable[str | Path] = (), html: str | Path | None = None) -> None:
    """Make sure that the results can be written where they are to go, before the work of measuring them is done.

    Raises UserError for an ending that says no format, and for a folder that is missing or cannot be written to.
    """
    for path in map(Path, saves):
        if path.suffix.lower() == PAGE:
            raise UserError(f"--save {_shown(path)}: a page is made by --html {_shown(path)}")
        if path.suffix.lower() not in WRITERS:
            endings = ", ".join(ending for ending in WRITERS if ending != PAGE)
            stem = path.with_suffix("") if path.suffix else path
            raise UserError(
                f"--save {_shown(path)}: the file's ending says the format, one of {endings}; "
                f"try --save {_shown(stem)}.json"
            )
        _check_place(path, "--save")
    if html is not None:
        path = Path(html)
        if path.suffix.lower() not in {PAGE, ".htm"}:
            raise UserError(f"--html {_shown(path)}: the file's name must end in .html; try --html {_shown(path)}.html")
        _check_place(path, "--html")


def _check_place(path: Path, option: str) -> None:
    try:
        target = _target(path)
        target.lstat()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise UserError(f"{option} {_shown(path)}: no file can have that name ({_why(error)})") from error
    folder = target.parent
    if not folder.is_dir():
        raise UserError(
            f"{option} {_shown(path)}: there is no folder {_shown(folder)}; make it with: mkdir -p {_shown(folder)}"
        )
    if target.is_dir():
        raise UserError(f"{option} {_shown(path)}: that is a folder; name a file in it")
    if target.exists() and not target.is_file():  # it would be replaced, be it a device
        raise UserError(f"{option} {_shown(path)}: that is not an ordinary file; name one")
    if target.exists() and not os.access(target, os.W_OK):
        raise UserError(f"{option} {_shown(path)}: that file may not be written; choose another name or allow it")
    _remove_what_the_dead_left(target)
    probe = _beside(target)
    try:
        probe.open("xb").close()
    except OSError as error:
        raise UserError(
            f"{option} {_shown(path)}: the folder {_shown(folder)} cannot be written to ({_why(error)}); "
            "choose another folder"
        ) from error
    finally:  # a Ctrl-C may come in between
        with contextlib.suppress(OSError):
            probe.unlink()


# --- writing -----------------------------------------------------------------------------------------------


def save(document: AnyDocument, path: str | Path) -> None:
    """Write the document to the file in the format that its ending names: .json, .csv, .md, .svg or .html.

    The file holds the whole document or stays as it was. Raises UserError where it could not be written.
    """
    path = Path(path)
    writer = WRITERS[PAGE if path.suffix.lower() == ".htm" else path.suffix.lower()]
    try:
        _write(_target(path), pkgutil.resolve_name(writer)(document))
    except OSError as error:
        raise UserError(f"{_shown(path)} could not be written ({_why(error)}); name one elsewhere") from error


def save_all(document: AnyDocument, paths: Iterable[str], wrote: Callable[[str], None]) -> None:
    """Save the document everywhere it is to go; what cannot be is said at the end, after all the others.

    `wrote` is called with each path that is written. Raises UserError with the exit code of a run in which something
    failed.
    """
    troubles: list[str] = []
    for path in paths:
        try:
            save(document, path)
        except UserError as error:
            troubles.append(str(error))
        else:
            wrote(path)
    if troubles:
        raise UserError("; ".join(troubles), FAILED)


def _write(target: Path, chunks: Iterable[str]) -> None:
    growing = _beside(target)
    try:
        with growing.open("x", encoding="utf-8", newline="") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, growing)
        growing.replace(target)
    finally:
        with contextlib.suppress(OSError):
            growing.unlink(missing_ok=True)


def _beside(target: Path) -> Path:
    """Return a name that is free, in the same folder, so that the finished file can take the target's place at once."""
    return target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}{_PART}")


def _remove_what_the_dead_left(target: Path) -> None:
    """Remove what was being written in the target's place when its writer was killed."""
    for growing in target.parent.glob(f".{glob.escape(target.name[:100])}.????????{_PART}"):
        with contextlib.suppress(OSError):
            if time.time() - growing.stat().st_mtime > _STILL_S:
                growing.unlink()


def _target(path: Path) -> Path:
    """Return the file itself where `path` is a symbolic link: it is the file that is replaced."""
    with contextlib.suppress(RuntimeError):  # nobody of that name: then it is a folder's
        path = path.expanduser()
    try:
        return path.resolve()
    except FileNotFoundError as error:
        raise UserError(f"{_shown(path)}: the current folder is gone; name the file from / on") from error
    except RuntimeError as error:
        raise UserError(f"{_shown(path)} leads nowhere: its symbolic links go round in a circle") from error


def _why(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "the disk is full"
    return error.strerror or type(error).__name__


def _shown(path: Path) -> str:
    return escape(str(path))


# --- the formats -------------------------------------------------------------------------------------------


WRITERS: Final = {
    ".json": "taskdemo_cli.documents.codec:json_chunks",
    ".csv": "taskdemo_cli.reports.csv:chunks",
    ".md": "taskdemo_cli.reports.markdown:chunks",
    ".svg": "taskdemo_cli.reports.svg:chunks",
    PAGE: "taskdemo_cli.reports.html.page:page",
}
"""By a file's ending, what yields a document's text; loaded where it is needed, because Jinja2 and rich take time."""


# --- reading back ------------------------------------------------------------------------------------------


def load(path: str | Path) -> AnyDocument:
    """Read a saved result back. Raises UserError for a file that is missing, or is none of ours.

    Whatever is in the file, what is returned has the shape that the reports rely on.
    """
    path = Path(path)
    try:
        if stat.S_ISCHR(path.stat().st_mode):  # of which there may be no end
            raise UserError(f"{_shown(path)} is not a file; name one that --save wrote")
        text = path.read_bytes()
    except OSError as error:
        raise UserError(f"{_shown(path)} cannot be read ({_why(error)}); name a file that --save wrote") from error
    try:
        data = json.loads(text, parse_constant=_finite, parse_float=_finite, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{_shown(path)} is not JSON; name a file that --save FILE.json wrote") from error
    if not isinstance(data, dict) or not isinstance(data.get("taskdemo"), str):
        raise UserError(
            f"{_shown(path)} is JSON, but not a result of taskdemo; name a file that --save FILE.json wrote"
        )
    kind, writer = data.get("kind"), data["taskdemo"]
    if kind == "changes":
        again = "type: taskdemo compare OLD.json NEW.json"
        raise UserError(f"{_shown(path)} holds what changed between two results, which are not in it; {again}")
    if not isinstance(kind, str) or kind not in KINDS:
        upgrade = f"it was written by taskdemo {shortened(writer, 40)}: pip install --upgrade taskdemo"
        advice = "name a file that --save FILE.json wrote" if writer == VERSION else upgrade
        raise UserError(
            f"{_shown(path)} holds {shortened(repr(kind), 40)}, which taskdemo {VERSION} does not know; {advice}"
        )
    try:
        return read(data, kind)
    except (ShapeError, RecursionError) as error:
        raise UserError(
            f"{_shown(path)} is not a whole result of taskdemo: {shortened(str(error), 120)}; save it again"
        ) from error


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a number")
    return number


def _whole(text: str) -> int:
    if len(text) > DIGITS:
        raise ValueError("a number too long")
    return int(text)
