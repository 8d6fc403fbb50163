"""A server that only answers, for measuring the load process itself.

Run as a file with only the standard library, so it starts in about 20 ms. Like a one-process server, it serves one
request at a time, each for the given time (a busy wait, as work would be), and reports in X-Task-ID when it received
the request and when it answered. The rest of the response time is the client's share.
"""

import contextlib
import selectors
import socket
import sys
import time
from collections import deque

_ANSWER = (
    b"HTTP/1.1 200 OK\r\n"
    b"date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
    b"server: noop\r\n"
    b"content-length: 26\r\n"
    b"content-type: application/json\r\n"
    b"x-task-id: %.7f %.7f\r\n"
    b"\r\n"
    b'{"message":"Hello World!"}'
)


class Request:
    """A request that may arrive in pieces, as one with a large body does."""

    def __init__(self) -> None:
        self.head = b""
        self._missing = -1
        """Bytes of the body not yet received; -1 until the head is complete."""

    def take(self, data: bytes) -> bool:
        """Take a piece and return whether the request is complete."""
        if self._missing < 0:
            self.head, end, data = (self.head + data).partition(b"\r\n\r\n")
            if not end:
                return False
            length = next(
                (line for line in self.head.lower().split(b"\r\n") if line.startswith(b"content-length:")), b""
            )
            self._missing = int(length.partition(b":")[2] or 0)
        self._missing -= len(data)
        return self._missing <= 0


def serve(service_s: float) -> None:
    """Print the port, then answer until standard input ends. A connection has one request at a time."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    listener.setblocking(False)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    selector.register(sys.stdin, selectors.EVENT_READ)
    print(listener.getsockname()[1], flush=True)
    queue: deque[tuple[socket.socket, float]] = deque()
    requests: dict[socket.socket, Request] = {}
    turn_ends = 0.0
    timeout: float | None = None
    while True:
        events = selector.select(timeout)
        now = time.monotonic()
        for key, _ in events:
            peer = key.fileobj
            if peer is sys.stdin:
                return
            if peer is listener:
                timeout = 0.0  # never sleep again: the time to wake up would count as the client's
                with contextlib.suppress(BlockingIOError):
                    while True:
                        accepted, _ = listener.accept()
                        accepted.setblocking(False)
                        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        selector.register(accepted, selectors.EVENT_READ)
            elif isinstance(peer, socket.socket):
                try:
                    data = peer.recv(65536)
                except OSError:
                    data = b""
                if not data:
                    selector.unregister(peer)
                    requests.pop(peer, None)
                    peer.close()
                elif requests.setdefault(peer, Request()).take(data):
                    if not queue:
                        turn_ends = now + service_s
                    queue.append((peer, now))
        if queue and time.monotonic() >= turn_ends:
            peer, came = queue.popleft()
            request = requests.pop(peer, None)
            answered = time.monotonic()
            with contextlib.suppress(OSError):
                head, end, body = (_ANSWER % (came, answered)).partition(b"\r\n\r\n")
                peer.send(head + end + (b"" if request and request.head.startswith(b"HEAD ") else body))
            turn_ends += service_s


if __name__ == "__main__":
    serve(float(sys.argv[1]))
