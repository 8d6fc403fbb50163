"""The laboratory's Celery tasks, which server and worker both know, and the notes of every task that a worker runs."""

from typing import Any, Final

from celery import signals

from taskdemo_server.celery_app import app
from taskdemo_server.limits.steps import Given, OnPurposeError, note, step

BACKOFF_S: Final = 1
"""Celery waits so long before the first repetition, and doubles that for each further one."""


@app.task(name="taskdemo.lab.step")  # type: ignore[untyped-decorator]  # Celery comes without types
def do_step(notebook: str, key: str, name: str) -> int:
    """Do a step that needs nothing."""
    return step(notebook, key, name)


@app.task(name="taskdemo.lab.follow")  # type: ignore[untyped-decorator]  # as above
def follow(given: Given, notebook: str, key: str, name: str) -> int:
    """Do a step that needs the result of the one before it, or the list of theirs: Celery hands it in first."""
    return step(notebook, key, name, given)


@app.task(  # type: ignore[untyped-decorator]  # as above
    name="taskdemo.lab.flaky",
    autoretry_for=(OnPurposeError,),
    max_retries=3,
    retry_backoff=BACKOFF_S,
    retry_jitter=False,
)
def flaky(notebook: str, key: str) -> int:
    """Fail twice. That it is run again is asked for in the line above, and nowhere else."""
    return step(notebook, key, "flaky")


def take_notes(notebook: str) -> None:
    """Note the start and the end of every task of `GET /` that this worker runs, whoever hears of it besides."""

    def started(task_id: str, task: Any, **_: Any) -> None:
        if task.name == "taskdemo.work":
            note(notebook, key=task_id, step="work", state="started")

    def ended(task_id: str, task: Any, **_: Any) -> None:
        if task.name == "taskdemo.work":
            note(notebook, key=task_id, step="work", state="ended")

    # Not weakly: nobody else keeps these functions.
    signals.task_prerun.connect(started, weak=False)
    signals.task_postrun.connect(ended, weak=False)
