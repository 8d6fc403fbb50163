"""Mode `background` in the experiments of `taskdemo limits`: every step is a task added to BackgroundTasks."""

from collections.abc import Callable
from typing import Any

from fastapi import BackgroundTasks

from taskdemo_server.limits.base import Steps
from taskdemo_server.limits.step import step


def steps() -> Steps:
    """Return the steps as ordinary functions, which run in worker threads."""
    return steps_of(step)


def steps_of(do: Callable[..., Any]) -> Steps:
    """Return the steps as background tasks that call `do`."""
    handles: dict[str, Any] = {}

    async def track(key: str, background_tasks: BackgroundTasks) -> None:
        background_tasks.add_task(do, key, "tracked")
        handles[key] = background_tasks

    def ask(tasks: BackgroundTasks) -> tuple[str, None]:
        # Everything that the object holds: the functions and their arguments.
        return "listed: " + ", ".join(f"{task.func.__name__} {task.args[-1]}" for task in tasks.tasks), None

    async def retry(key: str, background_tasks: BackgroundTasks) -> None:
        background_tasks.add_task(do, key, "flaky")

    async def chain(key: str, background_tasks: BackgroundTasks) -> None:
        background_tasks.add_task(do, key, "first")
        # The result of `first` goes nowhere: add_task takes its arguments now, before anything has run.
        background_tasks.add_task(do, key, "second")

    async def group(key: str, background_tasks: BackgroundTasks) -> None:
        for number in range(3):
            background_tasks.add_task(do, key, f"part {number}")
        background_tasks.add_task(do, key, "final")

    async def fail(key: str, background_tasks: BackgroundTasks) -> None:
        background_tasks.add_task(do, key, "broken")
        background_tasks.add_task(do, key, "following")

    return Steps(track, retry, chain, group, fail, handles, ask)
