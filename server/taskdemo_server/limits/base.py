"""The interface of each mode's steps for the experiments of `taskdemo limits`."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.concurrency import run_in_threadpool


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
    """Starts the step `flaky`, which fails twice. Only the engine may retry it."""
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


def steps_of(
    start: Callable[[str, str], Any],
    retry: Callable[[str], Any],
    chain: Callable[..., Any],
    group: Callable[..., Any],
    ask: Callable[[Any], Any] | None = None,
    clean: Callable[[], Any] | None = None,
) -> Steps:
    """Return the steps of a mode in which `start(key, name)` starts a step, and returns the handle to ask about it.

    `retry(key)` starts `flaky`. Both are awaited if `start` is an `async def`; otherwise a worker thread calls them.
    """
    handles: dict[str, Any] = {}

    async def call(function: Callable[..., Any], *given: str) -> Any:
        return await (function(*given) if inspect.iscoroutinefunction(start) else run_in_threadpool(function, *given))

    async def track(key: str) -> None:
        handles[key] = await call(start, key, "tracked")

    async def fail(key: str) -> None:
        handles[key] = await call(start, key, "broken")
        await call(start, key, "following")

    async def try_again(key: str) -> None:
        await call(retry, key)

    return Steps(track, try_again, chain, group, fail, handles, ask, clean)
