"""How taskdemo drives RQ: by a wrapped enqueue call, and a worker class. Server and worker import this."""

import time
from collections.abc import Iterator, Sequence
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

_STOP_S: Final = 2.0
_STATES: Final[dict[JobStatus, TaskState]] = {
    JobStatus.STARTED: "started",
    JobStatus.FINISHED: "finished",
    JobStatus.FAILED: "failed",
    JobStatus.STOPPED: "cancelled",
    JobStatus.CANCELED: "cancelled",
}
_enqueue_call: Final = Queue.enqueue_call


def enqueue_call(self: Queue, *args: Any, **options: Any) -> Job:
    """In the server: send the id of the current request along, in the job's `meta`, and note what RQ calls the task.

    RQ has no hook for whoever enqueues, so that its own call is wrapped.
    """
    task = current_task.get()
    if task is not None:
        options["meta"] = {**(options.get("meta") or {}), "request_id": task.id}
    job = _enqueue_call(self, *args, **options)
    if task is not None:
        task.ref = job.id
    return job


Queue.enqueue_call = enqueue_call  # type: ignore[method-assign]  # see there


class Carrying(Worker):
    """RQ's worker, with what it offers for this: methods that say what becomes of a job."""

    def perform_job(self, job: Job, *args: Any) -> bool:
        """In the job's own process: work for the request whose id came along."""
        work_for(job.meta.get("request_id"))
        return super().perform_job(job, *args)

    def handle_work_horse_killed(self, job: Job, *args: Any) -> None:
        """In the worker: journal a job whose process was killed as failed, as RQ has it."""
        super().handle_work_horse_killed(job, *args)
        request_id = job.meta.get("request_id")
        if request_id is not None and not job.retries_left:
            here().note(request_id, "failed", error="The work-horse, its process, was killed.")


learn_experiments(__package__)


def check() -> None:
    """Connect to the broker, for a second or so, and look at the queue."""
    queue.get_job_ids(length=1)


def cancel(ref: str) -> bool:
    """Take a job back that waits, or have the process killed that runs it; False where it could not be done in time."""
    try:
        job = Job.fetch(ref, connection=queue.connection, serializer=queue.serializer)
        if job.is_started:
            send_stop_job_command(queue.connection, ref, serializer=queue.serializer)
            deadline = time.monotonic() + _STOP_S
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
    """Give what RQ keeps of the jobs: of those that ended well, for 500 seconds."""
    # Not the page's connection, whose timeouts are those of a caller.
    with Redis.from_url(url, socket_timeout=5) as connection:
        for job in Job.fetch_many(refs, connection=connection, serializer=queue.serializer):
            state = _STATES.get(job.get_status(refresh=False)) if job is not None else None
            if job is not None and state is not None:
                at = (job.started_at if state == "started" else job.ended_at) or job.enqueued_at
                result = job.latest_result() if state == "failed" else None
                lines = (result.exc_string or "").strip().splitlines() if result is not None else []
                yield job.id, Status(state, lines[-1] if lines else None, at.timestamp() if at else time.time())


def has_worker() -> bool | None:
    """Look for a worker of the queue; one that was killed counts for some minutes."""
    return bool(Worker.count(queue=queue))


def claim(name: str) -> claims.Take:
    """Claim a name at the broker."""
    return claims.over_redis(url, name)


def redelivered_after() -> float | None:
    """Return None: a job whose process dies has failed, and what a dead worker held is noticed after many minutes."""
    return None
