"""Mode `async` in the laboratory: steps are awaited, and the request's own asyncio.Task is there to be asked."""

import asyncio
from typing import Any

from taskdemo_server.limits.bench import Bench, Lab
from taskdemo_server.limits.steps import step_async


def lab(bench: Bench) -> Lab:
    """Await every step where the endpoint awaits its work."""
    notebook = bench.notebook
    handles: dict[str, Any] = {}

    async def track(key: str) -> None:
        handles[key] = asyncio.current_task()
        await step_async(notebook, key, "tracked")

    async def ask(task: "asyncio.Task[None]") -> str:
        return "done" if task.done() else "not done"

    async def retry(key: str) -> None:
        await step_async(notebook, key, "flaky")

    async def chain(key: str) -> None:
        first = await step_async(notebook, key, "first")
        await step_async(notebook, key, "second", first)

    async def group(key: str) -> None:
        parts = await asyncio.gather(*(step_async(notebook, key, f"part {number}") for number in range(3)))
        await step_async(notebook, key, "final", parts)

    async def fail(key: str) -> None:
        await step_async(notebook, key, "broken")
        await step_async(notebook, key, "following")

    return Lab(track, retry, chain, group, fail, handles, ask)
