"""An httpx transport over connections that stamp their times on the wire: what wire.py measures, as httpx says it."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final, cast

import httpx
from httptools import HttpResponseParser

from taskdemo_cli.wire import Connection, Origin, serialise

_BUFFER_LIMIT: Final = 1024 * 1024


class _Reply(httpx.AsyncByteStream):
    """What has arrived of one response: the connection fills it, the reader of the body empties it."""

    def __init__(self, wire: "_Wire") -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.status = 0
        self.reason = b""
        self.version = b"HTTP/1.1"
        self.head_done = False
        self.finished = False
        self.error: httpx.TransportError | None = None
        self.timing: dict[str, float] = {}
        self.read_timeout: float | None = None
        self._wire: _Wire | None = wire
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None

    def feed(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._size += len(chunk)
        if self._size > _BUFFER_LIMIT and self._wire is not None:
            self._wire.hold(still=True)

    def finish(self, error: httpx.TransportError | None) -> None:
        self.finished = True
        self.error = error
        self._wire = None
        self.wake()

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Wait for something new. Raises httpx.ReadTimeout after the caller's time, and closes the connection."""
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self.read_timeout):
                await self._waiter
        except TimeoutError:
            await self.aclose()
            raise httpx.ReadTimeout(f"Nothing came for {self.read_timeout} s") from None
        except asyncio.CancelledError:
            await self.aclose()
            raise

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                self._size -= len(chunk)
                if not self._chunks and self._wire is not None:
                    self._wire.hold(still=False)
                yield chunk
            if self.finished:
                if self.error is not None:
                    raise self.error
                return
            await self.wait()

    async def aclose(self) -> None:
        if self._wire is not None:
            self._wire.abort()
            self.finish(httpx.ReadError("The response was closed before it was read"))


class _Wire(Connection):
    """A connection that also keeps headers and body, for httpx."""

    __slots__ = ("_held", "reply")

    def __init__(self, ended: "Callable[[Connection, httpx.TransportError | None], None]") -> None:
        super().__init__(ended)
        self._held = False
        self.reply = _Reply(self)

    def ask(self, payload: bytes, *, is_head: bool) -> _Reply:
        reply = self.reply = _Reply(self)
        self.start(payload, is_head=is_head)
        return reply

    def hold(self, *, still: bool) -> None:
        """Stop reading while the reader of the body is behind, and go on when it has caught up."""
        if still != self._held and not self.closed:
            self._held = still
            transport = cast("asyncio.Transport", self._transport)
            if still:
                transport.pause_reading()
            else:
                transport.resume_reading()

    def on_status(self, reason: bytes) -> None:
        if not self._complete:
            self.reply.reason = reason

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        if not self._head_done and not self._complete:
            self.reply.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._complete:
            return
        super().on_headers_complete()
        if cast("int", self.status) < 200:
            self.reply.headers.clear()
            self.reply.reason = b""
            return
        parser = cast("HttpResponseParser", self._parser)
        self.reply.version = b"HTTP/" + parser.get_http_version().encode()
        self.reply.status = cast("int", self.status)
        self.reply.head_done = True
        self.reply.wake()

    def on_body(self, chunk: bytes) -> None:
        if not self._complete:
            self.reply.feed(chunk)
            self.reply.wake()


class Transport(httpx.AsyncBaseTransport):
    """`httpx.AsyncClient(transport=Transport())`: plain HTTP/1.1, kept-alive connections used last in, first out.

    `response.extensions["timing"]` is a dict of the stamps `planned`, `sent`, `first_byte`, `done` (seconds of
    `time.monotonic()`; `done` once the body was read). The only timeouts are those of the request.
    """

    def __init__(self, *, uds: str | None = None) -> None:
        self._uds = uds
        self._origins: dict[tuple[str, int | None], Origin] = {}
        self._idle: dict[tuple[str, int | None], list[_Wire]] = {}
        self._open: set[_Wire] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send and return as soon as the headers are here. Raises httpx.TransportError and its kin."""
        planned = time.monotonic()
        if request.url.scheme != "http":
            raise httpx.UnsupportedProtocol(f"Only http:// is spoken here, not {request.url.scheme}://")
        timeouts = request.extensions.get("timeout", {})
        payload = serialise(request, await request.aread())
        wire = await self._wire(request.url, timeouts.get("connect"))
        reply = wire.ask(payload, is_head=request.method == "HEAD")
        reply.timing = {"planned": planned, "sent": wire.sent}
        reply.read_timeout = timeouts.get("read")
        while not reply.head_done and reply.error is None:
            await reply.wait()
        if reply.error is not None:
            raise reply.error
        return httpx.Response(
            reply.status,
            headers=reply.headers,
            stream=reply,
            extensions={"http_version": reply.version, "reason_phrase": reply.reason, "timing": reply.timing},
        )

    async def _wire(self, url: httpx.URL, timeout_s: float | None) -> _Wire:
        key = (url.host, url.port)
        idle = self._idle.setdefault(key, [])
        while idle:
            wire = idle.pop()
            if not wire.closed:
                return wire
        origin = self._origins.setdefault(key, Origin(url, uds=self._uds))

        def ended(connection: Connection, error: httpx.TransportError | None) -> None:
            wire = cast("_Wire", connection)
            reply = wire.reply
            wire.hold(still=False)
            reply.timing |= {"first_byte": wire.first_byte or 0.0, "done": wire.done or 0.0}
            reply.finish(error)
            if wire.closed:
                self._open.discard(wire)
            else:
                idle.append(wire)

        wire = _Wire(ended)
        try:
            async with asyncio.timeout(timeout_s):
                await origin.connect(wire)
        except TimeoutError:
            wire.abort()
            raise httpx.ConnectTimeout(f"No connection within {timeout_s} s") from None
        self._open.add(wire)
        return wire

    async def aclose(self) -> None:
        """Close every connection, in use or not."""
        for wire in self._open:
            wire.abort()
        self._open.clear()
        self._idle.clear()
