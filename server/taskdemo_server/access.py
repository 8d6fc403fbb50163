"""The access checks in front of the application, in plain ASGI: they cost 1 us.

A web page must not drive the server of its visitor, neither with cross-origin requests (CSRF) nor through a host name
that it points here (DNS rebinding). Beyond this machine, all but the demonstration needs a token.
"""

import ipaddress
import re
import secrets
import socket
from collections.abc import Awaitable
from typing import Final

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from taskdemo_server.contract.settings import OWN_PATHS, REALM, Settings

LIVE_PATHS: Final = frozenset({"/live", f"{OWN_PATHS}/live"})
"""The live page, which is the same everywhere: the data that it requests needs the token."""
OPEN_PATHS: Final = LIVE_PATHS | {"/", "/ping", "/ping/sync"}
"""Paths that need no token."""
LINKED_PATHS: Final = LIVE_PATHS | {"/docs"}
"""Pages that other sites may link to; reading them has no side effects."""
_KNOWN_LIMIT: Final = 100
_HOST: Final = re.compile(r"(?:\[(?P<address>[^]]+)\]|(?P<name>[^][:]+))(?::\d*)?")


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach a server that listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Access:
    """Passes a request on to `app`, or answers it with 401 or 403 and the reason."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._token = None if settings.token is None else f"Bearer {settings.token}".encode()
        own = socket.gethostname().lower()
        self._names = {"localhost", settings.host.lower(), own, f"{own}.local"}
        self._known: set[bytes] = set()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request. Not `async`: returning the awaitable saves a step in every request."""
        if scope["type"] == "http" and (refusal := self._refusal(scope)) is not None:
            status, why = refusal
            headers = {"WWW-Authenticate": f'Bearer realm="{REALM}"'} if status == 401 else None
            return JSONResponse({"detail": why}, status, headers)(scope, receive, send)
        return self._app(scope, receive, send)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        host, origin, site = headers.get(b"host"), headers.get(b"origin"), headers.get(b"sec-fetch-site")
        if host is not None and host not in self._known and not self._is_ours(host):
            return 403, "This server is not known by that name: use its address (Host is checked)."
        if origin is not None and origin.partition(b"://")[2] != host:
            return 403, "Pages of other origins may not use this server (Origin is checked)."
        if site is not None and site not in (b"same-origin", b"none") and scope["path"] not in LINKED_PATHS:
            return 403, "Other pages may not use this server (Sec-Fetch-Site is checked)."
        if self._token is None or scope["path"] in OPEN_PATHS:
            return None
        if not secrets.compare_digest(headers.get(b"authorization", b""), self._token):
            return 401, "This needs the server's token, as the header Authorization: Bearer TOKEN."
        return None

    def _is_ours(self, host: bytes) -> bool:
        """Return whether `host` is one of our names, or an address, which no foreign name can be; ignores the port."""
        parts = _HOST.fullmatch(host.decode("latin-1").lower())
        if parts is None:
            return False
        name = parts["address"] or parts["name"]
        try:
            ipaddress.ip_address(name)
        except ValueError:
            if name not in self._names:
                return False
        if len(self._known) < _KNOWN_LIMIT:
            self._known.add(host)
        return True
