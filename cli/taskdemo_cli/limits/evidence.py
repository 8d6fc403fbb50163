"""What the experiments find out from: the server's journal, and the notebook in which the lab's steps write.

Reads files and folds their lines; knows no server.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from taskdemo_server.contract.events import ENDED, TaskEvent, TaskState


@dataclass(slots=True)
class Traced:
    """What the journal tells of one task. Times are the monotonic clock's, in seconds."""

    id: str
    accepted: float | None = None
    starts: list[float] = field(default_factory=list)
    """One for every time that its work was begun."""
    places: list[str] = field(default_factory=list)
    """Where, one for each start."""
    end: float | None = None
    state: TaskState = "accepted"
    error: str | None = None
    """What its work raised."""

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

    @property
    def pid(self) -> int:
        """The process in which it was begun last."""
        return pid_in(self.places[-1])


def pid_in(place: str) -> int:
    """Return the process id in an event's `where`; 0 where there is none."""
    found = re.search(r"\bpid (\d+)", place)
    return int(found[1]) if found else 0


def read_journal(path: Path) -> list[Traced]:
    """Return the tasks in the journal, in the order in which they were accepted."""
    tasks: dict[str, Traced] = {}
    for line in _lines(path):
        event = TaskEvent.from_line(line)
        if event is None:
            continue
        task = tasks.setdefault(event.id, Traced(event.id))
        if event.state == "accepted":
            task.accepted = event.clock
        elif event.state == "started":
            task.starts.append(event.clock)
            task.places.append(event.where)
            if task.state != "finished":
                task.state = "started"
        elif not task.done:  # what really came to its end is not undone by what others conclude
            task.state, task.end, task.error = event.state, event.clock, event.error
    return [task for task in tasks.values() if task.accepted is not None]


@dataclass(frozen=True, slots=True)
class Note:
    """One line of the notebook: what happened to a step."""

    key: str
    step: str
    state: str
    """`started`, `ended` or `failed`."""
    clock: float
    pid: int
    given: Any
    result: Any


def read_notebook(path: Path, key: str) -> list[Note]:
    """Return the notes of one experiment, in their order."""
    found = []
    for line in _lines(path):
        try:
            fields = json.loads(line)
            note = Note(
                fields["key"],
                fields["step"],
                fields["state"],
                fields["clock"],
                fields["pid"],
                fields.get("given"),
                fields.get("result"),
            )
        except (ValueError, KeyError, TypeError):
            continue  # a line that a kill has cut short
        if note.key == key:
            found.append(note)
    return found


def _lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().splitlines()
    except FileNotFoundError:
        return []
