"""Opens a run's connections: addresses, a proxy, TLS."""

import asyncio
import contextlib
import re
import socket
from collections.abc import Callable

import httpx

from taskdemo_cli.errors import UserError
from taskdemo_cli.loadgen.connection import HEAD_LIMIT, Connection
from taskdemo_cli.loadgen.request_options import ParsedUrl
from taskdemo_cli.loadgen.tls import TlsConnection

PORTS = {"http": 80, "https": 443}
CONNECT_TIMEOUT_S = 2.0
"""How long an address is tried if there is another; long enough for TCP to resend a lost SYN, after 1 s."""


class Origin:
    """The server that requests go to; resolved once, and the address that last worked is tried first.

    Raises UserError if an https:// URL has an https:// proxy.
    """

    def __init__(self, url: httpx.URL, proxy: ParsedUrl | None) -> None:
        first = url if proxy is None else httpx.URL(proxy.url)
        self._host, self._port = first.raw_host.decode(), first.port or PORTS[first.scheme]
        self._tls_host = next((one.raw_host.decode() for one in (first, url) if one.scheme == "https"), None)
        self._tunnel = b""
        """The CONNECT request for the proxy; empty without a tunnel."""
        if proxy is not None and url.scheme == "https":
            if first.scheme == "https":
                raise UserError("TLS inside TLS is not supported; use an http:// proxy for an https:// URL")
            place = url.netloc.decode() + ("" if url.port else ":443")
            lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}", *map(": ".join, proxy.headers)]
            self._tunnel = "\r\n".join([*lines, "\r\n"]).encode()
        self._addresses: list[tuple[str, int]] = []
        self._resolving = asyncio.Lock()

    def connection(self, ended: Callable[[Connection], None]) -> Connection:
        """Return a connection that is not open yet."""
        if self._tls_host is None:
            return Connection(ended)
        return TlsConnection(ended, self._tls_host)

    async def connect(self, connection: Connection) -> None:
        """Open `connection`. Raises OSError."""
        loop = asyncio.get_running_loop()
        async with self._resolving:
            if not self._addresses:
                found = await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
                self._addresses = list(dict.fromkeys((str(entry[4][0]), self._port) for entry in found))
        last = len(self._addresses)
        for at, address in enumerate(self._addresses.copy(), 1):  # other tasks may sort it meanwhile
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S if at < last else None):
                    await self._connect(connection, address)
            except OSError:
                if at == last:
                    raise
            except asyncio.CancelledError:  # the request's own timeout: the next one tries another address first
                self._addresses.sort(key=address.__eq__)
                raise
            else:
                self._addresses.sort(key=address.__ne__)
                break
        if isinstance(connection, TlsConnection):
            try:
                await connection.ready  # no other address after this: the connection cannot be reused
            except BaseException:
                connection.abort()
                raise

    async def _connect(self, connection: Connection, address: tuple[str, int]) -> None:
        loop = asyncio.get_running_loop()
        if not self._tunnel:
            await loop.create_connection(lambda: connection, *address)
            return
        with contextlib.ExitStack() as given_up:
            way = given_up.enter_context(socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET))
            way.setblocking(False)
            await loop.sock_connect(way, address)
            await loop.sock_sendall(way, self._tunnel)
            head = b""
            while b"\r\n\r\n" not in head:
                head += (piece := await loop.sock_recv(way, HEAD_LIMIT))
                if not piece or len(head) > HEAD_LIMIT:
                    raise OSError("the proxy did not say whether it connects")
            if not re.match(rb"HTTP/1\.[01] 2\d\d\b", head):
                raise OSError(f"the proxy refused to connect: {head.splitlines()[0].decode('ascii', 'replace')}")
            given_up.pop_all()
            await loop.create_connection(lambda: connection, sock=way)
