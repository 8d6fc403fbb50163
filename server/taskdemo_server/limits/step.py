"""The pieces of work that the experiments run. Each logs what happens to it in the step log, wherever it runs.

A note is one line of JSON: {"key", "step", "state": "started" | "ended" | "failed", "given", "result",
"context", "clock", "pid"}. Pool processes and workers import this module, so it needs only what `slow_work` needs.
"""

import asyncio
import json
import os
import time
from contextvars import ContextVar
from typing import Any, Final, TypeAlias

from taskdemo_server.journal.file import open_appending
from taskdemo_server.work import workplace

STEP_S: Final = 0.3
"""Seconds that a step takes."""
TRACKED_S: Final = 0.8
"""Seconds that the step `tracked` takes: long enough to ask about it while it waits and runs."""
FAILURES: Final = 2
"""How often `flaky` fails before it succeeds."""

CONTEXT: Final = {
    name: ContextVar(name, default=False)
    for name in ("a BaseHTTPMiddleware", "an `async def` dependency", "a `def` dependency")
}
"""Context variables, by what sets them; a note's `context` says which are set where it is written."""

Given: TypeAlias = int | list[int] | None


class OnPurposeError(Exception):
    """Raised by the steps that fail."""


def step(key: str, name: str, given: Given = None) -> int:
    """Run the step `name` of the experiment `key`; `given` holds the results of the steps before it."""
    note(key=key, step=name, state="started", given=given)
    time.sleep(_seconds(name))
    return _end(key, name, given)


async def step_async(key: str, name: str, given: Given = None) -> int:
    """Run the same step as a coroutine."""
    note(key=key, step=name, state="started", given=given)
    await asyncio.sleep(_seconds(name))
    return _end(key, name, given)


def _seconds(name: str) -> float:
    return TRACKED_S if name == "tracked" else STEP_S


def _end(key: str, name: str, given: Given) -> int:
    if name == "broken" or (name == "flaky" and _starts(key, name) <= FAILURES):
        note(key=key, step=name, state="failed")
        raise OnPurposeError(f"{name} {key} fails on purpose")
    # The result shows what the step was given.
    result = sum(given) if isinstance(given, list) else sum(name.encode()) + (given or 0)
    note(key=key, step=name, state="ended", result=result)
    return result


def note(**facts: Any) -> None:
    """Append one note in a single write, so that notes of several processes never mix."""
    context = {name: variable.get() for name, variable in CONTEXT.items()}
    here = {"clock": time.monotonic(), "pid": os.getpid(), "context": context}
    with os.fdopen(open_appending(_step_log()), "ab", buffering=0) as file:
        file.write(json.dumps(facts | here).encode() + b"\n")


def _step_log() -> str:
    return str(workplace.here().settings.step_log)


def _starts(key: str, name: str) -> int:
    """Return how often a step has started so far; the step log knows, wherever earlier attempts ran."""
    with open(_step_log(), encoding="utf-8") as file:  # noqa: PTH123  nothing else here needs a Path
        notes = [json.loads(line) for line in file]
    return sum((one["key"], one["step"], one["state"]) == (key, name, "started") for one in notes)
