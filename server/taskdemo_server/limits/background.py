"""Mode `background` in the experiments of `taskdemo limits`: every step is a task added to BackgroundTasks."""

from collections.abc import Callable
from typing import Any

from fastapi import BackgroundTasks

from taskdemo_server.limits.base import CHAIN, GROUP, Steps
from taskdemo_server.limits.step import step


def steps() -> Steps:
    """Return the steps as ordinary functions, which run in worker threads."""
    return steps_that_add(step)


def steps_that_add(do: Callable[..., Any]) -> Steps:
    """Return the steps as background tasks that call `do`."""
    handles: dict[str, Any] = {}

    def add(*names: str) -> Callable[..., Any]:
        async def add_each(key: str, background_tasks: BackgroundTasks) -> None:
            # No result of a step goes anywhere: add_task takes its arguments now, before anything has run.
            for name in names:
                background_tasks.add_task(do, key, name)

        return add_each

    async def track(key: str, background_tasks: BackgroundTasks) -> None:
        background_tasks.add_task(do, key, "tracked")
        handles[key] = background_tasks

    def ask(tasks: BackgroundTasks) -> tuple[str, None]:
        # Everything that the object holds: the functions and their arguments.
        return "listed: " + ", ".join(f"{task.func.__name__} {task.args[-1]}" for task in tasks.tasks), None

    return Steps(track, add("flaky"), add(*CHAIN), add(*GROUP), add("broken", "following"), handles, ask)
