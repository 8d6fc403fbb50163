"""Servers that do with each connection what they are told, below HTTP: silent, lying, half, garbage."""

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

Answer = Callable[[socket.socket, str], None]
"""What a server does with a connection on which this path was asked for."""

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


class RawServer:
    """A server that does with each connection what it is told, and can vanish and come back."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._open: list[socket.socket] = []
        self._lock = threading.Lock()
        self.port = 0
        self.appear()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def appear(self) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(128)
        self.port = listener.getsockname()[1]
        self._open = [listener]
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def vanish(self) -> None:
        with self._lock:
            for one in self._open:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with self._lock:
                    if listener.fileno() < 0:  # it has vanished meanwhile
                        connection.close()
                        return
                    self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while head := connection.recv(65536):
                self._answer(connection, head.split()[1].decode().partition("?")[0])


@contextlib.contextmanager
def raw_server(answer: Answer) -> Iterator[RawServer]:
    server = RawServer(answer)
    try:
        yield server
    finally:
        server.vanish()


def stranger(answer: Callable[[socket.socket], object]) -> Answer:
    """A server that is none of ours, and treats every other request so."""

    def serve(connection: socket.socket, path: str) -> None:
        if path == "/health":
            connection.sendall(NOT_FOUND)
        else:
            answer(connection)

    return serve


def after(seconds: float) -> Callable[[socket.socket], object]:
    """Answer, as slowly as that."""

    def answer(connection: socket.socket) -> None:
        time.sleep(seconds)
        connection.sendall(OK)

    return answer


def hang(connection: socket.socket) -> None:
    connection.recv(1)


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def half(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it")
    connection.shutdown(socket.SHUT_RDWR)


def stop_half_way(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Le")
    hang(connection)


def garbage(connection: socket.socket) -> None:
    connection.sendall(b"\x00\xff\x1b[31mSSH-2.0-nonsense\r\n\r\n" * 100)


def close(connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_RDWR)


def endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        connection.sendall(b"400\r\n" + b"x" * 1024 + b"\r\n")
        time.sleep(0.001)


def drip(connection: socket.socket) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"s" * 1000:
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


def huge_headers(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Huge: " + b"h" * 4_000_000)
