"""What the experiments of `taskdemo limits` ask of every mode's steps."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


class CannotAskError(Exception):
    """The engine, as it is set up here, keeps nothing that could be asked for; the text says what is missing."""


@dataclass(frozen=True, slots=True)
class Steps:
    """One mode's engine, ready for experiments: path operation functions that take `key`, and questions to it.

    A mode's module has `steps()`, which returns these. Each step is handed to the engine as it
    would be in any endpoint of that mode, as a task of its own; whatever the engine itself then does about order,
    results, repetition and failure is what is looked at.
    """

    track: Callable[..., Any]
    """Starts the step `tracked`, and keeps as `handles[key]` whatever the engine gives to ask by."""
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
    """Asks the engine, by a handle, for the state of its task and its error, maybe awaited; None without handles."""
    clean: Callable[[], Any] | None = None
    """Removes, in a call or awaited, what the experiments have left with a broker that others use too."""
