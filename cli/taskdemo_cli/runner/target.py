"""A server to send requests to: what it reports about itself, and what it observed of its application."""

import contextlib
import re
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, ValidationError, convert

from taskdemo_cli.documents.run import OwnFunction
from taskdemo_cli.errors import FAILED, UserError
from taskdemo_cli.loadgen.request_options import ParsedUrl, proxy_for
from taskdemo_cli.processes import servers
from taskdemo_cli.processes.event_stream import clock_offset
from taskdemo_cli.processes.signals import StopRequest
from taskdemo_cli.processes.tempdirs import temporary_folder
from taskdemo_cli.recording.sightings import Sightings, fold
from taskdemo_cli.reports.output import complain
from taskdemo_server.contract.events import TaskEvent
from taskdemo_server.contract.settings import CUT_OFF, OWN_PATHS, Settings
from taskdemo_server.contract.text import without_password

TICK_S = 0.125
"""Seconds between two polls."""

SETTLE_S = 0.75
"""How long the user's own application is watched before the first request; what blocks it then is not the endpoint."""
QUIET_S = 0.5
"""How long at least to watch the application after a run, for what it does next."""
STIRRING_S = 3.0
"""How long at most to wait after a run while the event loop is still blocked or tasks have not ended."""
UNKNOWN_ISSUER: Final = frozenset({18, 19, 20, 21})
"""OpenSSL's codes for a certificate that is valid, but whose issuer is not trusted (X509_V_ERR_...)."""
NO_TLS: Final = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"})
"""OpenSSL's reasons for bytes that are not TLS."""


Moment = Annotated[float, Meta(ge=0, le=1e10)]
"""Seconds, at most about three centuries: more than any clock here can read."""


class Health(Struct, frozen=True, kw_only=True):
    """What a taskdemo server's /health reports, as far as it is used here; any other answer is not from one."""

    server: Literal["taskdemo"] | None
    """None if it is not known to be one."""
    journal_offset: Annotated[int, Meta(ge=0, le=2**53)]
    clock: Moment
    mode: str | None = None
    app: str | None = None
    work: str | None = None
    own_work: OwnFunction | None = None
    """How it calls the user's own function, if that is its work."""
    duration_s: Moment | None = None
    slots: int | None = None
    """How many tasks it can run at once, if known."""
    start_worker: str | None = None
    """The command that starts a worker for it, without the token; None if the broker is its own."""
    worker: bool | UnsetType | None = UNSET
    """Whether a worker answers on its broker; None if it does not know, unset if the broker is its own."""


UNKNOWN: Final = Health(server=None, journal_offset=0, clock=0.0)
"""Of a server that is not taskdemo's, or that is not asked."""


@dataclass(frozen=True, slots=True)
class Target:
    """A server to send requests to."""

    url: str
    path: str = "/"
    health: Health = UNKNOWN
    server: servers.Server | None = None
    """Its process, if it is our own."""
    token: str | None = None
    offset: float = 0.0
    """Seconds that its clock is ahead of ours."""

    @property
    def is_followed(self) -> bool:
        """Whether it is known to be a taskdemo server, so that its tasks can be followed."""
        return self.health.server is not None

    @property
    def prefix(self) -> str:
        """The prefix of taskdemo's own paths; not empty if the user's own application owns the others."""
        return OWN_PATHS if self.server is not None and self.server.settings.app is not None else ""

    @property
    def proxy(self) -> str | None:
        """The proxy that the environment names for it, without the password."""
        proxy = proxy_for(self.url)
        return None if proxy is None else without_password(proxy)

    @property
    def bystander_path(self) -> str | None:
        """The path that a bystander calls; None if the server has no endpoint that costs it almost nothing."""
        return f"{self.prefix}/ping" if self.is_followed else None

    @property
    def threads_path(self) -> str | None:
        """The path that a second bystander calls, which worker threads answer; only with the user's own application."""
        return f"{self.prefix}/ping/sync" if self.health.app else None

    def settle(self, stopping: StopRequest) -> None:
        """Let the server watch the user's own application for SETTLE_S before the first request."""
        end = time.monotonic() + SETTLE_S
        while time.monotonic() < end and not stopping.asked:
            time.sleep(TICK_S)

    def read_sightings(self, stopping: StopRequest, *, wait: bool = True) -> Sightings:
        """Return what the server observed of the user's own application since `health` was read.

        With `wait`, wait from QUIET_S to STIRRING_S for the event loop to be free and the tasks left behind to end.
        Read from the journal, because a blocked event loop does not answer.
        """
        began = time.monotonic()
        while True:
            seen = fold(self._lines(self.health.journal_offset))
            waited = time.monotonic() - began
            if not wait or stopping.asked or waited > STIRRING_S or (waited > QUIET_S and seen.is_quiet):
                return seen
            time.sleep(TICK_S)

    def rest(self, offset: int) -> Iterator[TaskEvent]:
        """Yield the events after `offset` in our own server's journal: a blocked or dead server sends none."""
        return filter(None, map(TaskEvent.from_line, self._lines(offset)))

    def _lines(self, offset: int) -> Iterator[bytes]:
        if self.server is not None:
            with Path(self.server.settings.journal).open("rb") as file:
                file.seek(offset)
                yield from file


def find_target(url: str, path: str = "/", server: servers.Server | None = None, token: str | None = None) -> Target:
    """Ask the server of `url` for its health and return it as a target.

    A server behind a proxy is not asked, because its tasks could not be followed. Raises OSError if it cannot be
    reached, SilentError if it does not answer in time, and TokenError if it wants another token.
    """
    target = Target(url.rstrip("/"), path, server=server, token=token)
    if proxy_for(url):
        return target
    answer, asked = servers.timed_json(url, f"{target.prefix}/health", token)
    answered = time.monotonic()
    try:
        health = convert(answer, Health)
    except ValidationError:
        return target
    if health.server is None or (health.app is not None) != bool(target.prefix):
        return target
    return replace(target, health=health, offset=clock_offset(health.clock, asked, answered))


def again(target: Target) -> Target:
    """Return the target with fresh health: its journal's new offset keeps earlier tasks out of the next run."""
    with contextlib.suppress(OSError):  # the next run will show that the server has ended
        return find_target(target.url, target.path, target.server, target.token)
    return target


def no_worker(target: Target) -> str:
    """Return the message that no worker answers on the target's broker, with the command that starts one."""
    command = str(target.health.start_worker) + (" --token TOKEN" if target.token else "")
    if target.server is not None:  # it ends with this command, so a worker need not report to it
        command = command.partition(" --server ")[0]
    return f"no worker answers on this broker; start one with: {command}"


def check_worker(target: Target) -> None:
    """Raise UserError if no worker answers on the target's broker."""
    if target.health.worker is False:
        raise UserError(no_worker(target))


@contextlib.contextmanager
def private_target(settings: Settings, path: str, stopping: StopRequest) -> Iterator[Target]:
    """Start a private server, yield it as a target, and end it afterwards."""
    with temporary_folder() as folder:
        server = servers.launch(settings, folder)
        try:
            yield ready_target(server, path, stopping.check)
        finally:
            server.child.end()
            if server.poll() == CUT_OFF and (words := servers.last_words(server)):
                complain(f"{settings.app}: {words}")


def ready_target(server: servers.Server, path: str, check: Callable[[], None]) -> Target:
    """Return our own server as a target, once it is ready. Raises UserError if it ends, and whatever `check` raises."""
    servers.await_ready(server, check)
    try:
        return find_target(server.url, path, server)
    except OSError:
        raise UserError(servers.last_words(server) or "the server ended just after it started", FAILED) from None


def running_target(parsed: ParsedUrl, token: str | None, *, named: bool) -> Target:
    """Return a server that is already running as a target; `named`: the user gave its URL.

    Raises UserError if it cannot be reached or wants another token. A server that accepts the connection but does not
    identify itself, or that wants a token when none was given, becomes a target whose tasks are not followed.
    """
    url = parsed.url
    try:
        return find_target(url, parsed.path, token=token)
    except servers.SilentError as error:
        complain(
            f"{url} accepts connections but does not identify itself ({error}): its tasks, if any, are not followed"
        )
        return Target(url, parsed.path, token=token)
    except servers.TokenError:
        if token is not None:
            raise UserError(f"{url} does not take this --token; the right one is in the server's banner") from None
        complain(f"{url} needs a token: its tasks are not followed; add --token T, as in the server's banner")
        return Target(url, parsed.path)
    except ssl.SSLCertVerificationError as error:
        what, instead = "valid", "name the server as the certificate does, or give it a valid one"
        if error.verify_code in UNKNOWN_ISSUER:
            what, instead = "trusted", "to trust it or its issuer, put SSL_CERT_FILE=/path/to/it.pem before the command"
        why = error.verify_message.removesuffix(".")
        raise UserError(f"{url} answers with a certificate that is not {what} ({why}); {instead}") from None
    except ssl.SSLError as error:
        plain = f"type --url http://{url.partition('://')[2]}"
        if error.reason in NO_TLS:
            raise UserError(f"{url} answers, but not in TLS ({_reason(error)}); {plain}") from None
        raise UserError(
            f"{url} answers, but the TLS handshake fails ({_reason(error)}): it may want another version of TLS or a "
            f"certificate of the client; or, if it takes plain HTTP, {plain}"
        ) from None
    except OSError as error:
        if named:
            raise UserError(f"no server answers at {url} ({_reason(error)}); is the server running?") from None
        port = url.rpartition(":")[2]
        raise UserError(
            f"no server answers on port {port}; start one: taskdemo serve --port {port}",
            more=(
                "or let fire start its own: taskdemo fire --mode background",
                "or your application: taskdemo fire --app main.py",
            ),
        ) from None


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return error.strerror or re.sub(r"^_ssl\.c:\d+: ", "", str(error)) or type(error).__name__
