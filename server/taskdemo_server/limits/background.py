"""Modes `background` and `background-async` in the laboratory: every step is a task added to BackgroundTasks."""

from collections.abc import Callable
from typing import Any

from fastapi import BackgroundTasks

from taskdemo_server.limits.bench import Bench, Lab
from taskdemo_server.limits.steps import step, step_async


def lab(bench: Bench) -> Lab:
    """Add ordinary functions, which run in worker threads."""
    return _lab(bench, step, bench.settings.threads)


def lab_async(bench: Bench) -> Lab:
    """Add async functions, which run on the event loop."""
    return _lab(bench, step_async, None)


def _lab(bench: Bench, do: Callable[..., Any], at_once: int | None) -> Lab:
    notebook = bench.notebook
    handles: dict[str, Any] = {}

    async def track(key: str, background_tasks: BackgroundTasks) -> None:
        background_tasks.add_task(do, notebook, key, "tracked")
        handles[key] = background_tasks

    async def ask(tasks: BackgroundTasks) -> str:
        # Everything that the object holds: the functions and their arguments.
        return "listed: " + ", ".join(f"{task.func.__name__} {task.args[-1]}" for task in tasks.tasks)

    async def retry(key: str, background_tasks: BackgroundTasks) -> None:
        background_tasks.add_task(do, notebook, key, "flaky")

    async def chain(key: str, background_tasks: BackgroundTasks) -> None:
        background_tasks.add_task(do, notebook, key, "first")
        # What `first` returns goes nowhere: add_task takes its arguments now, before anything has run.
        background_tasks.add_task(do, notebook, key, "second")

    async def group(key: str, background_tasks: BackgroundTasks) -> None:
        for number in range(3):
            background_tasks.add_task(do, notebook, key, f"part {number}")
        background_tasks.add_task(do, notebook, key, "final")

    async def fail(key: str, background_tasks: BackgroundTasks) -> None:
        background_tasks.add_task(do, notebook, key, "broken")
        background_tasks.add_task(do, notebook, key, "following")

    return Lab(track, retry, chain, group, fail, handles, ask, at_once=at_once)
