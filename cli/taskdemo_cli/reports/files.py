"""Results as files: written atomically, in the format of the file's ending, and read back. Draws nothing itself."""

import contextlib
import errno
import glob
import json
import math
import os
import pkgutil
import secrets
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from msgspec import ValidationError, convert

from taskdemo_cli.documents.codec import KINDS, AnyDocument
from taskdemo_cli.errors import FAILED, UserError
from taskdemo_server.contract.settings import VERSION
from taskdemo_server.contract.text import escape, shortened

PAGE: Final = ".html"
_PART: Final = ".part"
_STILL_S: Final = 60.0
"""Seconds without growth after which a part file counts as abandoned."""
ADVICE: Final = "name a file that --save FILE.json wrote"
DIGITS: Final = 18
"""More digits than any integer of ours has; Python refuses to parse thousands of them."""


# --- before anything runs ----------------------------------------------------------------------------------


def check(saves: Iterable[str | Path] = (), html: str | Path | None = None) -> None:
    """Check, before anything is measured, that the results can be written.

    Raises UserError for an ending that names no format, and for a folder that is missing or not writable.
    """
    asked = [*(("--save", Path(path)) for path in saves), *([("--html", Path(html))] if html is not None else [])]
    for option, path in asked:
        try:
            why = _trouble_with_name(option, path) or _trouble_with_place(path)
        except OSError as error:  # such as a name that is too long
            why = f"that cannot be written ({_why(error)}); choose another name"
        if why:
            raise UserError(f"{option} {_shown(path)}: {why}")


def _trouble_with_name(option: str, path: Path) -> str:
    ending = path.suffix.lower()
    if option == "--html":
        wrong = f"the file's name must end in .html; try --html {_example(path, PAGE)}"
        return "" if ending in {PAGE, ".htm"} else wrong
    if ending == PAGE:
        return f"for a page, use --html {_example(path)}"
    if ending in WRITERS:
        return ""
    endings = ", ".join(ending for ending in WRITERS if ending != PAGE)
    stem = path.with_suffix("") if path.suffix else path
    return f"the file's name must end in one of {endings}; try --save {_example(stem, '.json')}"


def _example(path: Path, ending: str = "") -> str:
    """Return a file's name as one types it; a path that names none gets one."""
    return shlex.quote(_shown(path if path.name else path / "result") + ending)


def _trouble_with_place(path: Path) -> str:
    target = _target(path)
    folder = target.parent
    if not folder.is_dir():
        return f"there is no folder {_shown(folder)}; make it with: mkdir -p {shlex.quote(_shown(folder))}"
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        return f"the folder {_shown(folder)} cannot be written to ({_why(error)}); choose another folder"
    if target.exists() and not (target.is_file() and os.access(target, os.W_OK)):  # a device would be replaced
        return "that is not a file you can write to; choose another name"
    _remove_what_the_dead_left(target)
    return ""


# --- writing -----------------------------------------------------------------------------------------------


def save(document: AnyDocument, path: str | Path) -> None:
    """Write the document to a file in the format of its ending: .json, .csv, .md, .svg or .html.

    The file then holds the whole document, or is unchanged. Raises UserError if it cannot be written.
    """
    path = Path(path)
    writer = WRITERS[PAGE if path.suffix.lower() == ".htm" else path.suffix.lower()]
    try:
        _write(_target(path), pkgutil.resolve_name(writer)(document))
    except OSError as error:
        raise UserError(f"{_shown(path)} could not be written ({_why(error)}); choose another path") from error


def save_all(document: AnyDocument, paths: Iterable[str], wrote: Callable[[str], None]) -> None:
    """Save the document to every path, even if some cannot be written; report those together at the end.

    Calls `wrote` with each path written. Raises UserError with the exit code of a run in which something failed.
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
    """Return an unused path in the same folder, so that the finished file can replace the target atomically."""
    return target.with_name(f".{target.name[:50]}.{secrets.token_hex(4)}{_PART}")


def _remove_what_the_dead_left(target: Path) -> None:
    """Remove the target's part files whose writers were killed."""
    for growing in target.parent.glob(f".{glob.escape(target.name[:50])}.????????{_PART}"):
        with contextlib.suppress(OSError):
            if time.time() - growing.stat().st_mtime > _STILL_S:
                growing.unlink()


def _target(path: Path) -> Path:
    """Resolve symbolic links: saving replaces the file, not the link to it."""
    try:
        return Path(os.path.realpath(path))  # unlike resolve(), it knows links that lead in a circle
    except FileNotFoundError as error:
        raise UserError(f"{_shown(path)}: the current folder no longer exists; use an absolute path") from error


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
"""The generator of a document's text by file ending; imported on demand, because Jinja2 and rich are slow to import."""


# --- reading back ------------------------------------------------------------------------------------------


def load(path: str | Path) -> AnyDocument:
    """Read a saved result. Raises UserError if the file is missing, or not a result of ours.

    Whatever the file holds, the returned document has the types that the reports rely on.
    """
    path = Path(path)
    try:
        data = json.loads(path.read_bytes(), parse_constant=_finite, parse_float=_finite, parse_int=_whole)
    except OSError as error:
        raise UserError(f"{_shown(path)} cannot be read ({_why(error)}); {ADVICE}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{_shown(path)} is not JSON; {ADVICE}") from error
    maker = data.get("taskdemo", VERSION) if isinstance(data, dict) else VERSION
    advice = ADVICE if maker == VERSION else f"show it with taskdemo {shortened(str(maker), 20)}, which wrote it"
    if not isinstance(data, dict) or "taskdemo" not in data or data.get("kind") not in list(KINDS):
        raise UserError(f"{_shown(path)} is JSON, but not a result that taskdemo {VERSION} can show; {advice}")
    try:
        document: AnyDocument = convert(data, KINDS[data["kind"]])
    except (ValidationError, UnicodeEncodeError, RecursionError) as error:  # a lone surrogate
        raise UserError(f"{_shown(path)} is not a whole result: {shortened(str(error), 120)}; {advice}") from error
    return document


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a number")
    return number


def _whole(text: str) -> int:
    if len(text) > DIGITS:
        raise ValueError("a number too long")
    return int(text)
