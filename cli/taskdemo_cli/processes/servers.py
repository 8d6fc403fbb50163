"""Starts servers, waits until they are ready, and queries them. Knows no screen and no measurement."""

import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from taskdemo_cli.errors import UserError
from taskdemo_cli.units import format_exit
from taskdemo_server.contract.child_process import Child, last_line, python
from taskdemo_server.contract.settings import REALM, Settings

START_TIMEOUT_S = 60.0
ANSWER_TIMEOUT_S = 5.0
KILL_TIMEOUT_S = 5.0
_POLL_S = 0.005


@dataclass(slots=True)
class Server:
    """A server that this command started."""

    settings: Settings
    folder: Path
    child: Child
    """Its process, or the fork server's, which ends all servers it has forked when it ends."""
    is_forked: bool = False
    url: str = ""
    port: int = 0
    pid: int = 0
    """`url`, `port` and `pid` are set once the server is ready."""

    def poll(self) -> int | None:
        """Return its exit code; None while it runs."""
        if self.is_forked:
            with contextlib.suppress(FileNotFoundError):
                if code := Path(f"{self.settings.announce}.ended").read_text(encoding="ascii"):  # empty at first
                    return int(code)
        return self.child.poll()

    def kill(self) -> None:
        """Send SIGKILL and wait up to KILL_TIMEOUT_S seconds for the server to end."""
        if self.poll() is None:
            kill(self.pid)
        deadline = time.monotonic() + KILL_TIMEOUT_S
        while self.poll() is None and time.monotonic() < deadline:
            time.sleep(_POLL_S)


class ForkServer:
    """Forks servers from a process that has already imported everything, so each starts fast. All end with it."""

    def __enter__(self) -> Self:
        self._child = Child(python("taskdemo_server.runtime.fork_server"))
        return self

    def __exit__(self, *_: object) -> None:
        self._child.end()

    def launch(self, settings: Settings, folder: Path) -> Server:
        """Start a server and return at once; its announcement, journal and standard error go to `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        settings = _placed(settings, folder)
        self._child.send(settings.to_json().encode() + b"\n")
        return Server(settings, folder, self._child, is_forked=True)


def launch(settings: Settings, folder: Path, *, console: bool = False) -> Server:
    """Start a server and return at once; `folder` gets its announcement and, without a console, its standard error."""
    settings = _placed(settings, folder)
    child = Child(
        python("taskdemo_server.serve"),
        told=settings.to_json(),
        stdout=None if console else subprocess.DEVNULL,
        errors=None if console else folder / "stderr",
    )
    return Server(settings, folder, child)


def _placed(settings: Settings, folder: Path) -> Settings:
    """Return the settings with default paths in `folder` for the journal and the announcement."""
    journal = Path(settings.journal or folder / "journal.jsonl").absolute()
    return replace(settings, journal=str(journal), announce=settings.announce or str(folder / "announce.json"))


def await_ready(server: Server, check: Callable[[], None]) -> None:
    """Wait until the server is ready, and set its `url`, `port` and `pid`.

    Raises UserError with the last line of the server's standard error if it ends or is not ready within
    START_TIMEOUT_S seconds, and whatever `check` raises, which is called repeatedly.
    """
    announce = Path(str(server.settings.announce))
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):
            announced = json.loads(announce.read_text(encoding="utf-8"))
            server.url, server.port, server.pid = announced["url"], announced["port"], announced["pid"]
            return
        if (code := server.poll()) is not None:
            raise UserError(
                last_words(server) or f"the {server.settings.mode} server ended as it started ({format_exit(code)})"
            )
        check()
        time.sleep(_POLL_S)
    what = server.settings.app or f"the {server.settings.mode} server"
    raise UserError(
        f"{what} did not start within {START_TIMEOUT_S:.0f} s: {last_words(server) or 'it printed nothing'}"
    )


def last_words(server: Server) -> str:
    """Return the last line of the server's standard error, made safe to show; empty if there is none."""
    return last_line(server.folder / "stderr")


def kill(pid: int) -> None:
    """Send SIGKILL to a process that a child started; ignore one that has already ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def connect(url: str, timeout: float) -> http.client.HTTPConnection:
    """Return an unopened connection to the server of `url`, which `read_url` has validated or which is our own."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    # Always pass a port: otherwise http.client looks for one after the host's last colon, which IPv6 addresses have.
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, port or 443, timeout=timeout, context=ssl.create_default_context())
    return http.client.HTTPConnection(host, port or 80, timeout=timeout)


class SilentError(OSError):
    """A server accepted the connection but did not answer in time."""


def get_json(url: str, path: str, *, timeout: float = ANSWER_TIMEOUT_S, most: int = 1_000_000) -> Any:
    """GET a JSON document; None if the response is not one or exceeds `most` bytes. Raises as `timed_json` does."""
    return timed_json(url, path, timeout=timeout, most=most)[0]


def timed_json(
    url: str, path: str, token: str | None = None, *, timeout: float = ANSWER_TIMEOUT_S, most: int = 1_000_000
) -> tuple[Any, float]:
    """Return what `get_json` does, and the `time.monotonic()` at which the request was sent, once connected.

    Raises OSError if no connection can be made, SilentError if the response is not complete within `timeout`
    seconds, even if parts of it arrive, and TokenError if the server wants another token.
    """
    connection = connect(url, timeout)
    try:
        connection.connect()
    except UnicodeError:  # a label of the host name is too long
        raise OSError("that is not a valid host name") from None
    late = threading.Event()

    def hang_up(sock: socket.socket) -> None:
        late.set()
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(timeout, hang_up, [connection.sock])
    timer.daemon = True
    timer.start()
    asked = time.monotonic()
    try:
        connection.request("GET", path, headers=authorization(token))
        with connection.getresponse() as response:
            body = response.read(most)
            answer = json.loads(body) if response.status == http.client.OK else None
            realm = response.headers.get("WWW-Authenticate", "")
    except (http.client.HTTPException, OSError, ValueError, RecursionError) as error:
        if late.is_set() or isinstance(error, TimeoutError):
            raise SilentError(f"no answer within {timeout:g} s") from None
        return None, asked
    finally:
        timer.cancel()
        connection.close()
    if response.status == http.client.UNAUTHORIZED and REALM in realm:
        raise TokenError("it asks for its token")
    return answer, asked


class TokenError(OSError):
    """A taskdemo server requires its token, and the request did not have it."""


def authorization(token: str | None) -> dict[str, str]:
    """Return the request headers that carry the token of a server started with --token."""
    return {"Authorization": f"Bearer {token}"} if token else {}
