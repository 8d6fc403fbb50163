"""Mode `process` in the experiments of `taskdemo limits`: each step is submitted to the page's pool."""

from concurrent.futures import Future

from taskdemo_server.limits.base import Steps, steps_of
from taskdemo_server.limits.step import step
from taskdemo_server.modes.process import app


def steps() -> Steps:
    """Return the steps, submitted to the endpoint's pool."""

    async def start(key: str, name: str) -> "Future[int]":
        future: Future[int] = app.state.pool.submit(step, key, name)
        return future

    def ask(future: "Future[int]") -> tuple[str, str | None]:
        if future.done():
            return "done", repr(future.exception(timeout=0))
        return "running" if future.running() else "pending", None

    async def chain(key: str) -> None:
        first = await start(key, "first")
        first.add_done_callback(lambda done: app.state.pool.submit(step, key, "second", done.result()) and None)

    # No group: a future calls back when it is done, but a pool cannot be asked to wait until all three are.
    return steps_of(start, chain=chain, ask=ask)
