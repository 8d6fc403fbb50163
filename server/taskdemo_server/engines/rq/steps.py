"""RQ in the experiments of `taskdemo limits`: every step is a separate job, in the page's queue."""

from typing import Any, Final

from rq import Retry, Worker, get_current_job
from rq.job import Job
from rq.worker_registration import unregister

from taskdemo_server.engines.rq.page import queue
from taskdemo_server.limits.base import Steps, steps_of
from taskdemo_server.limits.step import step

INTERVALS_S: Final = [1, 2, 4]
"""Seconds before each retry."""


def follow(key: str, name: str) -> int:
    """Do a step that needs the result of the job before it, or of several jobs; RQ lets it fetch them."""
    job = get_current_job()
    given: list[Any] = [one.return_value() for one in job.fetch_dependencies()] if job is not None else []
    return step(key, name, given if len(given) > 1 else given[0])


def steps() -> Steps:
    def start(key: str, name: str) -> Job:
        return queue.enqueue(step, key, name)

    def ask(job: Job) -> tuple[str, str | None]:
        result = job.latest_result()
        return job.get_status().value, result.exc_string if result is not None else None

    def retry(key: str) -> None:
        queue.enqueue(step, key, "flaky", retry=Retry(max=3, interval=INTERVALS_S))

    def chain(key: str) -> None:
        first = start(key, "first")
        queue.enqueue(follow, key, "second", depends_on=first)

    def group(key: str) -> None:
        parts = [start(key, f"part {number}") for number in range(3)]
        queue.enqueue(follow, key, "final", depends_on=parts)

    return steps_of(start, retry=retry, chain=chain, group=group, ask=ask, clean=_delete_queue)


def _delete_queue() -> None:
    for worker in Worker.all(queue=queue):  # they were killed, so none has unregistered itself
        unregister(worker)
        queue.connection.delete(worker.key)
    registries = (
        queue.started_job_registry,
        queue.finished_job_registry,
        queue.failed_job_registry,
        queue.canceled_job_registry,
        queue.scheduled_job_registry,
    )
    ids = [job_id for registry in registries for job_id in registry.get_job_ids(cleanup=False)]
    for job in Job.fetch_many(ids, connection=queue.connection, serializer=queue.serializer):
        if job is not None:
            job.delete()
    queue.delete()
    queue.connection.delete(*queue.connection.scan_iter(f"rq:*:{queue.name}*"), "nothing")
