"""How taskdemo drives Huey: by its signals. Server and worker import this."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

from huey.exceptions import TaskException
from huey.signals import SIGNAL_ENQUEUED, SIGNAL_EXECUTING, SIGNAL_REVOKED

from taskdemo_server.engines import claims
from taskdemo_server.engines.base import Status
from taskdemo_server.engines.huey.page import huey
from taskdemo_server.work.workplace import CurrentTask, current_task, here, learn_experiments

REDELIVERED_AFTER_S: Final = None  # Huey takes a task out of the file before it runs.


@huey.signal(SIGNAL_ENQUEUED)
def send(_signal: str, task: Any) -> None:
    """In the server, before the task is written: set its id to the current request's."""
    current = current_task.get()
    if current is not None and current.ref is None:
        task.id = current.ref = current.id
        task.revoke_id = f"r:{task.id}"


@huey.signal(SIGNAL_EXECUTING)
def begin(_signal: str, task: Any) -> None:
    """In a process of the worker: work for the request whose id the task has."""
    current = CurrentTask(task.id)
    current.ref = task.id  # keeps `send` from giving this id to a task that this one enqueues
    current_task.set(current)


@huey.signal(SIGNAL_REVOKED)
def revoked(_signal: str, task: Any) -> None:
    """In the worker: journal as cancelled a task that it finds revoked."""
    here().note(task.id, "cancelled")


learn_experiments(__package__)
claim: Final = partial(claims.over_file, huey.storage.filename)


def check() -> None:
    huey.pending_count()


def cancel(ref: str) -> bool:
    """Revoke a waiting task; return False if a worker has it. The worker that finds it journals it as cancelled."""
    if not any(task.id == ref for task in huey.pending()):
        return False
    huey.revoke_by_id(ref)
    return True


def status(refs: Sequence[str]) -> Iterator[tuple[str, Status]]:
    """Yield tasks that were revoked, have left the file or, if results are kept, have ended."""
    pending = {task.id for task in huey.pending()}
    for ref in refs:
        try:
            huey.result(ref, preserve=True)
        except TaskException as failed:
            yield ref, Status("failed", str(failed.metadata.get("error")))
        else:
            if huey.storage.has_data_for_key(ref):
                yield ref, Status("finished")
            elif huey.is_revoked(ref):
                yield ref, Status("cancelled")
            elif ref not in pending:
                yield ref, Status("started")


def has_worker() -> bool | None:
    """Return None: Huey does not track its workers."""
    return None
