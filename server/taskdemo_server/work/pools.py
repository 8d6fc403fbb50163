"""How the current task gets into a pool process: `ProcessPoolExecutor` has no hook for that, so `submit` is wrapped.

The wrapped `submit` does what the library's does; beside it, the task's id travels with the call, and the future that
the page drops is kept, so that a waiting task can be cancelled and a broken pool is noticed.
"""

import functools
import pickle
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any, Final

from taskdemo_server.contract.stderr import complain
from taskdemo_server.contract.text import error_text, escape
from taskdemo_server.work.workplace import CurrentTask, current_task, here, work_for

_RAISED: Final = "_raised_by_the_work"
"""On an exception that comes out of a pool process: the work has raised it, and has journaled so itself."""


class Futures:
    """The futures of the tasks that pools have not done yet, by the task's id."""

    def __init__(self) -> None:
        self._futures: dict[str, Future[Any]] = {}

    def follow(self) -> None:
        """Have `submit` carry the current task's id along, from now on in this process."""
        submit = ProcessPoolExecutor.submit

        @functools.wraps(submit)  # type: ignore[arg-type]  # generic there
        def submit_task(
            pool: ProcessPoolExecutor, function: Callable[..., Any], /, *args: Any, **kwargs: Any
        ) -> "Future[Any]":
            task = current_task.get()
            if task is None:
                return submit(pool, function, *args, **kwargs)
            future = submit(pool, run_as, task.id, function, *args, **kwargs)
            self._futures[task.id] = future
            future.add_done_callback(lambda done: self._done(task, done))
            return future

        ProcessPoolExecutor.submit = submit_task  # type: ignore[assignment, method-assign]  # generic there

    def cancel(self, task_id: str) -> bool:
        """Take a waiting task back; False where a process has it already, or it has ended."""
        future = self._futures.get(task_id)
        return future is not None and future.cancel()

    def _done(self, task: CurrentTask, future: "Future[Any]") -> None:
        self._futures.pop(task.id, None)
        if future.cancelled():
            here().note(task.id, "cancelled")
        elif (error := future.exception()) is not None and not hasattr(error, _RAISED):
            # A pool may break before its page has answered, and the task be one with that answer alone.
            here().note(task.id, "lost", task.accept(), error=error_text(error))


def run_as(task_id: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function in a pool process, for the task of that id."""
    work_for(task_id)
    try:
        return function(*args, **kwargs)
    except BaseException as error:
        if _comes_back(error):
            setattr(error, _RAISED, True)
            raise
        # The whole pool would break, and lose what it has: that is said, and its other tasks are measured all the same.
        complain(
            f"The work raised {escape(type(error).__name__)}, which cannot be unpickled and would break a "
            f"ProcessPoolExecutor: raise another in your own, or catch it there."
        )
        instead = RuntimeError(error_text(error))
        setattr(instead, _RAISED, True)
        raise instead from None


def _comes_back(error: BaseException) -> bool:
    """Tell whether an exception can be sent to another process."""
    try:
        return isinstance(pickle.loads(pickle.dumps(error)), BaseException)  # noqa: S301  our own bytes
    except Exception:  # noqa: BLE001  whatever its own code raises
        return False
