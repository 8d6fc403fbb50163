"""Private temporary folders that never outlive their owner: removed at the end, or swept by the next start."""

import contextlib
import json
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

OWNER: Final = "owner.json"
_UNOWNED_AFTER_S: Final = 60.0
"""A folder without an owner file is being made just now, or its maker died in between; this old, it died."""
_FOREIGN_AFTER_S: Final = 86_400.0
"""Whether a process of another host (a container that shares our folder) lives cannot be told; this long it may."""
_REMOVE_FOR_S: Final = 3.0
_ours: Final[set[Path]] = set()
"""The folders that this process made, and has not removed."""


def root() -> Path:
    """Return this user's folder for all of taskdemo's temporary folders, made if need be, readable by nobody else.

    Raises UserError where the folder belongs to somebody else or cannot be made.
    """
    user = os.getuid()
    folder = Path(tempfile.gettempdir()) / f"taskdemo-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if found.st_uid != os.getuid() or folder.is_symlink():
            raise UserError(f"{folder} belongs to somebody else; set TMPDIR to a folder of yours")
        folder.chmod(0o700)
    except OSError as error:
        raise UserError(
            f"cannot make the temporary folder {folder} ({error.strerror}); set TMPDIR to another"
        ) from None
    return folder


def born(pid: int) -> str | None:
    """Return when the process `pid` was started, as a text that no later process of that pid has; None if it is gone.

    On Linux in ticks since boot, because a date would change whenever the clock is set.
    """
    try:
        line = Path(f"/proc/{pid}/stat").read_bytes()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        fields = line[line.rindex(b")") + 2 :].split()
        return None if fields[0] in {b"Z", b"X"} else f"{boot} {fields[19].decode()}"
    except (OSError, ValueError, IndexError):
        pass
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except (psutil.Error, ValueError, OverflowError):
        return None


def alive(pid: int, when: str) -> bool:
    """Tell whether the process that had `pid` and was `born` then still runs: a reused pid does not."""
    return pid > 0 and born(pid) == when


def own(folder: Path, pid: int) -> None:
    """Make process `pid` the owner of `folder`: the folder goes when the process is gone."""
    owner = {"host": socket.gethostname(), "pid": pid, "born": born(pid)}
    draft = folder / f"{OWNER}.new"
    draft.write_text(json.dumps(owner), encoding="utf-8")
    draft.replace(folder / OWNER)


def owned(folder: Path) -> bool:
    """Tell whether the owner of `folder` still runs, or may do so."""
    try:
        age = time.time() - folder.stat().st_mtime
    except OSError:
        return False
    try:
        owner = json.loads((folder / OWNER).read_text(encoding="utf-8"))
        if owner["host"] != socket.gethostname():
            return age < _FOREIGN_AFTER_S
        return alive(int(owner["pid"]), str(owner["born"]))
    except (OSError, ValueError, KeyError, TypeError):
        return age < _UNOWNED_AFTER_S


def sweep() -> None:
    """Remove the folders that those left who died without doing it themselves."""
    for parent in {tempfile.gettempdir(), "/tmp"}:  # noqa: S108  where brokers have their sockets, see `broker.short_folder`
        for folder in Path(parent).glob(f"{BROKER_FOLDER}*"):
            if _is_a_dead_brokers(folder):
                shutil.rmtree(folder, ignore_errors=True)
    for folder in list(root().iterdir()):
        if folder.is_dir() and not folder.is_symlink() and not owned(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _is_a_dead_brokers(folder: Path) -> bool:
    """Tell whether a folder is ours, and nobody answers at the socket in it, not even as one that has just begun."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        found = folder.lstat()
        # Root's PostgreSQL is run by another user, whose the folder is.
        ours = stat.S_ISDIR(found.st_mode) and os.getuid() in {0, found.st_uid}
        if ours and time.time() - found.st_mtime > _UNOWNED_AFTER_S:
            return probe.connect_ex(str(folder / BROKER_SOCKET)) != 0
    return False


def make() -> Path:
    """Return a new folder (mode 0700) of this process, after a sweep. Raises UserError where it cannot be made."""
    sweep()
    try:
        folder = Path(tempfile.mkdtemp(dir=root()))
        _ours.add(folder)
        own(folder, os.getpid())
    except OSError as error:
        raise UserError(
            f"cannot write to the temporary folder {root()} ({error.strerror}); set TMPDIR to another"
        ) from None
    return folder


def remove(folder: Path) -> None:
    """Remove a folder, even if somebody who is just ending still puts things into it; for a few seconds at the most."""
    deadline = time.monotonic() + _REMOVE_FOR_S
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists() or time.monotonic() > deadline:
            break
        time.sleep(0.02)
    _ours.discard(folder)


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
