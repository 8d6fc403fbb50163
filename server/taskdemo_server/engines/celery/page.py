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
    task_default_queue=queue,  # a queue of its own, should the broker serve others too
    task_acks_late=True,  # acknowledge a task when it has ended: one whose worker dies is done by another
    task_reject_on_worker_lost=True,  # the same where only the process that ran it died
    worker_prefetch_multiplier=1,  # a worker takes no task that it cannot begin at once
    task_ignore_result=backend is None,  # results cost a round trip each; keep them only where somebody asks
    task_track_started=True,  # who asks sees STARTED and not PENDING, which means "never heard of it"
    broker_pool_limit=40,  # a connection for each of FastAPI's 40 threads: fewer make callers queue
    broker_connection_timeout=0.5,  # a mute broker is to be noticed while the caller waits
    task_publish_retry_policy={"max_retries": 1, "interval_start": 0},  # try twice, then say so
    broker_connection_retry_on_startup=True,  # a worker waits for its broker, from the start
    broker_connection_max_retries=None,  # and for ever
    redis_socket_timeout=0.5,
    result_backend_transport_options={"retry_policy": {"max_retries": 0}},
)
if broker.startswith("amqp"):
    # RabbitMQ is to confirm that it has a task: one written to a connection that has just died would be lost.
    celery.conf.broker_transport_options = {"confirm_publish": True, "read_timeout": 0.5, "write_timeout": 0.5}
else:
    celery.conf.broker_transport_options = {
        "socket_timeout": 0.5,
        "global_keyprefix": f"{queue}:",  # what Celery keeps in Redis beside the queue
        # What a dead worker held is delivered again after this; so is what a living one still works on.
        "visibility_timeout": 2 * longest_task_s + 5,
        "unacked_restore_interval": 1,  # look for it every second; plain Celery does so every 100 s
        "unacked_restore_throttle": 1,
        "unacked_restore_limit": 100,
    }

app = FastAPI()


@celery.task
def work(message: str) -> None:
    slow_work(message)


@app.get("/")
def hello(message: Annotated[str, Query(max_length=4096)] = "Hello from the background") -> dict[str, str]:
    try:
        work.delay(message)
    except (OperationalError, RuntimeError) as error:  # of the broker, and of the result backend
        raise HTTPException(503, "The broker does not take the task.", {"Retry-After": "1"}) from error
    return {"message": "Hello World!"}
