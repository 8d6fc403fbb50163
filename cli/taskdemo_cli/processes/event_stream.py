"""Follows a server's /events in a separate thread and forwards its task events."""

import contextlib
import http.client
import queue
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from taskdemo_cli.processes.servers import authorization, connect
from taskdemo_server.contract.events import TaskEvent
from taskdemo_server.contract.text import shortened

SILENCE_TIMEOUT_S = 30.0
"""Seconds without even a heartbeat after which the connection counts as dead and is replaced."""
TRIES = 2
"""After this many connections in a row without any data, the server counts as gone."""
LONGEST_EVENT = 1 << 22
"""Most bytes of one event; messages and outputs are far shorter, so a longer one is not from one of our servers."""
MOST_DIGITS = 17
TROUBLE = b"event: trouble\ndata: "
_RETRY_AFTER_S = 0.2
ServerState = Literal["well", "unheard", "stalled", "gone", "ended"]
"""From good to bad. `unheard`: it cannot report what happens to its tasks; `stalled`: no worker takes them; `gone`: it
does not answer; `ended`: its process has ended."""


@dataclass(frozen=True, slots=True)
class Heard:
    """Task events from the journal."""

    events: list[TaskEvent]
    offset: int
    """The journal's offset after them."""


@dataclass(frozen=True, slots=True)
class Condition:
    """The server's new state, and why; a server that could not write its journal may be `well` again."""

    server: ServerState
    why: str | None = None


class Watcher(threading.Thread):
    """Puts ("events", Heard) and ("events", Condition) into `sink`; resumes after a lost connection.

    The thread ends when the server stays unreachable and so is `gone`. A silent server's event loop may only be
    blocked, for example by a hundred callers of slow work: silence is tolerated while `patient()` is true.
    """

    def __init__(
        self,
        url: str,
        sink: "queue.Queue[tuple[str, Any]]",
        offset: int,
        token: str | None = None,
        path: str = "/events",
        patient: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(name="events", daemon=True)
        self._url = url
        self._path = path
        self._sink = sink
        self._last_id = str(offset)
        self._token = token
        self._patient = patient
        self._stopped = threading.Event()
        self._connection: http.client.HTTPConnection | None = None
        self._received = 0
        """Bytes of the stream so far; a connection that receives none counts as a failure."""

    def stop(self) -> None:
        """End the thread, even while it waits for data."""
        self._stopped.set()
        connection = self._connection
        if connection is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def run(self) -> None:
        """Follow the stream until stopped or until the server is gone."""
        failures = 0
        while failures < TRIES and not self._stopped.is_set():
            before, is_waited_for = self._received, False
            try:
                self._follow()
            except TimeoutError:
                is_waited_for = self._patient()
            except (OSError, http.client.HTTPException, AttributeError, ValueError):
                # http.client raises AttributeError or ValueError if stop() shuts down the socket during a read
                pass
            failures = 0 if is_waited_for else 1 if self._received > before else failures + 1
            self._stopped.wait(_RETRY_AFTER_S)
        if not self._stopped.is_set():
            self._sink.put(("events", Condition("gone", "the server stopped answering")))

    def _follow(self) -> None:
        connection = self._connection = connect(self._url, SILENCE_TIMEOUT_S)
        headers = {"Accept": "text/event-stream", "Last-Event-ID": self._last_id, **authorization(self._token)}
        try:
            connection.request("GET", self._path, headers=headers)
            with connection.getresponse() as response:
                if response.status != http.client.OK:
                    raise http.client.HTTPException(f"/events answered {response.status}")
                rest = b""
                while chunk := response.read1(1 << 18):
                    self._received += len(chunk)
                    *blocks, rest = (rest + chunk).split(b"\n\n")
                    self._hand_over(blocks)
                    if len(rest) > LONGEST_EVENT:
                        raise http.client.HTTPException("/events does not send events")
        finally:
            connection.close()

    def _hand_over(self, blocks: list[bytes]) -> None:
        events: list[TaskEvent] = []
        for block in blocks:
            if block.startswith(TROUBLE):
                why = shortened(block[len(TROUBLE) :].decode(errors="replace"), 200)
                trouble = Condition("unheard", f"the server's journal cannot be written ({why})")
                self._sink.put(("events", trouble if why else Condition("well")))
                continue
            for line in block.split(b"\n"):
                if line.startswith(b"data:"):
                    if (event := TaskEvent.from_line(line[5:])) is not None:
                        events.append(event)
                elif line.startswith(b"id:") and (number := line[3:].strip()).isdigit() and len(number) < MOST_DIGITS:
                    self._last_id = number.decode("ascii")
        if events and not self._stopped.is_set():
            self._sink.put(("events", Heard(events, int(self._last_id))))


def clock_offset(theirs: float, asked: float, answered: float) -> float:
    """Return the seconds to subtract from the server's clock to get ours; `theirs` is the server's reading.

    On one host both read the same monotonic clock, and the server's reading lies between `asked` and `answered`:
    then the offset is exactly 0. Otherwise it is estimated as NTP does, to within half the round trip.
    """
    if asked - 0.001 <= theirs <= answered + 0.001:
        return 0.0
    return theirs - (asked + answered) / 2
