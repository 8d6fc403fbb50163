"""What happened to a task: one line of the journal, and the one fold of a task's lines."""

import json
import os
import re
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, NamedTuple, Self, TypeAlias

from msgspec import Meta, Struct, to_builtins
from msgspec.json import Decoder, Encoder

WARM_UP: Final = "warm-up"
"""A request with a header of this name asks for a task whose work does nothing; its task's id begins with it."""

TaskState: TypeAlias = Literal["accepted", "started", "finished", "failed", "cancelled", "lost"]
ENDED: Final[frozenset[TaskState]] = frozenset({"finished", "failed", "cancelled", "lost"})
"""The states after which nothing more is expected of a task."""
_LATEST: Final = 1e11
"""Seconds, some 3,000 years: a larger number is not a valid time, and no calendar could show it."""
_Seconds: TypeAlias = Annotated[float, Meta(ge=0, lt=_LATEST)]
_HALF: Final = re.compile("[\ud800-\udfff]")
"""Half a character, of a name that is no UTF-8."""


class Place(NamedTuple):
    """Where events happen, and in which mode: what all events of one thread have in common."""

    mode: str
    host: str
    pid: int
    thread: str

    @classmethod
    def here(cls, mode: str) -> Self:
        """Return the place of the thread that calls."""
        thread = threading.current_thread().name
        number = "" if thread == "event loop" else f" {threading.get_native_id()}"
        return cls(mode, socket.gethostname(), os.getpid(), thread + number)

    def event(self, task_id: str, state: TaskState, clock: float | None = None, **more: Any) -> "TaskEvent":
        """Return what happens there to a task now, or happened a moment ago at `clock`; `more` are optional fields."""
        return TaskEvent(task_id, state, time.time(), time.monotonic() if clock is None else clock, *self, **more)


class Line:
    """A Struct of msgspec that is one line of a file to which several processes append."""

    __slots__ = ()

    def to_line(self) -> bytes:
        """Return it as one line of JSON, newline included; of ASCII alone, which steers no terminal."""
        try:
            line = _encode(self)
        except UnicodeEncodeError:  # Of half a character, its escape is written.
            text = json.dumps(to_builtins(self), ensure_ascii=False)
            line = _HALF.sub(lambda half: rf"\\u{ord(half[0]):x}", text).encode()
        if not line.isascii():
            line = json.dumps(json.loads(line), separators=(",", ":")).encode()
        return line + b"\n"


class TaskEvent(Struct, Line, frozen=True, omit_defaults=True, gc=False):
    """One line of the journal: task `id` came into `state`.

    `at` is Unix time; `clock` is the host's monotonic clock, which never steps back and is shared by all
    processes of one boot: order and durations come from `clock`, dates from `at`. Both in seconds.
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
    """What the work was called with; on `started`, and on `accepted` of a request to the user's own application."""
    error: str | None = None
    """What went wrong; on `failed` and `lost` only."""
    output: str | None = None
    """The beginning of what the user's own work has printed; on `finished` and `failed` only."""
    cpu_s: _Seconds | None = None
    """CPU seconds that the work took; on `finished` and `failed` only.

    Those of its thread; in mode process, of its whole process and of the programs that it ran.
    """
    queued_s: _Seconds | None = None
    """Seconds that it could have run and no processor was free; beside `cpu_s`, where that is known; not of `sleep`."""
    ref: str | None = None
    """What the engine calls the task; on `accepted` only."""

    @property
    def where(self) -> str:
        """Where it happened, for people."""
        return f"{self.host} pid {self.pid} {self.thread}"

    @classmethod
    def from_line(cls, line: bytes) -> "TaskEvent | None":
        """Read an event back; None where the line is not one (torn by a crash, or somebody else's).

        What a torn write left before the event, on the same line, is skipped.
        """
        # Inside a JSON string a quote is escaped, so this can only be where an event begins.
        start = line.rfind(b'{"id":')
        try:
            return _decode(line[max(start, 0) :])
        except (ValueError, RecursionError):
            return None


_encode: Final = Encoder().encode
_decode: Final = Decoder(TaskEvent).decode


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
