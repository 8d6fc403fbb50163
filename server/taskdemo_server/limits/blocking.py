"""Mode `blocking` in the laboratory: steps are plain calls on the event loop."""

from taskdemo_server.limits.bench import Bench, Lab
from taskdemo_server.limits.steps import step


def lab(bench: Bench) -> Lab:
    """Call every step where the endpoint calls its work."""
    notebook = bench.notebook

    async def track(key: str) -> None:
        step(notebook, key, "tracked")

    async def retry(key: str) -> None:
        step(notebook, key, "flaky")

    async def chain(key: str) -> None:
        first = step(notebook, key, "first")
        step(notebook, key, "second", first)

    async def group(key: str) -> None:
        parts = [step(notebook, key, f"part {number}") for number in range(3)]
        step(notebook, key, "final", parts)

    async def fail(key: str) -> None:
        step(notebook, key, "broken")
        step(notebook, key, "following")

    return Lab(track, retry, chain, group, fail, {}, at_once=1)
