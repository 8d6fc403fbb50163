"""Mode `blocking` in the experiments of `taskdemo limits`: steps are plain calls on the event loop."""

from taskdemo_server.limits.base import Steps
from taskdemo_server.limits.step import step


def steps() -> Steps:
    """Return the steps, called where the endpoint calls its work."""

    async def track(key: str) -> None:
        step(key, "tracked")

    async def retry(key: str) -> None:
        step(key, "flaky")

    async def chain(key: str) -> None:
        first = step(key, "first")
        step(key, "second", first)

    async def group(key: str) -> None:
        parts = [step(key, f"part {number}") for number in range(3)]
        step(key, "final", parts)

    async def fail(key: str) -> None:
        step(key, "broken")
        step(key, "following")

    return Steps(track, retry, chain, group, fail, {})
