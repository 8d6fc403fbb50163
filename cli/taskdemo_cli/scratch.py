"""Private temporary folders that never outlive their owner: removed at the end, or swept by the next start."""

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from taskdemo_cli.errors import UserError

OWNER = "owner.json"
_UNOWNED_AFTER_S = 60.0
"""A folder without an owner file is being made just now, or its maker died in between; this old, it died."""


def root() -> Path:
    """Return this user's folder for all of taskdemo's temporary folders, made if need be, readable by nobody else.

    Raises UserError where the folder belongs to somebody else or cannot be made.
    """
    user = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
    folder = Path(tempfile.gettempdir()) / f"taskdemo-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if hasattr(os, "getuid") and (found.st_uid != os.getuid() or folder.is_symlink()):
            raise UserError(f"{folder} belongs to somebody else; set TMPDIR to a folder of yours")
        folder.chmod(0o700)
    except OSError as error:
        raise UserError(
            f"cannot make the temporary folder {folder} ({error.strerror}); set TMPDIR to another"
        ) from None
    return folder


def alive(pid: int, created: float) -> bool:
    """Tell whether the process that had `pid` when it was `created` (Unix time) still runs: a reused pid does not."""
    import psutil

    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - created) < 1.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def own(folder: Path, pid: int) -> None:
    """Make process `pid` the owner of `folder`: the folder goes when the process is gone."""
    import psutil

    try:
        created = psutil.Process(pid).create_time()
    except psutil.Error:
        created = 0.0
    (folder / OWNER).write_text(json.dumps({"pid": pid, "created": created}), encoding="utf-8")


def owned(folder: Path) -> bool:
    """Tell whether the owner of `folder` still runs."""
    try:
        owner = json.loads((folder / OWNER).read_text(encoding="utf-8"))
        return alive(int(owner["pid"]), float(owner["created"]))
    except (OSError, ValueError, KeyError, TypeError):
        with contextlib.suppress(OSError):
            return time.time() - folder.stat().st_mtime < _UNOWNED_AFTER_S
        return False


def sweep() -> None:
    """Remove the folders whose owners died without doing it themselves."""
    for folder in root().iterdir():
        if folder.is_dir() and not owned(folder):
            shutil.rmtree(folder, ignore_errors=True)


def make() -> Path:
    """Return a new folder (mode 0700) owned by this process, after a sweep."""
    sweep()
    folder = Path(tempfile.mkdtemp(dir=root()))
    own(folder, os.getpid())
    return folder


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Yield a folder (mode 0700) of this process, gone at the end."""
    folder = make()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
