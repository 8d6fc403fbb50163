"""Task events: what one line of the journal holds, and the one fold of a task's events."""

import json
import os
import re
import socket
import threading
import time
from dataclasses import dataclass, field
from math import inf
from operator import attrgetter
from typing import Annotated, Any, Final, Literal, NamedTuple, Self, TypeAlias

from msgspec import Meta, Struct, to_builtins
from msgspec.json import Decoder, Encoder

WARM_UP: Final = "warm-up"
"""The header of a request for a task whose work does nothing; the task's id begins with it too."""

TaskState: TypeAlias = Literal["accepted", "started", "finished", "failed", "cancelled", "lost"]
ENDED: Final[frozenset[TaskState]] = frozenset({"finished", "failed", "cancelled", "lost"})
"""The states after which no more events of a task are expected."""
DONE: Final[frozenset[TaskState]] = frozenset({"finished", "failed"})
"""The ends that the work itself reports; they take precedence over those that others conclude."""
_LATEST: Final = 1e11
"""Seconds, some 3,000 years: a larger number is not a valid time, and no calendar could show it."""
_Seconds: TypeAlias = Annotated[float, Meta(ge=0, lt=_LATEST)]
_HALF: Final = re.compile("[\ud800-\udfff]")
"""A lone surrogate, from a name that is not valid UTF-8."""


class Place(NamedTuple):
    """Where events happen, and in which mode: the fields that all events of one thread share."""

    mode: str
    host: str
    pid: int
    thread: str

    @classmethod
    def here(cls, mode: str) -> Self:
        """Return the place of the calling thread."""
        thread = threading.current_thread().name
        number = "" if thread == "event loop" else f" {threading.get_native_id()}"
        return cls(mode, socket.gethostname(), os.getpid(), thread + number)

    def event(self, task_id: str, state: TaskState, clock: float | None = None, **more: Any) -> "TaskEvent":
        """Return what happens there to a task now, or happened a moment ago at `clock`; `more` are optional fields."""
        return TaskEvent(task_id, state, time.time(), time.monotonic() if clock is None else clock, *self, **more)


class Line:
    """A mixin for a msgspec Struct that is one line of a file to which several processes append."""

    __slots__ = ()

    def to_line(self) -> bytes:
        """Return it as one line of JSON with its newline, in ASCII only, which steers no terminal."""
        try:
            line = _encode(self)
        except UnicodeEncodeError:  # A lone surrogate is written as its escape.
            text = json.dumps(to_builtins(self), ensure_ascii=False)
            line = _HALF.sub(lambda half: rf"\\u{ord(half[0]):x}", text).encode()
        if not line.isascii():
            line = json.dumps(json.loads(line), separators=(",", ":")).encode()
        return line + b"\n"


class TaskEvent(Struct, Line, frozen=True, omit_defaults=True, gc=False):
    """One line of the journal: task `id` entered `state`.

    `at` is Unix time. `clock` is the host's monotonic clock, which never steps back and which all processes share until
    the next boot. Order and durations come from `clock`, dates from `at`. Both are in seconds.
    """

    id: str
    state: TaskState
    at: _Seconds
    clock: Annotated[float, Meta(gt=-_LATEST, lt=_LATEST)]
    mode: str
    host: str
    pid: Annotated[int, Meta(ge=0, lt=1 << 32)]
    thread: str
    message: str | None = None
    """What the work was called with, on `started`; the method and path of a request to the user's own application, on
    `accepted`."""
    error: str | None = None
    """What went wrong; on `failed` and `lost` only."""
    output: str | None = None
    """The beginning and the end of what the user's own work printed; on `finished`, `failed` and `cancelled` only."""
    cpu_s: _Seconds | None = None
    """CPU seconds that the work took; on `finished` and `failed` only.

    Those of its thread; for a work of the user's own in mode process, those of the whole process and of the programs
    that it ran.
    """
    queued_s: _Seconds | None = None
    """Seconds that it could have run but no processor was free; beside `cpu_s`, where known; not for `sleep`."""
    ref: str | None = None
    """The engine's own id of the task; on `accepted` only."""

    @property
    def where(self) -> str:
        """Where it happened, for people."""
        return f"{self.host} pid {self.pid} {self.thread}"

    @classmethod
    def from_line(cls, line: bytes) -> "TaskEvent | None":
        """Read an event back; None if the line is not one (torn by a crash, or of another kind).

        Skips what a torn write left before the event on the same line.
        """
        # Inside a JSON string quotes are escaped, so this can only be where an event begins.
        start = line.rfind(b'{"id":')
        try:
            return _decode(line[max(start, 0) :])
        except (ValueError, RecursionError):
            return None


_encode: Final = Encoder().encode
_decode: Final = Decoder(TaskEvent).decode
_clock: Final = attrgetter("clock")


@dataclass(slots=True)
class TaskRecord:
    """What the journal says about one task: the one fold of its events, in whatever order they come.

    Work may start and end more than once: a worker was killed, or took so long that its engine gave the task to
    another one, or the work failed and is retried.
    """

    id: str
    mode: str
    accepted: TaskEvent | None = None
    starts: list[TaskEvent] = field(default_factory=list)
    """Every start of its work, in journal order."""
    ends: list[TaskEvent] = field(default_factory=list)
    """Every end of its work, or of hope for it, in journal order."""
    end: TaskEvent | None = None
    """The end that counts; None before it, and while the work runs again.

    Of the ends since the last start: the last that the work itself reported, or else the first that others concluded.
    """

    @property
    def state(self) -> TaskState:
        """The current state: `accepted` until the work starts, then `started` until it ends."""
        return self.end.state if self.end else "started" if self.starts else "accepted"

    @property
    def done(self) -> bool:
        """Whether its work ran to its end, with or without an error."""
        return self.state in DONE

    @property
    def message(self) -> str | None:
        """What the work was called with; None before that."""
        return next((event.message for event in (*self.starts, self.accepted) if event and event.message), None)

    @property
    def ref(self) -> str | None:
        """The engine's own id of the task."""
        return self.accepted.ref if self.accepted else None

    def see(self, event: TaskEvent) -> None:
        """Fold in one event; one that was seen before changes nothing: a worker repeats a report that got no answer."""
        if event.state == "accepted":
            self.accepted = event
            return
        known = self.starts if event.state == "started" else self.ends
        if any((one.clock, one.state) == (event.clock, event.state) for one in known):
            return
        known.append(event)
        if self.ends:
            begun = max((start.clock for start in self.starts), default=-inf)
            since = [end for end in self.ends if end.clock >= begun]
            done = [end for end in since if end.state in DONE]
            self.end = max(done, key=_clock) if done else min(since, key=_clock, default=None)
