"""Mode `process` in the laboratory: every step is submitted to the mode's own pool, which gives a Future to ask."""

from concurrent.futures import Future
from typing import Any

from taskdemo_server.limits.bench import Bench, Lab
from taskdemo_server.limits.steps import step
from taskdemo_server.modes.process import Pool


def lab(bench: Bench) -> Lab:
    """Submit to the pool of the endpoint."""
    notebook = bench.notebook
    engine: Pool = bench.engine
    handles: dict[str, Any] = {}

    async def track(key: str) -> None:
        handles[key] = engine.executor.submit(step, notebook, key, "tracked")

    async def ask(future: "Future[int]") -> str:
        return "running" if future.running() else "done" if future.done() else "pending"

    async def error(future: "Future[int]") -> str | None:
        return repr(future.exception(timeout=0)) if future.done() else None

    async def retry(key: str) -> None:
        engine.executor.submit(step, notebook, key, "flaky")

    async def chain(key: str) -> None:
        pool = engine.executor
        first = pool.submit(step, notebook, key, "first")
        first.add_done_callback(lambda done: pool.submit(step, notebook, key, "second", done.result()) and None)

    async def group(key: str) -> None:
        for number in range(3):
            engine.executor.submit(step, notebook, key, f"part {number}")
        # A future calls back when it is done; that three are done is nothing a pool can be asked to wait for.
        engine.executor.submit(step, notebook, key, "final")

    async def fail(key: str) -> None:
        handles[key] = engine.executor.submit(step, notebook, key, "broken")
        engine.executor.submit(step, notebook, key, "following")

    return Lab(track, retry, chain, group, fail, handles, ask, error, at_once=engine.processes)
