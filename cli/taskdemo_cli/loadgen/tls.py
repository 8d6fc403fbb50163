"""HTTP/1.1 over TLS for measuring: a `Connection` that encrypts its bytes in memory.

asyncio's own TLS is not used: it does not show whether its buffered bytes were sent, and it loses a response that
arrived before sending failed.
"""

import asyncio
import functools
import ssl
from collections.abc import Callable
from typing import Final

from taskdemo_cli.loadgen.connection import Connection, reason_of

_PIECE: Final = 1 << 18


@functools.cache
def context() -> ssl.SSLContext:
    """Return the context of all connections; cached because it takes 25 ms to make."""
    made = ssl.create_default_context()  # the system's certificates and SSL_CERT_FILE, as everywhere else
    made.set_alpn_protocols(["http/1.1"])
    return made


class TlsConnection(Connection):
    """A `Connection` over TLS to `host`; the first `start()` must wait for `ready`.

    `sent` is just before the encrypted request goes to the kernel; `first_byte` and `done` follow decryption.
    """

    __slots__ = ("_incoming", "_outgoing", "_tls", "ready")

    def __init__(self, ended: Callable[[Connection], None], host: str) -> None:
        super().__init__(ended)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context().wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done after the handshake; raises OSError if that fails."""

    def start(self, payload: bytes) -> None:
        """Encrypt a request and send it."""
        if not self._transport.is_closing():
            self._tls.write(payload)
        super().start(self._outgoing.read())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket and begin the handshake."""
        super().connection_made(transport)
        self._shake_hands()

    def data_received(self, data: bytes) -> None:
        """Decrypt received bytes."""
        self._incoming.write(data)
        if not self.ready.done():
            self._shake_hands()
            return
        try:
            while piece := self._tls.read(_PIECE):
                super().data_received(piece)
            self.eof_received()
            self.close()
        except ssl.SSLWantReadError:
            self._send_what_is_due()
        except OSError as error:
            if self._busy:
                self._fail("ReadError", reason_of(error))
            else:  # with TLS 1.3 it rejects a client's certificate after the handshake
                self._refusal = "ReadError", reason_of(error)
                self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the handshake, or the request in flight, if any."""
        if not self.ready.done():
            self.ready.set_exception(exc or ConnectionError("the connection was closed in the TLS handshake"))
        super().connection_lost(exc)

    def _shake_hands(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._send_what_is_due()
        except OSError as error:
            self._send_what_is_due()  # the alert that tells the server why
            self.ready.set_exception(error)
            self.close()
        else:
            self._send_what_is_due()
            self.ready.set_result(None)

    def _send_what_is_due(self) -> None:
        if self._transport is not None and (due := self._outgoing.read()):
            self._transport.write(due)
