"""What went wrong, in words for people: the JSON keeps the exceptions' names.

Draws documents and computes nothing.
"""

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Final

from taskdemo_cli.units import format_count

ERROR_WORDS: Final = {
    "Cancelled": "not answered when it was stopped",
    "ConnectError": "could not connect",
    "ConnectTimeout": "no connection in time",
    "LocalProtocolError": "could not be sent",
    "PoolTimeout": "never sent: every connection was busy",
    "ReadError": "connection lost",
    "ReadTimeout": "no answer in time",
    "RemoteProtocolError": "connection closed without a whole answer",
    "WriteError": "connection lost",
    "WriteTimeout": "could not be sent in time",
}
"""By the kinds of error that a load process reports."""
LONGEST: Final = 300
"""Characters of a task's error that a report shows; the rest is in the JSON."""
LOOKED_AT: Final = 100_000
"""Rows are made when they are looked at: among so many of them a first failure is searched."""


def error_words(kind: str) -> str:
    """Return what a kind of error means, for people; a kind that has no words is its own."""
    return ERROR_WORDS.get(kind, kind)


def failure_words(runs: Sequence[Mapping[str, Any]]) -> str | None:
    """Return how many tasks of these runs failed, and the error of the first; None where none did."""
    failed = sum(run["summary"]["tasks"]["failed"] for run in runs)
    if not failed:
        return None
    accepted = sum(run["summary"]["tasks"]["accepted"] for run in runs)
    errors = (
        task["error"]
        for run in runs
        for task in islice(run["tasks"], LOOKED_AT)
        if task["state"] == "failed" and task["error"]
    )
    error = next(errors, None)
    of = "the task" if accepted == 1 else "all" if failed == accepted else f"{format_count(failed)} of"
    words = f"{of} failed" if accepted == 1 else f"{of} {format_count(accepted)} tasks failed"
    if error is None:
        return words
    first = ": " if failed == 1 else ", the first with: "
    # A traceback's or a message's further lines are in the JSON.
    line = next((line for line in error.splitlines() if line.strip()), "")
    return words + first + (line if len(line) <= LONGEST else line[: LONGEST - 1] + "…")
