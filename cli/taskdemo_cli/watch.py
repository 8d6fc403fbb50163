"""Follows a server's /events in a thread of its own and hands over what happened to its tasks."""

import contextlib
import http.client
import queue
import socket
import threading
from typing import Any

from taskdemo_cli.servers import authorization, connect
from taskdemo_server.events import TaskEvent

SILENCE_S = 30.0
"""Seconds without even a heartbeat after which the connection counts as dead."""
RETRIES = 5
_RETRY_AFTER_S = 0.2


class Watcher(threading.Thread):
    """Puts ("events", [TaskEvent, ...]) into `sink`, resuming where it was after a lost connection.

    When the server stays unreachable it puts ("gone", sentence) and ends. `connected` is set once the server has
    answered, so that whoever starts the work afterwards knows that nothing is missed.
    """

    def __init__(
        self,
        url: str,
        sink: "queue.Queue[tuple[str, Any]]",
        offset: int,
        token: str | None = None,
        path: str = "/events",
    ) -> None:
        super().__init__(name="events", daemon=True)
        self.connected = threading.Event()
        self._url = url
        self._path = path
        self._sink = sink
        self._last_id = str(offset)
        self._token = token
        self._stopped = threading.Event()
        self._connection: http.client.HTTPConnection | None = None

    def stop(self) -> None:
        """End the thread, whatever it waits for."""
        self._stopped.set()
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        """Follow until stopped or until the server is gone."""
        failures = 0
        while not self._stopped.is_set():
            try:
                self._follow()
                failures = 0
            except (OSError, http.client.HTTPException, AttributeError) as error:
                # http.client itself raises AttributeError where stop() closed the socket under a read
                failures += 1
                if failures > RETRIES or (isinstance(error, ConnectionRefusedError) and failures > 1):
                    break
            self._stopped.wait(_RETRY_AFTER_S)
        self.connected.set()
        if not self._stopped.is_set():
            self._sink.put(("gone", "the server stopped answering"))

    def _follow(self) -> None:
        connection = self._connection = connect(self._url, SILENCE_S)
        headers = {"Accept": "text/event-stream", "Last-Event-ID": self._last_id, **authorization(self._token)}
        try:
            connection.request("GET", self._path, headers=headers)
            response = connection.getresponse()
            if response.status != http.client.OK:
                raise http.client.HTTPException(f"/events answered {response.status}")
            self.connected.set()
            rest = b""
            while chunk := response.read1(1 << 18):
                *blocks, rest = (rest + chunk).split(b"\n\n")
                self._hand_over(blocks)
        finally:
            connection.close()

    def _hand_over(self, blocks: list[bytes]) -> None:
        events: list[TaskEvent] = []
        for block in blocks:
            for line in block.split(b"\n"):
                if line.startswith(b"data:"):
                    event = TaskEvent.from_line(line[5:])
                    if event is not None:
                        events.append(event)
                elif line.startswith(b"id:"):
                    self._last_id = line[3:].strip().decode("ascii", "replace")
        if events:
            self._sink.put(("events", events))


def clock_offset(health: dict[str, Any], asked: float, answered: float) -> float:
    """Return what to subtract from the server's clock to get ours, in seconds.

    On one host both read the same monotonic clock, and the server's reading lies between `asked` and `answered`:
    then the offset is exactly 0. Elsewhere it is estimated as NTP does, to within half the round trip.
    """
    theirs = health.get("clock")
    if not isinstance(theirs, int | float) or asked - 0.001 <= theirs <= answered + 0.001:
        return 0.0
    return float(theirs) - (asked + answered) / 2
