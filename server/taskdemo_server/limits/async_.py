"""Mode `async` in the experiments of `taskdemo limits`: steps are awaited; there is an asyncio.Task to ask."""

import asyncio
from dataclasses import replace
from typing import Any

from taskdemo_server.limits.base import Steps, steps_of
from taskdemo_server.limits.step import step_async


def steps() -> Steps:
    """Return the steps, awaited where the endpoint awaits its work."""
    handles: dict[str, Any] = {}

    async def track(key: str) -> None:
        handles[key] = asyncio.current_task()
        await step_async(key, "tracked")

    def ask(task: "asyncio.Task[None]") -> tuple[str, None]:
        return "done" if task.done() else "not done", None

    async def chain(key: str) -> None:
        first = await step_async(key, "first")
        await step_async(key, "second", first)

    async def group(key: str) -> None:
        parts = await asyncio.gather(*(step_async(key, f"part {number}") for number in range(3)))
        await step_async(key, "final", parts)

    return replace(steps_of(step_async, chain=chain, group=group, ask=ask), track=track, handles=handles)
