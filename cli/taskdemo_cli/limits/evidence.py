"""The experiments' evidence, from the server's journal and the log that the steps write, and the cells made from it.

Reads files and folds their lines; knows no server. Both files only grow and are polled every few milliseconds, so a
file is read again only when it has grown.
"""

import contextlib
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

from msgspec import DecodeError, Struct
from msgspec.json import Decoder

from taskdemo_cli.documents.limits import Cell
from taskdemo_server.contract.events import TaskEvent, TaskRecord


def read_journal(path: Path) -> list[TaskRecord]:
    """Return the tasks in the journal, in order of acceptance."""
    return _tasks(path, _size(path))


@lru_cache
def _tasks(path: Path, _size: int) -> list[TaskRecord]:
    tasks: dict[str, TaskRecord] = {}
    for line in _lines(path):
        if (event := TaskEvent.from_line(line)) is not None:
            tasks.setdefault(event.id, TaskRecord(event.id, event.mode)).see(event)
    accepted = [(task.accepted.clock, task) for task in tasks.values() if task.accepted is not None]
    return [task for _, task in sorted(accepted, key=lambda one: one[0])]


class Note(Struct, frozen=True):
    """One line of the step log: what happened to a step."""

    key: str
    step: str
    state: str
    """`started`, `ended` or `failed`."""
    clock: float
    pid: int
    given: Any = None
    result: Any = None
    context: dict[str, bool] = {}
    """Whether the step saw each context variable, by what sets it."""


_decoder: Final = Decoder(Note)


def read_steps(path: Path) -> list[Note]:
    """Return the step log's notes, in file order."""
    return _notes(path, _size(path))


@lru_cache
def _notes(path: Path, _size: int) -> list[Note]:
    found = []
    for line in _lines(path):
        with contextlib.suppress(DecodeError):  # a kill may cut a line short
            found.append(_decoder.decode(line))
    return found


def counted(count: int, total: int, text: str, **measured: Any) -> Cell:
    """Return the cell for `count` successes out of `total`: `yes` for all, `no` for none, otherwise `partly`."""
    verdict: Literal["yes", "no", "partly"] = "no" if not count else "yes" if count == total else "partly"
    return Cell(verdict=verdict, measured={"figure": f"{count} of {total}", **measured}, text=text)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines() if path.exists() else []
