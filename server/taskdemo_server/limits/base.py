"""The interface of each mode's steps for the experiments of `taskdemo limits`."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from starlette.concurrency import run_in_threadpool

CHAIN: Final = ("first", "second")
GROUP: Final = ("part 0", "part 1", "part 2", "final")


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
    *,
    retry: Callable[[str], Any] | None = None,
    chain: Callable[..., Any] | None = None,
    group: Callable[..., Any] | None = None,
    ask: Callable[[Any], Any] | None = None,
    clean: Callable[[], Any] | None = None,
) -> Steps:
    """Return the steps of a mode in which `start(key, name)` starts a step, and returns the handle to ask about it.

    Where the mode has no `retry`, `chain` or `group` of its own, their steps are started one after another. What is no
    `async def` runs in a worker thread: most libraries block while they send.
    """
    handles: dict[str, Any] = {}

    async def call(function: Callable[..., Any], *given: str) -> Any:
        is_async = inspect.iscoroutinefunction(function)
        return await (function(*given) if is_async else run_in_threadpool(function, *given))

    def in_turn(*names: str) -> Callable[[str], Any]:
        async def start_each(key: str) -> None:
            for name in names:
                await call(start, key, name)

        return start_each

    async def track(key: str) -> None:
        handles[key] = await call(start, key, "tracked")

    async def try_again(key: str) -> None:
        await call(retry or in_turn("flaky"), key)

    async def fail(key: str) -> None:
        handles[key] = await call(start, key, "broken")
        await call(start, key, "following")

    return Steps(track, try_again, chain or in_turn(*CHAIN), group or in_turn(*GROUP), fail, handles, ask, clean)
