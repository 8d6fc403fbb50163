"""A server that does nothing but answer: what the load process measures against it is the load process itself.

Run as a file, standard library only, so that it is up in some 20 ms. It serves as a one-process server does, one
request after another, each for the given time (spent waiting busily, as work would be), and says in X-Task-ID
when it had the request and when it answered. What a response took beyond that is the client's share.
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
    """One that arrives in pieces, as it has to where it has a body."""

    def __init__(self) -> None:
        self.head = b""
        self._missing = -1
        """Bytes of the body that are still to come; -1 while the head is not whole."""

    def take(self, data: bytes) -> bool:
        """Take a piece, and return whether it was the last."""
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
    """Print the port, then answer until standard input ends. Requests come one at a time on a connection."""
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
                timeout = 0.0  # awake from now on: waking up would look like the client's slowness
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
