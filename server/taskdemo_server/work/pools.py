"""Passes the current task to a pool process: `ProcessPoolExecutor` has no hook for that, so this wraps `submit`.

The wrapper does what the library's `submit` does. It also sends the task's id with the call, and keeps the future that
the page drops: a waiting task can then be cancelled, and a broken pool is noticed.
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
"""Marks an exception from a pool process as raised by the work, which has journaled it itself."""


_futures: Final[dict[str, Future[Any]]] = {}
"""The futures of the tasks that pools have not finished, by task id."""


def follow_submits() -> None:
    """Make `submit` send the current task's id with the call, from now on in this process."""
    submit = ProcessPoolExecutor.submit

    @functools.wraps(submit)  # type: ignore[arg-type]  # generic there
    def submit_task(
        pool: ProcessPoolExecutor, function: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> "Future[Any]":
        task = current_task.get()
        if task is None:
            return submit(pool, function, *args, **kwargs)
        future = submit(pool, run_as, task.id, function, *args, **kwargs)
        _futures[task.id] = future
        future.add_done_callback(lambda done: _done(task, done))
        return future

    ProcessPoolExecutor.submit = submit_task  # type: ignore[assignment, method-assign]  # generic there


def cancel(task_id: str) -> bool:
    """Cancel a waiting task; return False if a process already has it, or if it has ended."""
    future = _futures.get(task_id)
    return future is not None and future.cancel()


def _done(task: CurrentTask, future: "Future[Any]") -> None:
    _futures.pop(task.id, None)
    if future.cancelled():
        here().note(task.id, "cancelled")
    elif (error := future.exception()) is not None and not hasattr(error, _RAISED):
        # A pool may break before its page has answered, and only the answer makes the request a task.
        here().note(task.id, "lost", task.accept(), error=error_text(error))


def run_as(task_id: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function in a pool process, for the task with this id."""
    work_for(task_id)
    try:
        return function(*args, **kwargs)
    except BaseException as error:
        if _comes_back(error):
            setattr(error, _RAISED, True)
            raise
        # It would break the whole pool, which loses its tasks: say so, and go on measuring the other tasks.
        complain(
            f"The work raised {escape(type(error).__name__)}, which cannot be unpickled and would break a "
            f"ProcessPoolExecutor: in your own code, raise another or catch it."
        )
        instead = RuntimeError(error_text(error))
        setattr(instead, _RAISED, True)
        raise instead from None


def _comes_back(error: BaseException) -> bool:
    """Return whether an exception can be sent to another process."""
    try:
        return isinstance(pickle.loads(pickle.dumps(error)), BaseException)  # noqa: S301  our own bytes
    except Exception:  # noqa: BLE001  whatever its own code raises
        return False
