"""What happened to a task: one line of the journal. Standard library only."""

import json
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

VERSION: Final = "0.1.0"

DEFAULT_MESSAGE: Final = "Hello from the background"
MESSAGE_LIMIT: Final = 4096
"""Characters in a message; `GET /` refuses a longer one with 422."""

TaskState: TypeAlias = Literal["accepted", "started", "finished", "failed", "cancelled", "lost"]
_STATES: Final = frozenset(get_args(TaskState))
_LATEST: Final = 1e11
"""Seconds, some 3,000 years: whatever counts more is no time, and no calendar could show it."""
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
    where: str
    """Where it happened, to be read by people: host, pid, thread."""
    message: str | None = None
    """The task's argument; on `accepted` only."""
    error: str | None = None
    """What went wrong; on `failed` and `lost` only."""
    output: str | None = None
    """The beginning of what the user's own work has printed; on `finished` and `failed` only."""

    def to_line(self) -> bytes:
        """Return the event as one line of JSON, newline included."""
        place = place_of(self.mode, self.where)
        return event_line(self.id, self.state, self.at, self.clock, place, self.message, self.error, self.output)

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
                str(fields["where"]),
                fields.get("message"),
                fields.get("error"),
                fields.get("output"),
            )
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return None
        return event if event.is_sound() else None

    def is_sound(self) -> bool:
        """Whether every field is what it must be, and each time one that there can be."""
        texts = (self.message, self.error, self.output)
        return (
            isinstance(self.state, str)
            and self.state in _STATES
            and 0 <= self.at < _LATEST
            and -_LATEST < self.clock < _LATEST
            and all(text is None or isinstance(text, str) for text in texts)
        )


def event_line(
    task_id: str,
    state: TaskState,
    at: float,
    clock: float,
    place: str,
    message: str | None = None,
    error: str | None = None,
    output: str | None = None,
) -> bytes:
    """Return `TaskEvent.to_line()` without the object; `place` is what `place_of` made once for many events.

    Built by hand because three are written for every request: 1 us each instead of 5.
    """
    line = f'{{"id":"{task_id}","state":"{state}","at":{at:.6f},"clock":{clock:.6f},{place}'
    if message is not None:
        line += f',"message":{json.dumps(message)}'
    if error is not None:
        line += f',"error":{json.dumps(error)}'
    if output is not None:
        line += f',"output":{json.dumps(output)}'
    return (line + "}\n").encode()


def place_of(mode: str, where: str) -> str:
    """Return the two members of an event's JSON object that stay the same for one thread."""
    return f'"mode":{json.dumps(mode)},"where":{json.dumps(where)}'
