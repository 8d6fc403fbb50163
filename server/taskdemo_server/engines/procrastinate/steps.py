"""Procrastinate in the experiments of `taskdemo limits`: every step is a separate job, in the page's queue."""

from procrastinate import RetryStrategy
from procrastinate.jobs import Job

from taskdemo_server.engines.procrastinate.page import queue, tasks
from taskdemo_server.limits.base import Steps, steps_of
from taskdemo_server.limits.step import step


@tasks.task(queue=queue)
def do_step(key: str, name: str) -> int:
    """Do a step. Procrastinate drops its result."""
    return step(key, name)


@tasks.task(queue=queue, retry=RetryStrategy(max_attempts=3, wait=1))
def flaky(key: str) -> int:
    return step(key, "flaky")


def steps() -> Steps:
    async def start(key: str, name: str) -> Job:
        # Procrastinate has no chains, but it runs jobs with the same lock one after another, in their order.
        number = await do_step.configure(lock=f"lock {queue} {key}").defer_async(key=key, name=name)
        [job] = await tasks.job_manager.list_jobs_async(id=number)
        return job

    async def ask(job: Job) -> tuple[str, None]:
        return (await tasks.job_manager.get_job_status_async(int(job.id or 0))).value, None

    async def retry(key: str) -> None:
        await flaky.defer_async(key=key)

    async def clean() -> None:
        await tasks.connector.execute_query_async(
            "DELETE FROM procrastinate_periodic_defers WHERE periodic_id = %(queue)s", queue=queue
        )
        await tasks.connector.execute_query_async(  # they were killed, so none has unregistered itself
            "DELETE FROM procrastinate_workers WHERE id IN"
            " (SELECT worker_id FROM procrastinate_jobs WHERE queue_name = %(queue)s)",
            queue=queue,
        )
        await tasks.connector.execute_query_async(
            "DELETE FROM procrastinate_jobs WHERE queue_name = %(queue)s", queue=queue
        )

    return steps_of(start, retry=retry, ask=ask, clean=clean)
