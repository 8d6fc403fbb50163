"""Mode rq: the endpoint sends a task; a worker of RQ does it."""

import os
from typing import Annotated

from fastapi import FastAPI, HTTPException, Query
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Queue
from rq.serializers import JSONSerializer

from taskdemo_server.work import slow_work

url = os.environ.get("BROKER_URL", "redis://localhost:6379/0")
longest_task_s = float(os.environ.get("LONGEST_TASK_S", "3600"))

queue = Queue(
    # A queue of its own, should the broker serve others too.
    os.environ.get("TASK_QUEUE", "hello"),
    # A caller waits while its job is sent: notice a mute broker soon, and
    # try twice.
    connection=Redis.from_url(
        url,
        socket_timeout=0.5,
        socket_connect_timeout=0.5,
        retry=Retry(NoBackoff(), 1),
    ),
    # The default is pickle: whoever reaches the broker could have the
    # workers run any code. The worker command must name the same.
    serializer=JSONSerializer,
    # The default ends work after three minutes.
    default_timeout=int(2 * longest_task_s) + 5,
)

app = FastAPI()


def work(message: str) -> None:
    slow_work(message)


@app.get("/")
def hello(
    message: Annotated[str, Query(max_length=4096)] = "Hello",
) -> dict[str, str]:
    try:
        # With retry=Retry(max=3) RQ would run a job again whose process was
        # killed, but one that has failed as well: it is one setting.
        # What failed is kept for a day, and not for a year.
        queue.enqueue(work, message, failure_ttl=86400)
    except RedisError as error:
        why = "The broker does not take the task."
        raise HTTPException(503, why, {"Retry-After": "1"}) from error
    return {"message": "Hello World!"}
