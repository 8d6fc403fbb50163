"""How taskdemo drives RQ: by a wrapped enqueue call, and a worker class. Server and worker import this."""

import os
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

from redis import Redis, RedisError
from rq import Queue, Worker
from rq.command import send_stop_job_command
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.job import Job, JobStatus

from taskdemo_server.contract.events import TaskState
from taskdemo_server.engines import claims
from taskdemo_server.engines.base import Status
from taskdemo_server.engines.rq.page import queue, url
from taskdemo_server.work.workplace import current_task, here, learn_experiments, work_for

_STOP_TIMEOUT_S: Final = 2.0
REDELIVERED_AFTER_S: Final = None  # A job fails when its process dies; RQ takes many minutes to notice a dead worker.
_STATES: Final[dict[JobStatus, TaskState]] = {
    JobStatus.STARTED: "started",
    JobStatus.FINISHED: "finished",
    JobStatus.FAILED: "failed",
    JobStatus.STOPPED: "cancelled",
    JobStatus.CANCELED: "cancelled",
}
_enqueue_call: Final = Queue.enqueue_call


def enqueue_call(self: Queue, *args: Any, **options: Any) -> Job:
    """In the server: send the current request's id in the job's `meta`, and store RQ's id of the job.

    RQ has no hook for enqueueing, so this wraps its own call.
    """
    task = current_task.get()
    if task is not None:
        options["meta"] = {**(options.get("meta") or {}), "request_id": task.id}
    job = _enqueue_call(self, *args, **options)
    if task is not None:
        task.ref = job.id
    return job


Queue.enqueue_call = enqueue_call  # type: ignore[method-assign]  # see its docstring


class Carrying(Worker):
    """RQ's worker, with the methods overridden that RQ calls when a job starts and when its process is killed."""

    def perform_job(self, job: Job, *args: Any) -> bool:
        """In the job's own process: work for the request whose id came with the job."""
        work_for(job.meta.get("request_id"))
        return super().perform_job(job, *args)

    def handle_work_horse_killed(self, job: Job, retpid: int, ret_val: int | None, *args: Any) -> None:
        """In the worker: journal a job as failed if its process was killed, as RQ itself records it.

        A process that ended by itself may have reported how its work ended, which RQ could not record: that counts.
        """
        super().handle_work_horse_killed(job, retpid, ret_val, *args)
        request_id = job.meta.get("request_id")
        if request_id is None or job.retries_left:
            return
        if ret_val is None or os.WIFSIGNALED(ret_val):
            here().note(request_id, "failed", error="The work-horse, its process, was killed.")
        else:
            code = os.waitstatus_to_exitcode(ret_val)
            here().note(request_id, "lost", error=f"The work-horse, its process, ended with exit code {code}.")


learn_experiments(__package__)
claim: Final = partial(claims.over_redis, url)


def check() -> None:
    """Connect to the broker, within about a second, and read the queue."""
    queue.get_job_ids(length=1)


def cancel(ref: str) -> bool:
    """Cancel a waiting job, or have the process of a running one killed; return False if it fails or takes over 2 s."""
    try:
        job = Job.fetch(ref, connection=queue.connection, serializer=queue.serializer)
        if job.is_started:
            send_stop_job_command(queue.connection, ref, serializer=queue.serializer)
            deadline = time.monotonic() + _STOP_TIMEOUT_S
            while job.get_status() is not JobStatus.STOPPED:
                if time.monotonic() > deadline:
                    return False
                time.sleep(0.02)
        else:
            job.cancel()
    except (RedisError, NoSuchJobError, InvalidJobOperation):
        return False
    here().note(job.meta["request_id"], "cancelled")
    return True


def status(refs: Sequence[str]) -> Iterator[tuple[str, Status]]:
    """Yield what RQ keeps of the jobs; it keeps successful ones for 500 seconds."""
    # Not the page's connection: its timeouts are short, because a caller waits.
    with Redis.from_url(url, socket_timeout=5) as connection:
        for job in Job.fetch_many(refs, connection=connection, serializer=queue.serializer):
            state = _STATES.get(job.get_status(refresh=False)) if job is not None else None
            if job is not None and state is not None:
                at = (job.started_at if state == "started" else job.ended_at) or job.enqueued_at
                result = job.latest_result() if state == "failed" else None
                lines = (result.exc_string or "").strip().splitlines() if result is not None else []
                yield job.id, Status(state, lines[-1] if lines else None, at.timestamp() if at else time.time())


def has_worker() -> bool | None:
    """Look for a worker of the queue; one that was killed still counts for some minutes."""
    return bool(Worker.count(queue=queue))
