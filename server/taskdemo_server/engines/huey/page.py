"""Mode huey: the endpoint calls the task, which puts it into a file."""

import os
import sqlite3
from typing import Annotated

from fastapi import FastAPI, HTTPException, Query
from huey import SqliteHuey

from taskdemo_server.work import slow_work

huey = SqliteHuey(
    # A queue of its own, should the file hold others too.
    name=os.environ.get("TASK_QUEUE", "hello"),
    # Tasks are pickles: whoever can write this file runs code in the
    # workers. So the file, or its folder, is to be the user's alone.
    filename=os.environ.get("BROKER_URL", "huey.db"),
    # That work has ended is kept only where somebody asks: it returns None.
    store_none="RESULT_BACKEND" in os.environ,
    # So many seconds a caller waits for a file that others write.
    timeout=1,
)

app = FastAPI()


# Huey takes a task out of the file before it runs: what a worker has begun is
# lost with it, and never run twice. To try failed work again: retries=N,
# retry_delay=SECONDS.
@huey.task()
def work(message: str) -> None:
    slow_work(message)


@app.get("/")
def hello(
    message: Annotated[str, Query(max_length=4096)] = "Hello",
) -> dict[str, str]:
    try:
        work(message)
    except sqlite3.OperationalError as error:  # locked, or the disk is full
        why = "The broker does not take the task."
        raise HTTPException(503, why, {"Retry-After": "1"}) from error
    return {"message": "Hello World!"}
