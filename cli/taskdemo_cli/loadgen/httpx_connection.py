"""What our own transport does not speak (https, proxies) through httpx's: the same callbacks, one connection each.

One httpx transport per connection, because a shared one scans its whole pool for every request (httpcore#1035),
and one TLS context for all, because building one takes 25 ms. The stamps come from httpcore's trace events.
"""

import asyncio
import functools
import ssl
import time
from collections.abc import Callable
from typing import Any

import httpx

from taskdemo_cli.loadgen.connection import Connection


@functools.cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()  # the system's certificates and SSL_CERT_FILE, as wherever else we connect


class HttpxConnection(Connection):
    """A `Connection` whose wire is httpx's own transport. It connects with its first request."""

    __slots__ = ("_has_proxy", "_task", "_template", "_transport_of_httpx")

    def __init__(
        self,
        ended: "Callable[[Connection, httpx.TransportError | None], None]",
        template: httpx.Request,
        proxy: str | None,
    ) -> None:
        super().__init__(ended)
        self._template = template
        self._has_proxy = proxy is not None
        self._task: asyncio.Task[None] | None = None
        self._transport_of_httpx = httpx.AsyncHTTPTransport(
            verify=_tls(), proxy=proxy, limits=httpx.Limits(max_connections=1, max_keepalive_connections=1)
        )

    def start(self, payload: bytes, *, is_head: bool = False) -> None:  # noqa: ARG002 - the base's signature
        """Send the template's request, at the payload's target."""
        self.first_byte = self.done = self.status = self.task_id = None
        self.body_bytes = 0
        self.sent = time.monotonic()
        target = payload.split(b" ", 2)[1]
        body = payload.partition(b"\r\n\r\n")[2]
        request = httpx.Request(
            self._template.method,
            self._template.url.copy_with(raw_path=target),
            headers=[header for header in self._template.headers.raw if header[0].lower() != b"content-length"],
            content=body or None,
            # This keeps httpx from resolving `..` in the target; to a proxy it sends the whole URL instead.
            extensions={"trace": self._trace, **({} if self._has_proxy else {"target": target})},
        )
        self._task = asyncio.get_running_loop().create_task(self._exchange(request))

    async def _trace(self, event: str, _: dict[str, Any]) -> None:
        # A request to a proxy comes before the real one, so the last of each kind counts.
        if event == "http11.send_request_headers.started":
            self.sent = time.monotonic()
        elif event == "http11.receive_response_headers.complete":
            self.first_byte = time.monotonic()

    async def _exchange(self, request: httpx.Request) -> None:
        error = None
        try:
            response = await self._transport_of_httpx.handle_async_request(request)
            self.status = response.status_code
            self.task_id = response.headers.get("X-Task-ID")
            self.body_bytes = len(await response.aread())
        except httpx.TransportError as failure:
            error = failure
        except asyncio.CancelledError:
            await self._transport_of_httpx.aclose()
            raise
        self.done = time.monotonic()
        self.ended(self, error)

    def abort(self) -> None:
        """Close at once; an idle one is closed by a task of its own."""
        self.closed = True
        if self._task is not None and not self._task.done():
            self._task.cancel()
        else:
            self._task = asyncio.get_running_loop().create_task(self._transport_of_httpx.aclose())
