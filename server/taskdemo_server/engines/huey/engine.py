"""How taskdemo drives Huey: by its signals. Server and worker import this."""

from collections.abc import Iterator, Sequence
from typing import Any

from huey.exceptions import TaskException
from huey.signals import SIGNAL_ENQUEUED, SIGNAL_EXECUTING, SIGNAL_REVOKED

from taskdemo_server.engines import claims
from taskdemo_server.engines.base import Status
from taskdemo_server.engines.huey.page import huey
from taskdemo_server.work.workplace import CurrentTask, current_task, here, learn_experiments


@huey.signal(SIGNAL_ENQUEUED)
def send(_signal: str, task: Any) -> None:
    """In the server, before the task is written: give it the id of the current request."""
    current = current_task.get()
    if current is not None and current.ref is None:
        task.id = current.ref = current.id
        task.revoke_id = f"r:{task.id}"


@huey.signal(SIGNAL_EXECUTING)
def begin(_signal: str, task: Any) -> None:
    """In a process of the worker: work for the request whose id it has."""
    current = CurrentTask(task.id)
    current.ref = task.id  # so that a task which this one leads to has an id of its own
    current_task.set(current)


@huey.signal(SIGNAL_REVOKED)
def revoked(_signal: str, task: Any) -> None:
    """In the worker: journal a task as cancelled that it has found revoked."""
    here().note(task.id, "cancelled")


learn_experiments(__package__)


def check() -> None:
    """Read the file."""
    huey.pending_count()


def cancel(ref: str) -> bool:
    """Revoke a task that waits; False for one that a worker has. The worker that finds it journals it as cancelled."""
    if not any(task.id == ref for task in huey.pending()):
        return False
    huey.revoke_by_id(ref)
    return True


def status(refs: Sequence[str]) -> Iterator[tuple[str, Status]]:
    """Give what was revoked, what is in the file no more, and what has ended where results are kept."""
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
    """Return None: Huey knows of no workers."""
    return None


def claim(name: str) -> claims.Take:
    """Claim a name at the broker."""
    return claims.over_file(huey.storage.filename, name)


def redelivered_after() -> float | None:
    """Return None: a task that was begun is in no file any more."""
    return None
