"""Mode `process` in the experiments of `taskdemo limits`: each step goes to the page's pool, for a Future."""

from concurrent.futures import Future
from typing import Any

from fastapi import FastAPI

from taskdemo_server.contract.settings import Settings
from taskdemo_server.limits.base import Steps
from taskdemo_server.limits.step import step


def steps(step_log: str, page: FastAPI, settings: Settings) -> Steps:
    """Submit to the pool of the endpoint."""
    handles: dict[str, Any] = {}

    async def track(key: str) -> None:
        handles[key] = page.state.pool.submit(step, step_log, key, "tracked")

    def ask(future: "Future[int]") -> tuple[str, str | None]:
        if future.done():
            return "done", repr(future.exception(timeout=0))
        return "running" if future.running() else "pending", None

    async def retry(key: str) -> None:
        page.state.pool.submit(step, step_log, key, "flaky")

    async def chain(key: str) -> None:
        pool = page.state.pool
        first = pool.submit(step, step_log, key, "first")
        first.add_done_callback(lambda done: pool.submit(step, step_log, key, "second", done.result()) and None)

    async def group(key: str) -> None:
        for number in range(3):
            page.state.pool.submit(step, step_log, key, f"part {number}")
        # A future calls back when it is done; that three are done is nothing a pool can be asked to wait for.
        page.state.pool.submit(step, step_log, key, "final")

    async def fail(key: str) -> None:
        handles[key] = page.state.pool.submit(step, step_log, key, "broken")
        page.state.pool.submit(step, step_log, key, "following")

    return Steps(track, retry, chain, group, fail, handles, ask, at_once=settings.tasks_at_once)
