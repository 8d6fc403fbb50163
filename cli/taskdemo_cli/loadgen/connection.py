"""Plain HTTP/1.1 for measuring: connections that timestamp bytes as they are sent and received.

Knows sockets and the parser; knows nothing of plans, runs or screens. Errors have the names of httpx's exceptions.
The load process drives a `Connection` through callbacks:

- A request without a complete response fails. It is never retried silently, not even when a kept-alive connection
  turns out to be closed: if requests start tasks, a retry would start a second task and hide what the server did
  to the first.
- The only timeouts and connection limits are the caller's.
- A connection is reused only if no bytes are left over from its last request or response. Bytes after the response
  close it; so does a response that came before the whole request was sent, and the unsent bytes are dropped.
- A response that has arrived counts even if sending the rest of its request failed.
"""

import asyncio
import contextlib
import os
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

HEAD_LIMIT: Final = 128 * 1024
"""Most bytes of status line and headers in a response; checked after each read, so one read may exceed it."""


def reason_of(error: BaseException) -> str:
    """Return the cause in the words of the system, TLS or the parser; no address, so that equal causes count as one."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message.removesuffix('.')}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(error.reason or str(error)).replace('_', ' ').lower()}"
    if isinstance(error, OSError) and error.errno and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno)
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).removesuffix(".")


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request at a time; keeps times, status and task id, drops the body.

    `start()` sends a request; `ended(connection)` is then called once. If no complete response came, `error` is the
    name of httpx's exception and `reason` says why.
    Times are `time.monotonic()` seconds: `sent` just before the request's bytes go to the kernel, `first_byte`
    and `done` when the event loop delivered the response's first and last bytes.
    """

    __slots__ = (
        "_busy", "_complete", "_descriptor", "_framed", "_head_bytes", "_head_done", "_is_last", "_keep", "_parser",
        "_refusal", "_transport", "body_bytes", "closed", "done", "ended", "error", "first_byte", "is_head", "n",
        "planned", "reason", "sent", "status", "task_id",
    )  # fmt: skip

    def __init__(self, ended: "Callable[[Connection], None]") -> None:
        self.ended = ended
        self.closed = False
        self.body_bytes = 0
        """Size of the response's body as received."""
        self.n = 0
        """The request's number, for the caller only."""
        self.planned = 0.0
        """When the request should have been sent, for the caller only."""
        self.is_head = False
        """Whether its requests are HEAD, whose responses have no body."""
        self.sent = 0.0
        self.first_byte: float | None = None
        self.done = 0.0
        """When the last bytes so far were received."""
        self.status: int | None = None
        self.task_id: str | None = None
        self.error: str | None = None
        self.reason: str | None = None
        self._parser: Any = None
        self._transport: Any = None
        """Both are set while the connection is open; typed Any because asserting that would slow down each request."""
        self._descriptor = -1
        self._busy = self._complete = self._framed = self._head_done = self._is_last = self._keep = False
        self._head_bytes = 0
        self._refusal = "RemoteProtocolError", "Server disconnected without sending a response"
        """The error and the reason of a request for which the connection was closed while idle."""

    def start(self, payload: bytes) -> None:
        """Send one request; the connection must be idle and open."""
        self.first_byte = self.status = self.task_id = None
        self._complete = self._framed = self._head_done = self._is_last = False
        self._head_bytes = self.body_bytes = 0
        self._busy = True
        self.sent = time.monotonic()
        if self._transport.is_closing():
            self._fail(*self._refusal)
            return
        # Not transport.write(): uvloop sends at the end of the loop's iteration, later than `sent` says.
        try:
            written = os.write(self._descriptor, payload)
        except BlockingIOError:
            written = 0
        except OSError as error:
            self._read_what_came()
            if self._busy:
                self._fail("WriteError", reason_of(error))
            return
        if written < len(payload):  # asyncio sends the rest, in order
            self._transport.write(payload[written:])

    def abort(self) -> None:
        """Close at once without calling `ended`; abandons a request in flight."""
        self._busy = False
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close an idle connection; drop any unsent bytes of its last request."""
        self.closed = True
        if self._transport.get_write_buffer_size():
            self._transport.abort()
        else:
            self._transport.close()

    # Called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket."""
        self._transport = transport
        self._parser = HttpResponseParser(self)
        self._descriptor = transport.get_extra_info("socket").fileno()

    def data_received(self, data: bytes) -> None:
        """Timestamp and parse received bytes."""
        now = time.monotonic()
        if not self._busy:
            self._refusal = "RemoteProtocolError", "The server sent bytes before it was asked"
            self.close()
            return
        self.done = now
        if self.first_byte is None:
            self.first_byte = now
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._fail("RemoteProtocolError", "The server switched protocols, which is not supported")
            return
        except HttpParserError as error:
            if not self._complete:
                self._fail("RemoteProtocolError", f"The response is not HTTP: {reason_of(error)}")
                return
            self._keep = False
        if self.status is not None and self.status < 100:
            self._fail("RemoteProtocolError", f"The response is not HTTP: its status is {self.status}")
            return
        if self._complete:
            if self.is_head:  # the parser still expects a body, which HEAD does not have
                self._keep &= data.endswith(b"\r\n\r\n")
                self._parser = HttpResponseParser(self)
            if not self._keep or self._transport.get_write_buffer_size():
                self.close()
            self._end()
        elif not self._head_done:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_LIMIT:
                self._fail("RemoteProtocolError", f"The headers are longer than {HEAD_LIMIT} bytes")

    def eof_received(self) -> bool:
        """Complete a response whose body ends with the connection; fail any other, which is incomplete."""
        if self._busy:
            if self._head_done and not self._framed:
                self.done = time.monotonic()
                self.close()
                self._end()
            elif self.first_byte is None:
                self._fail("RemoteProtocolError", "Server disconnected without sending a response")
            else:
                self._fail("RemoteProtocolError", "Server disconnected before the response was complete")
        self.closed = True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the request in flight, if any."""
        self.closed = True
        if self._busy and exc is not None:
            self._read_what_came()
        if self._busy:
            self._fail("ReadError", reason_of(exc) if exc else "The connection was lost")
        self._parser = None  # breaks a reference cycle: garbage collection is off during a run

    # Called by the parser

    def on_message_begin(self) -> None:
        """Handle the start of a response: an unexpected extra one, or the one after an interim response."""
        if self._complete:
            self._keep = False
        elif self.first_byte is None:
            self.first_byte = self.done

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the task id, whether the headers delimit the body, and whether they end the connection."""
        length = len(name)  # faster to compare than the name
        if length == 9 and name.lower() == b"x-task-id" and not self._head_done:  # not a trailer
            self.task_id = value.decode("latin-1")
        elif length == 14 and name.lower() == b"content-length":
            self._framed = True
        elif length == 17 and name.lower() == b"transfer-encoding":
            self._framed = value.lower().endswith(b"chunked")
        elif length == 10 and name.lower() == b"connection":
            self._is_last |= b"close" in value.lower()

    def on_headers_complete(self) -> None:
        """Keep the status; a response to HEAD ends here."""
        if not self._complete:
            self.status = self._parser.get_status_code()
            self._head_done = True
            if self.is_head and self.status >= 200:
                self.on_message_complete()

    def on_body(self, body: bytes) -> None:
        """Count a piece of the body and drop it; whatever follows the response is none."""
        if not self._complete:
            self.body_bytes += len(body)

    def on_message_complete(self) -> None:
        """Handle the end of a response."""
        if self._complete:
            return
        if 100 <= (self.status or 0) < 200:  # 100 Continue, 103 Early Hints: the final response follows
            self._head_done = self._framed = self._is_last = False
            self._head_bytes = 0
            self.status = self.task_id = self.first_byte = None
        else:
            self._complete = True
            self._keep = self._parser.should_keep_alive()
            if self.is_head:  # the parser takes one without a length for a body until the end of the connection
                self._keep |= not self._is_last and self._parser.get_http_version() == "1.1"

    def _read_what_came(self) -> None:
        """Read the response of a server that answered and then closed: sending failed before it was read."""
        self.closed = True
        with contextlib.suppress(OSError):
            while self._busy and (data := os.read(self._descriptor, 1 << 18)):
                self.data_received(data)

    def _fail(self, error: str, reason: str) -> None:
        self.error, self.reason = error, reason
        self.done = time.monotonic()
        self.abort()
        self.ended(self)

    def _end(self) -> None:
        self._busy = False
        self.ended(self)
