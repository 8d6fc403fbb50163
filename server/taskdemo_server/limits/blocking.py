"""Mode `blocking` in the experiments of `taskdemo limits`: steps are plain calls on the event loop."""

from taskdemo_server.limits.base import Steps
from taskdemo_server.limits.step import step


def steps(step_log: str) -> Steps:
    """Call every step where the endpoint calls its work."""

    async def track(key: str) -> None:
        step(step_log, key, "tracked")

    async def retry(key: str) -> None:
        step(step_log, key, "flaky")

    async def chain(key: str) -> None:
        first = step(step_log, key, "first")
        step(step_log, key, "second", first)

    async def group(key: str) -> None:
        parts = [step(step_log, key, f"part {number}") for number in range(3)]
        step(step_log, key, "final", parts)

    async def fail(key: str) -> None:
        step(step_log, key, "broken")
        step(step_log, key, "following")

    return Steps(track, retry, chain, group, fail, {})
