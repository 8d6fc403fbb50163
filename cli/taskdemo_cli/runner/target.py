"""A server to fire at: who it says it is, and what it has seen of its application."""

import contextlib
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import convert

from taskdemo_cli.documents.run import OwnFunction
from taskdemo_cli.errors import FAILED, UserError
from taskdemo_cli.loadgen.proxies import proxy_for
from taskdemo_cli.loadgen.request import Place
from taskdemo_cli.processes import servers
from taskdemo_cli.processes.event_stream import clock_offset
from taskdemo_cli.processes.signals import StopRequest
from taskdemo_cli.processes.tempdirs import temporary_folder
from taskdemo_cli.recording.sightings import Sightings, fold
from taskdemo_cli.reports.output import complain
from taskdemo_server.contract.events import TaskEvent
from taskdemo_server.contract.settings import BUILT_IN_WORKS, CUT_OFF, OWN_PATHS, Settings
from taskdemo_server.contract.text import without_password

TICK_S = 0.125
"""Seconds between two looks at something that changes by itself."""

SETTLE_S = 0.75
"""How long the user's own application is watched before the first request: what blocks it then is not the endpoint."""
QUIET_S = 0.5
"""So long after a run, what the application does next has been seen."""
STIRRING_S = 3.0
"""How long to wait for an event loop that is still blocked after the run, and for tasks that have not ended."""


@dataclass(frozen=True, slots=True)
class Target:
    """A server to fire at."""

    url: str
    path: str = "/"
    health: dict[str, Any] | None = None
    """What its /health said; None where it is not a taskdemo server."""
    server: servers.Server | None = None
    """The process, where it is our own."""
    token: str | None = None
    offset: float = 0.0
    """Seconds that its clock is ahead of ours."""
    under: str = ""
    """Where taskdemo's own paths are."""

    @property
    def mode(self) -> str | None:
        """The mode it is in, where it is a taskdemo server."""
        return self._said("mode")

    @property
    def work(self) -> str | None:
        """The work that it does, where it is a taskdemo server in a mode."""
        return None if self.app else self._said("work")

    @property
    def app(self) -> str | None:
        """The user's own application, where it serves that."""
        return self._said("app")

    @property
    def own_work(self) -> OwnFunction | None:
        """How it calls the user's own function, where its work is one."""
        called = self.health.get("own_work") if self.health else None
        return called and convert(called, OwnFunction)

    @property
    def duration_s(self) -> float | None:
        """Seconds that its work takes, where the work is one of the built-in ones."""
        return float(self.health["duration_s"]) if self.health and self.work in BUILT_IN_WORKS else None

    @property
    def slots(self) -> int | None:
        """How many works it can run at once, where it knows."""
        return self.health.get("slots") if self.health else None

    @property
    def proxy(self) -> str | None:
        """The proxy that the environment names on the way to it, without its password."""
        proxy = proxy_for(self.url)
        return None if proxy is None else without_password(proxy)

    @property
    def bystander_path(self) -> str | None:
        """What a bystander asks for; None where the server offers nothing that costs it nothing."""
        return f"{self.under}/ping" if self.health else None

    @property
    def threads_path(self) -> str | None:
        """What a second bystander asks for, whom worker threads answer: beside the user's own application."""
        return f"{self.under}/ping/sync" if self.app else None

    def mark(self) -> int:
        """Return how far the server's journal has come: what is `found` from there on is of the run that follows."""
        return Path(self._journal).stat().st_size if self._journal else 0

    def settle(self, stopping: StopRequest) -> None:
        """Let the user's own application be watched for a while before anybody asks it anything."""
        end = time.monotonic() + SETTLE_S
        while self.app is not None and time.monotonic() < end and not stopping.asked:
            time.sleep(TICK_S)

    def found(self, mark: int, stopping: StopRequest, *, wait: bool = True) -> Sightings:
        """Return what the server of the user's own application has seen of it since `mark`.

        With `wait`, once the event loop is quiet and the tasks that were left behind have ended, or STIRRING_S later.
        Read from the journal, because a loop that is blocked answers nobody.
        """
        began = time.monotonic()
        while True:
            seen = fold(self._lines(mark))
            waited = time.monotonic() - began
            if not wait or stopping.asked or waited > STIRRING_S or (waited > QUIET_S and seen.is_quiet):
                return seen
            time.sleep(min(TICK_S, QUIET_S - waited) if waited < QUIET_S else TICK_S)

    def rest(self, offset: int) -> Iterator[TaskEvent]:
        """Return the events in the journal of a server of ours from there on: a blocked or dead one sends no word."""
        return filter(None, map(TaskEvent.from_line, self._lines(offset)))

    def _lines(self, offset: int) -> Iterator[bytes]:
        if self._journal is not None:
            with Path(self._journal).open("rb") as file:
                file.seek(offset)
                yield from file

    @property
    def _journal(self) -> str | None:
        return None if self.server is None else self.server.settings.journal

    def _said(self, name: str) -> str | None:
        said = self.health.get(name) if self.health else None
        return None if said is None else str(said)


def find_target(
    url: str, path: str = "/", server: servers.Server | None = None, token: str | None = None, under: str = ""
) -> Target:
    """Ask the server of `url` who it is. Raises OSError where nobody answers.

    One that can only be reached through a proxy is not asked: it is none that this tool could follow.
    """
    asked = time.monotonic()
    health = None if proxy_for(url) else servers.health(url, token, under)
    offset = clock_offset(health, asked, time.monotonic()) if health else 0.0
    return Target(url.rstrip("/"), path, health, server, token, offset, under)


def again(target: Target) -> Target:
    """Return the target as it is now: where its journal ends, so that the tasks before are not of the next run."""
    with contextlib.suppress(OSError):  # a server that has ended shows in the round itself
        return find_target(target.url, target.path, target.server, target.token, target.under)
    return target


def no_worker(target: Target) -> str:
    """Return that no worker answers on the broker of the target's server, and what to type."""
    token = " --token TOKEN" if target.token else ""
    return f"no worker answers on this broker; start one with: {(target.health or {}).get('start_worker')}{token}"


def check_worker(target: Target) -> None:
    """Raise UserError where nobody would do the work."""
    if (target.health or {}).get("worker") is False:
        raise UserError(no_worker(target))


@contextlib.contextmanager
def private_target(settings: Settings, path: str, stopping: StopRequest) -> Iterator[Target]:
    """Serve while the block runs, and give what to fire at."""
    with temporary_folder() as folder:
        server = servers.launch(settings, folder)
        try:
            servers.await_ready(server, stopping.check)
            under = OWN_PATHS if settings.app is not None else ""
            yield target_at(server, path, under)
        finally:
            server.end()
            if server.poll() == CUT_OFF:
                complain(f"{settings.app}: {servers.last_words(server)}")


def target_at(server: servers.Server, path: str, under: str) -> Target:
    """Return a private server of ours that is ready, as a target. Raises UserError where it has ended meanwhile."""
    try:
        return find_target(server.url, path, server, under=under)
    except OSError:
        raise UserError(servers.last_words(server) or "the server ended just after its start", FAILED) from None


def running_target(place: Place, token: str | None, *, named: bool) -> Target:
    """Return a server that runs already, as a target. Raises UserError where nobody answers."""
    url = place.url
    try:
        return find_target(url, place.path, token=token)
    except servers.SilentError as error:
        complain(f"{url} took the connection but did not say what it is ({error}): its tasks, if any, are not followed")
        return Target(url, place.path, token=token)
    except servers.TokenError:
        if token is not None:
            raise UserError(f"{url} does not take this --token; its banner has the one that it takes") from None
        complain(f"{url} asks for its token: its tasks are not followed; type --token T, which its banner has")
        return Target(url, place.path)
    except ssl.SSLCertVerificationError as error:
        raise UserError(
            f"{url} answers with a certificate that is not trusted ({error.verify_message.removesuffix('.')}); "
            f"trust it, or whoever has signed it, with SSL_CERT_FILE=/path/to/it.pem before the command"
        ) from None
    except ssl.SSLError as error:
        raise UserError(
            f"{url} answers, but not in TLS ({_reason(error)}); type --url http://{url.partition('://')[2]}"
        ) from None
    except OSError as error:
        if isinstance(error, TimeoutError) and "handshake" in str(error):
            raise UserError(
                f"{url} took the connection and answered nothing in TLS within {servers.ANSWER_TIMEOUT_S:g} s; "
                f"if it speaks plain HTTP, type --url http://{url.partition('://')[2]}"
            ) from None
        if named:
            raise UserError(f"nobody answers at {url} ({_reason(error)}); is the server running?") from None
        port = url.rpartition(":")[2]
        raise UserError(
            f"no server answers on port {port}; start one with: taskdemo serve --port {port}"
            f"  or let fire start its own: taskdemo fire --mode background"
        ) from None


def _reason(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
