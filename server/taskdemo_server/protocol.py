"""HTTP as uvicorn speaks it, with a bound on what a request may be made of beside its body.

Its parser keeps a header, a query or a trailer in memory for as long as it goes on, from whoever sends it.
"""

from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_BYTES: Final = 1 << 16
"""Of the request line, the headers, the trailers, and what frames the chunks of a body; a piece read may exceed it."""


class Protocol(HttpToolsProtocol):
    """Hangs up, with 431 where nothing was answered yet, on a request that consists of too much."""

    _bytes = 0
    """Of the request that is under way, without its body."""

    def data_received(self, data: bytes) -> None:
        """Count and parse what came."""
        self._bytes += len(data)
        super().data_received(data)
        if self._bytes > MOST_BYTES and not self.transport.is_closing():
            self._refuse()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body, which does not count."""
        self._bytes -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Take note that the request is complete."""
        self._bytes = 0
        super().on_message_complete()

    def _refuse(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(
                b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
            )
        self.transport.close()
