"""Plain HTTP/1.1 for measuring: connections that stamp their times on the wire.

Knows sockets and the parser; knows nothing of plans, runs or screens. Kinds of errors have the names of httpx.
`Connection` is what the load process drives by callbacks. What it does and does not do:

- A request that got no whole response fails, and is never sent again behind the caller's back, not even when a
  kept-alive connection turns out to be closed: with a load that starts tasks, a silent second attempt would
  start a second one and hide what the server did to the first.
- There is no limit on connections and no timeout but the caller's.
- A connection is used again only if nothing is left of its last response, and of its last request: bytes beyond the
  response close it, and so does an answer that came before the whole request was sent. What is unsent then is dropped.
- An answer that has arrived counts, although sending the rest of its request failed.
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
"""Bytes of status line and headers after which a response is refused; one read more may arrive first."""


def reason_of(error: BaseException) -> str:
    """Return why this failed, in the words of whoever found it first; without an address, so that a cause is one."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message.removesuffix('.')}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {(error.reason or str(error)).replace('_', ' ').lower()}"
    if isinstance(error, OSError) and error.errno and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno)
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).removesuffix(".")


class Connection(asyncio.Protocol):
    """One keep-alive connection with one request at a time; keeps times, status and task id, drops the body.

    `start()` sends; `ended(connection)` is called once for each start: where no whole answer came, `error` is the name
    of httpx's exception for that, and `reason` says why. Stamps are `time.monotonic()` seconds: `sent` just before the
    request's bytes go to the kernel, `first_byte` and `done` when the loop delivered the response's first and last
    bytes.
    """

    __slots__ = (
        "_busy", "_complete", "_descriptor", "_framed", "_head_bytes", "_head_done", "_keep", "_parser", "_transport",
        "body_bytes", "closed", "done", "ended", "error", "first_byte", "is_head", "n", "planned", "reason", "sent",
        "status", "task_id",
    )  # fmt: skip

    def __init__(self, ended: "Callable[[Connection], None]") -> None:
        self.ended = ended
        self.closed = False
        self.body_bytes = 0
        """Of the answer's body, as they came."""
        self.n = 0
        """The caller's number of the request; the connection does not read it."""
        self.planned = 0.0
        """When the caller meant to send the request; the connection does not read it."""
        self.is_head = False
        """Whether its requests are HEAD, whose answers bring no body."""
        self.sent = 0.0
        self.first_byte: float | None = None
        self.done = 0.0
        """Until the end, when the last bytes so far came."""
        self.status: int | None = None
        self.task_id: str | None = None
        self.error: str | None = None
        self.reason: str | None = None
        self._parser: Any = None
        self._transport: Any = None
        """Both are there while the connection is; to assert that at each use would cost time in each request."""
        self._descriptor = -1
        self._busy = self._complete = self._framed = self._head_done = self._keep = False
        self._head_bytes = 0

    def start(self, payload: bytes) -> None:
        """Send one request; the connection must be idle and open."""
        self.first_byte = self.status = self.task_id = None
        self._complete = self._framed = self._head_done = False
        self._head_bytes = self.body_bytes = 0
        self._busy = True
        self.sent = time.monotonic()
        if self._transport.is_closing():
            self._fail("RemoteProtocolError", "Server disconnected without sending a response")
            return
        # uvloop would keep the bytes until the end of this turn of the loop; the stamp is to be the wire's.
        try:
            written = os.write(self._descriptor, payload)
        except BlockingIOError:
            written = 0
        except OSError as error:
            self._read_what_came()
            if self._busy:
                self._fail("WriteError", reason_of(error))
            return
        if written < len(payload):  # from here to the end of this request the order of the bytes is asyncio's to keep
            self._transport.write(payload[written:])

    def abort(self) -> None:
        """Close at once, without calling `ended`; a request in flight is given up."""
        self._busy = False
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close an idle connection, and drop what of its last request was never sent."""
        self.closed = True
        if self._transport.get_write_buffer_size():
            self._transport.abort()
        else:
            self._transport.close()

    # asyncio's half

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket."""
        self._transport = transport
        self._parser = HttpResponseParser(self)
        self._descriptor = transport.get_extra_info("socket").fileno()

    def data_received(self, data: bytes) -> None:
        """Stamp and parse what came."""
        now = time.monotonic()
        if not self._busy:
            self.close()  # nobody asked
            return
        self.done = now
        if self.first_byte is None:
            self.first_byte = now
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._fail("RemoteProtocolError", "The server switched protocols without being asked")
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
            if self.is_head:  # the parser still waits for the body that HEAD never brings
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
        """End a body that only the end of the connection ends; anything else was cut short."""
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
        self._parser = None  # parser and protocol point at each other, and a run does without the collector

    # the parser's half

    def on_message_begin(self) -> None:
        """See a response begin: one too many, or the one after an interim response."""
        if self._complete:
            self._keep = False
        elif self.first_byte is None:
            self.first_byte = self.done

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the task's id, and whether the body's length is told."""
        length = len(name)  # which is quicker to compare than the name
        if length == 9 and name.lower() == b"x-task-id" and not self._head_done:  # and this is no trailer
            self.task_id = value.decode("latin-1")
        elif length == 14 and name.lower() == b"content-length":
            self._framed = True
        elif length == 17 and name.lower() == b"transfer-encoding":
            self._framed = value.lower().endswith(b"chunked")

    def on_headers_complete(self) -> None:
        """Take the status; HEAD ends here."""
        if not self._complete:
            self.status = self._parser.get_status_code()
            self._head_done = True
            if self.is_head and self.status >= 200:
                self.on_message_complete()

    def on_body(self, body: bytes) -> None:
        """Count a piece of the body, and drop it."""
        self.body_bytes += len(body)

    def on_message_complete(self) -> None:
        """See a response end."""
        if self._complete:
            return
        if 100 <= (self.status or 0) < 200:  # 100 Continue, 103 Early Hints: the response is still to come
            self._head_done = self._framed = False
            self._head_bytes = 0
            self.status = self.task_id = self.first_byte = None
        else:
            self._complete = True
            self._keep = self._parser.should_keep_alive()

    def _read_what_came(self) -> None:
        """Take the answer of a server that gave one and then closed: sending fails before that is read."""
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
