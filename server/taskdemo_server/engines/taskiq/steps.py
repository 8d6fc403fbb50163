"""Taskiq in the experiments of `taskdemo limits`: every step is a separate task, sent to the page's broker."""

from redis.asyncio import Redis
from taskiq import AsyncTaskiqTask, SimpleRetryMiddleware

from taskdemo_server.engines.taskiq.page import backend, broker, queue
from taskdemo_server.limits.base import CannotAskError, Steps, steps_of
from taskdemo_server.limits.step import step

broker.add_middlewares(SimpleRetryMiddleware())


@broker.task
def do_step(key: str, name: str) -> int:
    return step(key, name)


@broker.task(retry_on_error=True, max_retries=3)
def flaky(key: str) -> int:
    return step(key, "flaky")


def steps() -> Steps:
    async def ask(task: AsyncTaskiqTask[int]) -> tuple[str, str | None]:
        if backend is None:
            raise CannotAskError("No result backend is configured.")
        if not await task.is_ready():
            return "not ready", None
        result = await task.get_result()
        return "ready", repr(result.error) if result.is_err else None

    async def clean() -> None:
        async with Redis(connection_pool=broker.connection_pool) as client:
            keys = [name async for name in client.scan_iter(f"*taskiq:{queue}*")]
            await client.delete(*keys, "nothing")

    # Taskiq has no chains (taskiq-pipelines adds them), and no groups: `gather` waits in the caller, not in the engine.
    return steps_of(do_step.kiq, retry=flaky.kiq, ask=ask, clean=clean)
