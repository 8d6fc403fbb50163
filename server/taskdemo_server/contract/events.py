"""What happened to a task: one line of the journal, and the one fold of a task's lines. Standard library only."""

import json
import os
import socket
import threading
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, get_args

WARM_UP: Final = "warm-up"
"""A request with a header of this name asks for a task whose work does nothing; its task's id begins with it."""

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
    """CPU seconds that the work took; on `finished` and `failed` only.

    Those of its thread; in mode process, of its whole process and of the programs that it ran.
    """
    queued_s: float | None = None
    """Seconds that it could have run and no processor was free; beside `cpu_s`, where that is known; not of `sleep`."""
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
            and all(
                seconds is None or (isinstance(seconds, int | float) and 0 <= seconds < _LATEST)
                for seconds in (self.cpu_s, self.queued_s)
            )
        )


_quoted: Final = json.encoder.encode_basestring_ascii
"""What `json.dumps` does with a string, without looking what it is."""
_OPTIONAL: Final = ("message", "error", "output", "cpu_s", "queued_s", "ref")


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
    queued_s: float | None = None,
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
    if queued_s is not None:
        line += f',"queued_s":{queued_s:.6f}'
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
class TaskRecord:
    """What the journal tells of one task: the one fold of its events, in whatever order they come."""

    id: str
    mode: str
    accepted: TaskEvent | None = None
    starts: list[TaskEvent] = field(default_factory=list)
    """Every begin of its work, in the order of the journal: an engine may begin a task again."""
    end: TaskEvent | None = None

    @property
    def state(self) -> TaskState:
        """Return the state that it is in: `accepted` until its work is begun, then `started` until it has ended."""
        return self.end.state if self.end else "started" if self.starts else "accepted"

    @property
    def done(self) -> bool:
        """Tell whether its work came to its end, well or with an error."""
        return self.state in {"finished", "failed"}

    @property
    def message(self) -> str | None:
        """Return what the work was called with, once it was."""
        return next((event.message for event in (*self.starts, self.accepted) if event and event.message), None)

    @property
    def where(self) -> str | None:
        """Return where it ran last; None where nothing was begun."""
        return self.starts[-1].where if self.starts else None

    @property
    def error(self) -> str | None:
        """Return what went wrong."""
        return self.end.error if self.end else None

    @property
    def ref(self) -> str | None:
        """Return what the engine calls it."""
        return self.accepted.ref if self.accepted else None

    def see(self, event: TaskEvent) -> None:
        """Fold one event in.

        `lost` is what others conclude, so it yields to work that has really ended; of other ends the first stays. That
        a lost task is cancelled means that its engine is not to begin it again.
        """
        if event.state == "accepted":
            self.accepted = event
        elif event.state == "started":
            self.starts.append(event)
        elif self.end is None or (self.end.state == "lost" and event.state in {"finished", "failed"}):
            self.end = event
