"""How taskdemo drives Procrastinate: by a wrapped enqueue call and a worker middleware; for server and worker."""

import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import psycopg
from procrastinate import App, JobContext, SyncPsycopgConnector
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Status as JobStatus
from procrastinate.schema import SchemaManager

from taskdemo_server.contract.events import TaskState
from taskdemo_server.engines import claims
from taskdemo_server.engines.base import Status
from taskdemo_server.engines.procrastinate.page import queue, tasks, url
from taskdemo_server.work.workplace import current_task, here, learn_experiments, work_for

_SCHEMA_LOCK: Final = 7_403_651
"""The key of an advisory lock, so that two processes that find no schema do not both create it."""
REDELIVERED_AFTER_S: Final = 6.0
"""After this long, the page's periodic task finds a worker dead."""
_STATES: Final[dict[JobStatus, TaskState]] = {
    JobStatus.DOING: "started",
    JobStatus.SUCCEEDED: "finished",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELLED: "cancelled",
    JobStatus.ABORTED: "cancelled",
}
_batch_defer: Final = tasks.job_manager.batch_defer_jobs_async


async def batch_defer_jobs_async(jobs: Any, *args: Any, **options: Any) -> Any:
    """In the server: send the current request's id as the job's queueing lock, and store Procrastinate's id of the job.

    Procrastinate has no hook for deferring, so this wraps its own call. A lock that no other job uses locks nothing.
    """
    task = current_task.get()
    if task is not None:
        jobs = [job.evolve(queueing_lock=job.queueing_lock or task.id) for job in jobs]
    deferred = await _batch_defer(jobs, *args, **options)
    if task is not None:
        task.ref = str(deferred[0].id)
    return deferred


tasks.job_manager.batch_defer_jobs_async = batch_defer_jobs_async  # type: ignore[method-assign]  # see its docstring


async def begin(call_next: Callable[[], Awaitable[Any]], context: JobContext, _worker: Any) -> Any:
    """In the worker: work for the request whose id came with the job."""
    work_for(context.job.queueing_lock)
    return await call_next()


tasks.worker_defaults["worker_middleware"] = [begin]
learn_experiments(__package__)
claim: Final = partial(claims.over_postgres, url)


def check() -> None:
    """Connect to the database within two seconds, and create Procrastinate's tables if there are none.

    Raises ValueError for another database, and for tables of another version.
    """
    if not url.startswith("postgresql://"):
        raise ValueError("it is not PostgreSQL")
    with psycopg.connect(url, connect_timeout=2) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_SCHEMA_LOCK,))
        found = connection.execute("SELECT to_regclass('procrastinate_jobs')").fetchone()
        schema = SchemaManager.get_schema()
        if found is None or found[0] is None:  # what `procrastinate schema --apply` does
            connection.execute(schema)
        there = {name for (name,) in connection.execute("SELECT proname FROM pg_proc")}
        if set(re.findall(r"CREATE FUNCTION (\w+)", schema)) - there:  # their names contain the version
            raise ValueError("its tables are another version's: see procrastinate schema --migrations-path")


@contextmanager
def _asking() -> Iterator[App]:
    """Open and yield a separate app: the page's belongs to the server's event loop."""
    asking = App(connector=SyncPsycopgConnector(conninfo=url, min_size=1, max_size=1, timeout=2))
    with asking.open():
        yield asking


def cancel(ref: str) -> bool:
    """Cancel a waiting job. Return False for a running one, which gets an abort request that its work does not check.

    That request still keeps the job from starting again if its process dies.
    """
    try:
        with _asking() as asking:
            jobs = asking.job_manager.list_jobs(id=int(ref))
            if not jobs or not asking.job_manager.cancel_job_by_id(int(ref)):
                asking.job_manager.cancel_job_by_id(int(ref), abort=True)
                return False
    except (ConnectorException, psycopg.Error):
        return False
    here().note(str(next(iter(jobs)).queueing_lock), "cancelled")
    return True


def status(refs: Sequence[str]) -> Iterator[tuple[str, Status]]:
    """Yield what the table says; it keeps no errors, and this does not query its timestamps."""
    with _asking() as asking:
        for ref in refs:
            state = _STATES.get(asking.job_manager.get_job_status(int(ref)))
            if state is not None:
                yield ref, Status(state, "Procrastinate keeps no error." if state == "failed" else None)


def has_worker() -> bool | None:
    """Look for a worker with a heartbeat in the last 4 s that has had a job of this queue: the page's periodic task."""
    with psycopg.connect(url, connect_timeout=2) as connection:
        found = connection.execute(
            "SELECT EXISTS (SELECT FROM procrastinate_workers AS worker JOIN procrastinate_jobs AS job"
            " ON job.worker_id = worker.id WHERE queue_name = %s AND last_heartbeat > now() - interval '4 s')",
            (queue,),
        ).fetchone()
    return found is not None and bool(found[0])
