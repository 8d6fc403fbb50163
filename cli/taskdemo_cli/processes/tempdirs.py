"""Private temporary folders that never outlive their owner: removed at the end, or swept by the next start."""

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
"""The file in a folder that its process holds a lock of: the lock ends with the process, however that ends."""
_BEGUN_FOR_S: Final = 60.0
"""A broker's folder without an answering broker is being made just now; this old, its maker died in between."""
_REMOVE_FOR_S: Final = 3.0
_ours: Final[dict[Path, int]] = {}
"""The folders that this process made and has not removed, and the descriptors that hold their locks."""


def root() -> Path:
    """Return this user's folder for all of taskdemo's temporary folders, made if need be, readable by nobody else.

    Raises UserError where the folder belongs to somebody else or cannot be made.
    """
    user = os.getuid()
    folder = Path(tempfile.gettempdir()) / f"taskdemo-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if found.st_uid != user or folder.is_symlink():
            raise UserError(f"{folder} belongs to somebody else; set TMPDIR to a folder of yours")
        folder.chmod(0o700)
    except OSError as error:
        raise UserError(
            f"cannot make the temporary folder {folder} ({error.strerror}); set TMPDIR to another"
        ) from None
    return folder


def _lock(folder: Path) -> int:
    """Lock a folder, and return the descriptor that holds the lock. Raises OSError where another process has it."""
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def sweep() -> None:
    """Remove the folders that those left who died without doing it themselves."""
    for parent in {tempfile.gettempdir(), "/tmp"}:  # noqa: S108  where brokers have their sockets, see `broker.short_folder`
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
    """Tell whether a folder is ours, and nobody answers at the socket in it, not even as one that has just begun."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        found = folder.lstat()
        # Root's PostgreSQL is run by another user, whose the folder is.
        ours = stat.S_ISDIR(found.st_mode) and os.getuid() in {0, found.st_uid}
        if ours and time.time() - found.st_mtime > _BEGUN_FOR_S:
            return probe.connect_ex(str(folder / BROKER_SOCKET)) != 0
    return False


def make() -> Path:
    """Return a new folder (mode 0700) of this process, after a sweep. Raises UserError where it cannot be made."""
    sweep()
    try:
        while True:
            folder = Path(tempfile.mkdtemp(dir=root()))
            with contextlib.suppress(BlockingIOError, FileNotFoundError):  # swept just before
                _ours[folder] = _lock(folder)
                if folder.exists():
                    return folder
    except OSError as error:
        raise UserError(
            f"cannot write to the temporary folder {root()} ({error.strerror}); set TMPDIR to another"
        ) from None


def remove(folder: Path) -> None:
    """Remove a folder, even if somebody who is just ending still puts things into it; for a few seconds at the most."""
    deadline = time.monotonic() + _REMOVE_FOR_S
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists() or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    os.close(_ours.pop(folder))


def clear() -> None:
    """Remove whatever folder of this process is left; for the very end, when an insisting Ctrl-C cut others short."""
    for folder in list(_ours):
        remove(folder)


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a folder (mode 0700) of this process, gone at the end."""
    folder = make()
    try:
        yield folder
    finally:
        remove(folder)
