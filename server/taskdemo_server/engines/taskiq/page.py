"""Mode taskiq: the endpoint sends a task; a worker of Taskiq does it."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import FastAPI, HTTPException, Query
from taskiq import TaskiqError
from taskiq.serializers import JSONSerializer
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

from taskdemo_server.work import slow_work

url = os.environ.get("BROKER_URL", "redis://localhost:6379/0")
backend = os.environ.get("RESULT_BACKEND")
queue = os.environ.get("TASK_QUEUE", "hello")
longest_task_s = float(os.environ.get("LONGEST_TASK_S", "3600"))

broker = RedisStreamBroker(
    url,
    # Keys of its own, should the broker serve others too.
    queue_name=f"taskiq:{queue}",
    # What was sent before the first worker came is not passed over.
    consumer_id="0",
    # A process takes no more than it can begin: what waits in its hands
    # would be delivered to another as well. The default is 100.
    xread_count=1,
    # What is not done after this is delivered again, whether its worker is
    # dead or only slow; looked for whenever a new task was read.
    idle_timeout=int(2000 * longest_task_s) + 5000,
)
if backend is not None:
    # Results are kept only where somebody asks: as JSON, and for a day.
    results = RedisAsyncResultBackend[None](
        backend,
        prefix_str=f"taskiq:{queue}:result",
        result_ex_time=86400,
        serializer=JSONSerializer(),
    )
    broker = broker.with_result_backend(results)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    await broker.startup()
    yield
    await broker.shutdown()


app = FastAPI(lifespan=lifespan)


# To try failed work again: retry_on_error=True, max_retries=N, and
# broker.add_middlewares(SimpleRetryMiddleware()).
@broker.task
def work(message: str) -> None:
    slow_work(message)


@app.get("/")
async def hello(
    message: Annotated[str, Query(max_length=4096)] = "Hello",
) -> dict[str, str]:
    try:
        # A caller waits while its task is sent: notice a mute broker soon.
        async with asyncio.timeout(3):
            await work.kiq(message)
    except (TaskiqError, TimeoutError) as error:
        why = "The broker does not take the task."
        raise HTTPException(503, why, {"Retry-After": "1"}) from error
    return {"message": "Hello World!"}
