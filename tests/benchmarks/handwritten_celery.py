"""What one writes by hand with FastAPI and Celery: mode celery's page without taskdemo, and with its own work.

uvicorn handwritten_celery:app          celery -A handwritten_celery:celery worker
"""

import os
import time
from typing import Annotated

from celery import Celery
from fastapi import FastAPI, HTTPException, Query
from kombu.exceptions import OperationalError

broker = os.environ["BROKER_URL"]
duration_s = float(os.environ["DURATION_S"])

celery = Celery("handwritten", broker=broker, backend="disabled://")
celery.conf.update(
    task_default_queue="handwritten",
    accept_content=["json"],
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    task_ignore_result=False,
    task_track_started=True,
    broker_pool_limit=40,
    broker_connection_timeout=0.5,
    task_publish_retry_policy={"max_retries": 1, "interval_start": 0},
    redis_socket_timeout=0.5,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
)
celery.conf.broker_transport_options = {
    "socket_timeout": 0.5,
    "global_keyprefix": "handwritten:",
    "visibility_timeout": 2 * duration_s + 5,
    "unacked_restore_interval": 1,
    "unacked_restore_throttle": 1,
    "unacked_restore_limit": 100,
    "unacked_mutex_expire": 5,
}

app = FastAPI()


@celery.task  # type: ignore[untyped-decorator]
def work(message: str) -> None:
    if duration_s > 0:
        time.sleep(duration_s)


@app.get("/")
def hello(message: Annotated[str, Query(max_length=4096)] = "Hello") -> dict[str, str]:
    try:
        work.delay(message)
    except (OperationalError, RuntimeError) as error:
        raise HTTPException(503, "The broker does not take the task.", {"Retry-After": "1"}) from error
    return {"message": "Hello World!"}
