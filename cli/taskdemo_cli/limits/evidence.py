"""What the experiments find out from: the server's journal, and the log in which the steps write.

Reads files and folds their lines; knows no server.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taskdemo_server.contract.events import TaskEvent, TaskRecord


def read_journal(path: Path) -> list[TaskRecord]:
    """Return the tasks in the journal, in the order in which they were accepted."""
    tasks: dict[str, TaskRecord] = {}
    for line in _lines(path):
        if (event := TaskEvent.from_line(line)) is not None:
            tasks.setdefault(event.id, TaskRecord(event.id, event.mode)).see(event)
    accepted = [(task.accepted.clock, task) for task in tasks.values() if task.accepted is not None]
    return [task for _, task in sorted(accepted, key=lambda one: one[0])]


@dataclass(frozen=True, slots=True)
class Note:
    """One line of the step log: what happened to a step."""

    key: str
    step: str
    state: str
    """`started`, `ended` or `failed`."""
    clock: float
    pid: int
    given: Any
    result: Any


def read_steps(path: Path, key: str) -> list[Note]:
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
