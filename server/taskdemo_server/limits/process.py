"""Mode `process` in the experiments of `taskdemo limits`: each step is submitted to the page's pool."""

from concurrent.futures import Future
from typing import Any

from taskdemo_server.limits.base import Steps
from taskdemo_server.limits.step import step
from taskdemo_server.modes.process import app


def steps() -> Steps:
    """Return the steps, submitted to the endpoint's pool."""
    handles: dict[str, Any] = {}

    async def track(key: str) -> None:
        handles[key] = app.state.pool.submit(step, key, "tracked")

    def ask(future: "Future[int]") -> tuple[str, str | None]:
        if future.done():
            return "done", repr(future.exception(timeout=0))
        return "running" if future.running() else "pending", None

    async def retry(key: str) -> None:
        app.state.pool.submit(step, key, "flaky")

    async def chain(key: str) -> None:
        pool = app.state.pool
        first = pool.submit(step, key, "first")
        first.add_done_callback(lambda done: pool.submit(step, key, "second", done.result()) and None)

    async def group(key: str) -> None:
        for number in range(3):
            app.state.pool.submit(step, key, f"part {number}")
        # A future calls back when it is done, but a pool cannot be asked to wait until all three are.
        app.state.pool.submit(step, key, "final")

    async def fail(key: str) -> None:
        handles[key] = app.state.pool.submit(step, key, "broken")
        app.state.pool.submit(step, key, "following")

    return Steps(track, retry, chain, group, fail, handles, ask)
