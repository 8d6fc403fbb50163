"""What happened to a task: one line of the journal, and the one fold of a task's lines. Standard library only."""

import json
import os
import socket
import threading
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, get_args

VERSION: Final = "0.1.0"

DEFAULT_MESSAGE: Final = "Hello from the background"
MESSAGE_LIMIT: Final = 4096
"""Characters in a message; `GET /` refuses a longer one with 422."""

TaskState: TypeAlias = Literal["accepted", "started", "finished", "failed", "cancelled", "lost"]
_STATES: Final = frozenset(get_args(TaskState))
_LATEST: Final = 1e11
"""Seconds, some 3,000 years: a larger number is not a valid time, and no calendar could show it."""
ENDED: Final[frozenset[TaskState]] = frozenset({"finished", "failed", "cancelled", "lost"})
"""The states after which nothing more is expected of a task."""


@dataclass(frozen=True, slots=True)
class TaskEvent:
    """One line of the journal: task `id` came into `state`.

    `at` is Unix time; `clock` is the host's monotonic clock, which never steps back and is shared by all
    processes of one boot: order and durations come from `clock`, dates from `at`. Both in seconds.
    """

    id: str
    state: TaskState
    at: float
    clock: float
    mode: str
    host: str
    pid: int
    thread: str
    message: str | None = None
    """What the work was called with; on `started`, and on `accepted` of a request to the user's own application."""
    error: str | None = None
    """What went wrong; on `failed` and `lost` only."""
    output: str | None = None
    """The beginning of what the user's own work has printed; on `finished` and `failed` only."""
    cpu_s: float | None = None
    """CPU seconds that the work took of its thread; on `finished` and `failed` only."""
    ref: str | None = None
    """What the engine calls the task; on `accepted` only."""

    @property
    def where(self) -> str:
        """Where it happened, for people."""
        return f"{self.host} pid {self.pid} {self.thread}"

    def to_line(self) -> bytes:
        """Return the event as one line of JSON, newline included."""
        place = place_of(self.mode, self.host, self.pid, self.thread)
        rest = {name: getattr(self, name) for name in _OPTIONAL if getattr(self, name) is not None}
        return event_line(self.id, self.state, self.at, self.clock, place, **rest)

    @classmethod
    def from_line(cls, line: bytes | str) -> "TaskEvent | None":
        """Read an event back; None where the line is not one (torn by a crash, or somebody else's).

        What a torn write left before the event, on the same line, is skipped.
        """
        try:
            # Inside a JSON string a quote is escaped, so this can only be where an event begins.
            start = line.rfind(b'{"id":') if isinstance(line, bytes) else line.rfind('{"id":')
            fields = json.loads(line[max(start, 0) :])
            event = cls(
                str(fields["id"]),
                fields["state"],
                float(fields["at"]),
                float(fields["clock"]),
                str(fields["mode"]),
                str(fields["host"]),
                int(fields["pid"]),
                str(fields["thread"]),
                **{name: fields.get(name) for name in _OPTIONAL},
            )
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return None
        return event if event.is_sound() else None

    def is_sound(self) -> bool:
        """Tell whether every field has its type, and each time is a valid one."""
        texts = (self.message, self.error, self.output, self.ref)
        return (
            isinstance(self.state, str)
            and self.state in _STATES
            and 0 <= self.at < _LATEST
            and -_LATEST < self.clock < _LATEST
            and all(text is None or isinstance(text, str) for text in texts)
            and (self.cpu_s is None or (isinstance(self.cpu_s, int | float) and 0 <= self.cpu_s < _LATEST))
        )


_quoted: Final = json.encoder.encode_basestring_ascii
"""What `json.dumps` does with a string, without looking what it is."""
_OPTIONAL: Final = ("message", "error", "output", "cpu_s", "ref")


def event_line(
    task_id: str,
    state: TaskState,
    at: float,
    clock: float,
    place: str,
    *,
    message: str | None = None,
    error: str | None = None,
    output: str | None = None,
    cpu_s: float | None = None,
    ref: str | None = None,
) -> bytes:
    """Return `TaskEvent.to_line()` without the object; `place` is what `place_of` made once for many events.

    Built by hand because three are written for every request: 1 us each instead of 5.
    """
    line = f'{{"id":"{task_id}","state":"{state}","at":{at:.6f},"clock":{clock:.6f},{place}'
    if message is not None:
        line += f',"message":{_quoted(message)}'
    if error is not None:
        line += f',"error":{_quoted(error)}'
    if output is not None:
        line += f',"output":{_quoted(output)}'
    if cpu_s is not None:
        line += f',"cpu_s":{cpu_s:.6f}'
    if ref is not None:
        line += f',"ref":{_quoted(ref)}'
    return (line + "}\n").encode()


def place_of(mode: str, host: str, pid: int, thread: str) -> str:
    """Return the members of an event's JSON object that stay the same for one thread."""
    return f'"mode":{json.dumps(mode)},"host":{json.dumps(host)},"pid":{pid},"thread":{json.dumps(thread)}'


def here(mode: str) -> str:
    """Return `place_of` for the thread that calls."""
    thread = threading.current_thread().name
    number = "" if thread == "event loop" else f" {threading.get_native_id()}"
    return place_of(mode, socket.gethostname(), os.getpid(), thread + number)


@dataclass(slots=True)
class Start:
    """One begin of a task's work. `clock` is the monotonic clock's, in seconds."""

    clock: float
    at: float
    host: str
    pid: int


@dataclass(slots=True)
class TaskRecord:
    """What the journal tells of one task: the one fold of its events, in whatever order they come.

    Times are Unix seconds, null where the task has not come that far.
    """

    id: str
    mode: str
    state: TaskState = "accepted"
    accepted_at: float | None = None
    accepted_clock: float | None = None
    accepted_by: str = ""
    """The host of the server that accepted it, and there its process: `accepted_pid`."""
    accepted_pid: int = 0
    starts: list[Start] = field(default_factory=list)
    """Every begin of its work, in the order of the journal: an engine may begin a task again."""
    ended_at: float | None = None
    ended_clock: float | None = None
    where: str | None = None
    message: str | None = None
    error: str | None = None
    output: str | None = None
    cpu_s: float | None = None
    ref: str | None = None

    @property
    def started_at(self) -> float | None:
        """When its work was first begun."""
        return self.starts[0].at if self.starts else None

    @property
    def running(self) -> bool:
        """Whether its work was begun and has not ended."""
        return bool(self.starts) and self.state not in ENDED

    @property
    def waiting(self) -> bool:
        """Whether it was accepted and nothing was begun."""
        return not self.starts and self.state not in ENDED

    @property
    def done(self) -> bool:
        """Whether its work came to its end, well or with an error."""
        return self.state in {"finished", "failed"}

    def see(self, event: TaskEvent) -> None:
        """Fold one event in.

        | state before | `started` | `lost` | `finished`, `failed`, `cancelled` |
        | --- | --- | --- | --- |
        | accepted, started | started | lost | that end |
        | lost | lost | lost | that end: others had only concluded that it was lost |
        | any other end | as it is | as it is | as it is: the first real end stays |
        """
        self.message = self.message if event.message is None else event.message
        if event.state == "accepted":
            self.accepted_at, self.accepted_clock, self.ref = event.at, event.clock, event.ref
            self.accepted_by, self.accepted_pid = event.host, event.pid
            return
        if event.state == "started":
            self.starts.append(Start(event.clock, event.at, event.host, event.pid))
            if self.state not in ENDED:
                self.state, self.where = "started", event.where
            return
        if self.state in ENDED and (event.state == "lost" or self.state != "lost"):
            return
        self.state, self.ended_at, self.ended_clock = event.state, event.at, event.clock
        self.error, self.output, self.cpu_s = event.error, event.output, event.cpu_s
        if event.state in {"finished", "failed"}:
            self.where = event.where
