"""The interface of each mode's steps for the experiments of `taskdemo limits`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class CannotAskError(Exception):
    """The engine, as set up here, keeps no state to ask for; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Steps:
    """One mode's engine, ready for experiments: path operation functions that take `key`, and a way to ask the engine.

    Each mode's module has a function `steps()` that returns these. They enqueue each step as a task of its own, as any
    endpoint of that mode would. The experiments observe what the engine itself does about order, results, repetition
    and failure.
    """

    track: Callable[..., Any]
    """Starts the step `tracked`, and stores the engine's handle to ask about it in `handles[key]`."""
    retry: Callable[..., Any]
    """Starts the step `flaky`."""
    chain: Callable[..., Any]
    """Starts `first` and `second`, which needs the result of `first`."""
    group: Callable[..., Any]
    """Starts `part 0` to `part 2`, and `final`, which needs the results of the three."""
    fail: Callable[..., Any]
    """Starts `broken`, and then `following`."""
    handles: dict[str, Any]
    ask: Callable[[Any], Any] | None = None
    """Asks the engine for the state and the error of a handle's task; may be async; None without handles."""
    clean: Callable[[], Any] | None = None
    """Removes what the experiments left on a broker that others use too; may be async."""
