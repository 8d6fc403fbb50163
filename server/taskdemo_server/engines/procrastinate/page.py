"""Mode procrastinate: the endpoint adds a row; a worker does the task."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import FastAPI, HTTPException, Query
from procrastinate import App, JobContext, PsycopgConnector
from procrastinate.exceptions import ConnectorException

from taskdemo_server.work import slow_work

url = os.environ.get("BROKER_URL", "postgresql:///postgres")
queue = os.environ.get("TASK_QUEUE", "hello")

tasks = App(
    connector=PsycopgConnector(conninfo=url),
    worker_defaults={
        # By these signs a dead worker is told below. (Default: every 10 s.)
        "update_heartbeat_interval": 1.0,
    },
)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with tasks.open_async():
        yield


app = FastAPI(lifespan=lifespan)


# To try failed work again: retry=RetryStrategy(max_attempts=N, wait=SECONDS).
@tasks.task(queue=queue)
def work(message: str) -> None:
    slow_work(message)


# What a dead worker had begun stays "doing" until somebody looks for it: the
# documentation's own task, first of all that wait, every two seconds.
@tasks.periodic(cron="* * * * * */2", periodic_id=queue)
@tasks.task(
    queue=queue,
    queueing_lock=f"stalled {queue}",
    priority=1,
    pass_context=True,
)
async def retry_stalled_jobs(context: JobContext, timestamp: int) -> None:
    manager = tasks.job_manager
    stalled = await manager.get_stalled_jobs(
        queue=queue,
        seconds_since_heartbeat=4,
    )
    for job in stalled:
        await manager.retry_job(job)


# `async def`: a `def` endpoint would wait for connections of this very loop.
@app.get("/")
async def hello(
    message: Annotated[str, Query(max_length=4096)] = "Hello",
) -> dict[str, str]:
    try:
        # A caller waits while its task is added: notice a mute database soon.
        async with asyncio.timeout(3):
            await work.defer_async(message=message)
    except (ConnectorException, TimeoutError) as error:
        why = "The broker does not take the task."
        raise HTTPException(503, why, {"Retry-After": "1"}) from error
    return {"message": "Hello World!"}
