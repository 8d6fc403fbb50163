"""The slow work of every page: `slow_work(message)`, and `slow_work_async(message)` to be awaited.

It stands for the reader's own work: it waits, computes, or calls the user's function, and prints "Background Task
called!" and the message. Under taskdemo it also journals itself, wherever it runs: on the event loop, in a thread, in a
pool process or in an engine's worker.
"""

import types
from collections.abc import Coroutine, Generator
from typing import Any

from taskdemo_server.work import workplace
from taskdemo_server.work.spent import Spent

__all__ = ["slow_work", "slow_work_async"]


def slow_work(message: str) -> None:
    """Do the slow work. Raises whatever the work raises."""
    here = workplace.here()
    with workplace.Run(here, message) as run, run.spent:
        if not run.is_warm_up:
            here.call(message)


async def slow_work_async(message: str) -> None:
    """Do the async version of the slow work. Raises whatever the work raises."""
    here = workplace.here()
    with workplace.Run(here, message, awaited=True) as run:
        await _timed(here.call_async(message) if not run.is_warm_up else workplace.sleep_async(0), run.spent)


@types.coroutine
def _timed(coroutine: Coroutine[Any, Any, None], spent: Spent) -> Generator[Any, Any, None]:
    """Await a coroutine and count the time of its own steps, but not what the loop does in between."""
    step, given = coroutine.send, None
    while True:
        try:
            with spent:
                awaited = step(given)
        except StopIteration:
            return
        try:
            given = yield awaited
            step = coroutine.send
        except BaseException as error:  # noqa: BLE001  maybe a cancellation: the coroutine decides
            given, step = error, coroutine.throw
