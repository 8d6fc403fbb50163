"""Mode celery: the endpoint hands the work to Celery with `.delay(message)` and answers; a Celery worker does it."""

import os
from typing import Annotated

from celery import Celery
from fastapi import FastAPI, HTTPException, Query
from kombu.exceptions import OperationalError

from taskdemo_server.work import slow_work

broker = os.environ.get("BROKER_URL", "redis://localhost:6379/0")
backend = os.environ.get("RESULT_BACKEND")
queue = os.environ.get("TASK_QUEUE", "hello")
longest_task_s = float(os.environ.get("LONGEST_TASK_S", "3600"))

celery = Celery("hello", broker=broker, backend=backend)
celery.conf.update(
    # A queue of its own, should the broker serve others too.
    task_default_queue=queue,
    # Accept JSON only, which is the default: with pickle, whoever reaches
    # the broker could run any code in the worker.
    accept_content=["json"],
    # Acknowledge a task when it has ended: if its worker, or only the
    # process that runs it, dies, another one does it.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    # A worker takes no task that it cannot begin at once.
    worker_prefetch_multiplier=1,
    # A result costs a round trip: keep them only where somebody asks, who
    # then sees STARTED, and not PENDING for whatever is not done.
    task_ignore_result=backend is None,
    task_track_started=True,
    # A caller waits while its task is published: notice a mute broker soon,
    # try twice, and have a connection for each of FastAPI's 40 threads.
    broker_pool_limit=40,
    broker_connection_timeout=0.5,
    task_publish_retry_policy={"max_retries": 1, "interval_start": 0},
    redis_socket_timeout=0.5,
    result_backend_transport_options={
        "retry_policy": {"max_retries": 0},
        "global_keyprefix": f"{queue}:",  # results of its own, too
    },
    # A worker waits for its broker, from the start and for ever.
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
)
if broker.startswith("amqp"):
    celery.conf.broker_transport_options = {
        # RabbitMQ is to confirm that it has a task.
        "confirm_publish": True,
        "read_timeout": 0.5,
        "write_timeout": 0.5,
    }
else:
    celery.conf.broker_transport_options = {
        "socket_timeout": 0.5,
        # What Celery keeps in Redis beside the queue.
        "global_keyprefix": f"{queue}:",
        # What a dead worker held is delivered again after this, and so is
        # what a living one still works on. Looked for every second.
        "visibility_timeout": 2 * longest_task_s + 5,
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "unacked_restore_limit": 100,
        # A worker that dies while it looks keeps others from it for so long.
        "unacked_mutex_expire": 5,
    }

app = FastAPI()


# To try failed work again: autoretry_for=(Exception,), max_retries=N,
# retry_backoff=True.
@celery.task
def work(message: str) -> None:
    slow_work(message)


@app.get("/")
def hello(
    message: Annotated[str, Query(max_length=4096)] = "Hello",
) -> dict[str, str]:
    try:
        work.delay(message)
    except (OperationalError, RuntimeError) as error:  # broker, backend
        why = "The broker does not take the task."
        raise HTTPException(503, why, {"Retry-After": "1"}) from error
    return {"message": "Hello World!"}
