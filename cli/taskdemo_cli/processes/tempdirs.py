"""Private temporary folders: removed when their process ends, or swept by the next start if it died."""

import contextlib
import fcntl
import os
import shutil
import socket
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from taskdemo_cli.errors import UserError
from taskdemo_server.contract.settings import BROKER_FOLDER, BROKER_SOCKET

_LOCK: Final = "lock"
"""The file in each folder that its process keeps locked; the lock ends with the process, even after a SIGKILL."""
_BEGUN_FOR_S: Final = 60.0
"""A broker's folder younger than this may belong to a broker that is still starting; an older one without an answering
broker is left over."""
_REMOVE_TIMEOUT_S: Final = 3.0
_ours: Final[dict[Path, int]] = {}
"""The folders that this process made and has not yet removed, with the descriptors that hold their locks."""


def root() -> Path:
    """Return this user's folder (mode 0700) for all of taskdemo's temporary folders; create it if necessary.

    Raises UserError if the folder belongs to another user or cannot be created.
    """
    user = os.getuid()
    folder = Path(tempfile.gettempdir()) / f"taskdemo-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if found.st_uid != user or folder.is_symlink():
            raise UserError(f"{folder} belongs to another user; set TMPDIR to your own folder")
        folder.chmod(0o700)
    except OSError as error:
        raise UserError(
            f"cannot make the temporary folder {folder} ({error.strerror}); set TMPDIR to another"
        ) from None
    return folder


def _lock(folder: Path) -> int:
    """Lock a folder and return the descriptor that holds the lock. Raises OSError if another process has it."""
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def sweep() -> None:
    """Remove the folders that dead processes left behind."""
    for parent in {tempfile.gettempdir(), "/tmp"}:  # noqa: S108  as in `valkey.make_folder`
        for folder in Path(parent).glob(f"{BROKER_FOLDER}*"):
            if _is_a_dead_brokers(folder):
                shutil.rmtree(folder, ignore_errors=True)
    for folder in list(root().iterdir()):
        if folder.is_dir() and not folder.is_symlink():
            with contextlib.suppress(OSError):
                descriptor = _lock(folder)
                shutil.rmtree(folder, ignore_errors=True)
                os.close(descriptor)


def _is_a_dead_brokers(folder: Path) -> bool:
    """Return whether a folder is ours, is no longer new, and no broker answers at the socket in it."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        found = folder.lstat()
        # For root, PostgreSQL runs as another user, who owns the folder.
        ours = stat.S_ISDIR(found.st_mode) and os.getuid() in {0, found.st_uid}
        if ours and time.time() - found.st_mtime > _BEGUN_FOR_S:
            return probe.connect_ex(str(folder / BROKER_SOCKET)) != 0
    return False


def make() -> Path:
    """Sweep, then return a new folder (mode 0700) of this process. Raises UserError if it cannot be created."""
    sweep()
    try:
        while True:
            folder = Path(tempfile.mkdtemp(dir=root()))
            with contextlib.suppress(BlockingIOError, FileNotFoundError):  # another process swept it before the lock
                _ours[folder] = _lock(folder)
                if folder.exists():
                    return folder
    except OSError as error:
        raise UserError(
            f"cannot write to the temporary folder {root()} ({error.strerror}); set TMPDIR to another"
        ) from None


def remove(folder: Path) -> None:
    """Remove a folder; retry for a few seconds, because an ending process may still write to it."""
    deadline = time.monotonic() + _REMOVE_TIMEOUT_S
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists() or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    os.close(_ours.pop(folder))


def clear() -> None:
    """Remove this process's remaining folders, at its very end: a second Ctrl-C may have skipped other cleanup."""
    for folder in list(_ours):
        remove(folder)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a new folder (mode 0700) of this process, and remove it at the end."""
    folder = make()
    try:
        yield folder
    finally:
        remove(folder)
