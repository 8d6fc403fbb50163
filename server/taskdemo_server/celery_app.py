"""The Celery application: its settings, each with its reason, and its one task.

An ordinary application: `celery -A taskdemo_server.celery_app -b URL inspect registered` works on it, and so do
`celery events` and Flower. The server publishes with it, workers run it. What to do, and for how long, is decided by
the server and travels in the message; a work of the user's own is one that a worker was started with.
"""

import contextlib
import hashlib
import os
from collections.abc import Mapping
from typing import Any, Final

from celery import Celery
from celery.backends.redis import RedisBackend

from taskdemo_server.contract.import_string import UnusableError
from taskdemo_server.contract.text import escape
from taskdemo_server.work import WORKS, task_output
from taskdemo_server.work.user_function import OwnWork

PRINTED: Final = "task-printed"
"""An event of our own, beside Celery's: what the user's own work has printed, sent before the task ends."""
PUBLISH_TIMEOUT_S: Final = 1.0
"""A broker that has not taken a task within about this time is taken for dead."""
RETRIES: Final = {"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2}
_ANY_WORK_S: Final = 3600.0
_A_DAY_S: Final = 86_400
_FIVE_MINUTES_S: Final = 300


class Results(RedisBackend):  # type: ignore[misc]  # Celery comes without types
    """Celery's Redis result backend, for callers that ask for a result only when they want one.

    Celery's own subscribes to every task's result as it is published: a round trip and a growing set of
    subscriptions, which only somebody who waits for each result would need.
    """

    def on_task_call(self, producer: Any, task_id: str) -> None:
        """Subscribe to nothing; `AsyncResult.get()` does when it is called."""


app = Celery("taskdemo")
app.conf.update(
    # A task is acknowledged when it has ended, so a worker that dies with it gives it back to the broker.
    task_acks_late=True,
    # The same where only the pool process that ran it died: Celery would otherwise call the task failed.
    task_reject_on_worker_lost=True,
    # A worker takes no task that it cannot start at once: another may be idle, and what a dead one held comes late.
    worker_prefetch_multiplier=1,
    # Pickle would let whoever reaches the broker run code in the workers.
    task_serializer="json",
    result_serializer="json",
    event_serializer="json",
    accept_content=["json"],
    # Celery waits so long for a result from a pool process that has died; one that was written is there at once.
    worker_lost_wait=1.0,
    # Only a process can be ended from outside, so only with this pool can a running task be cancelled.
    worker_pool="prefork",
    # So that somebody who asks sees a running task as STARTED and not as PENDING, which means "never heard of it".
    task_track_started=True,
    # The event stream, from which the server's journal is written.
    worker_send_task_events=True,
    worker_consumer="taskdemo_server.celery_request:Consumer",
    # A request waits for its task to be published, so a dead broker must be found dead in about a second.
    task_publish_retry=True,
    task_publish_retry_policy=RETRIES,
    broker_connection_timeout=PUBLISH_TIMEOUT_S,
    # A worker, on the other hand, waits for its broker, from the start and for ever.
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # When the connection is lost, running tasks go on, and run once more when the broker gives them to others. Ended,
    # they would run once; but Celery then calls one that it had just handed to a process revoked, and drops it.
    worker_cancel_long_running_tasks_on_connection_loss=False,
    # A queue of our own: on a shared broker, others' workers do not know our task, and ours do not know theirs.
    task_default_queue="taskdemo",
    # What workers print is the task's message, not a log.
    worker_redirect_stdouts=False,
    worker_hijack_root_logger=False,
)
# The setting `override_backends` is read from configuration modules alone.
app.loader.override_backends = {"redis": "taskdemo_server.celery_app:Results"}


own: OwnWork | None = None
"""The user's own work, where this worker was started with it: a name that comes over the network imports nothing."""
announcing = False
"""Whether this process prints what it has done: a worker of its own does, a server's private one leaves it to it."""


@app.task(name="taskdemo.work", Request="taskdemo_server.celery_request:Request")  # type: ignore[untyped-decorator]  # as above
def do_work(message: str, work: str = "sleep", duration: float = 1.0) -> None:
    """Do the slow work, in whatever worker the broker gave it to.

    Raises what the work raises, and UnusableError where this worker does not know it.
    """
    if work in WORKS:
        WORKS[work][0](duration)
    elif own is not None and own.name == work:
        _do_own(own, message)
    else:
        raise UnusableError(f"this worker does not know the work {escape(work)}; start it with --work {escape(work)}")
    if announcing:
        _print(f"Background Task called! {escape(message)}")


def _do_own(own: OwnWork, message: str) -> None:
    record = task_output.Printed(f"task {str(do_work.request.id)[:8]}", _print)
    task_output.current.set(record)
    try:
        own.call(message)
    finally:
        output = record.end()
        if output is not None:
            with contextlib.suppress(Exception):  # Without a broker nobody hears of it; the work is none the worse.
                do_work.send_event(PRINTED, output=output)


def _print(line: str) -> None:
    with contextlib.suppress(OSError):
        os.write(1, line.encode(errors="backslashreplace") + b"\n")


def for_server(broker: str, backend: str | None, queue: str) -> Celery:
    """Set the application up to publish to `broker` and to read results from `backend`; return it."""
    # A connection that hangs must not hang the request.
    redis: dict[str, float | str] = {
        "socket_connect_timeout": PUBLISH_TIMEOUT_S,
        "socket_timeout": PUBLISH_TIMEOUT_S,
        **unacked_keys(queue),
    }
    _set_up(broker, backend, queue, redis)
    # Publishing opens a connection anew by these, and without them for ever: the policy above is for what follows.
    app.conf.broker_transport_options.update(RETRIES)
    app.conf.redis_socket_timeout = app.conf.redis_socket_connect_timeout = PUBLISH_TIMEOUT_S
    return app


def for_worker(broker: str, backend: str | None, queue: str, longest_s: float | None, *, private: bool) -> Celery:
    """Set the application up to consume from `broker`; return it.

    Over Redis, what a dead worker held is delivered again after the visibility timeout, and so is what a living one
    still works on: it must be longer than any work. `longest_s` is that of the longest; None for unknown, which is an
    hour, Celery's own default. RabbitMQ notices by itself that a worker is gone.
    """
    timeout = _ANY_WORK_S if longest_s is None else 2 * longest_s + 5.0
    redis: dict[str, float | str] = {
        "visibility_timeout": timeout,
        # Celery looks for what is overdue every 100 s; with a timeout of seconds that would be the real delay.
        "unacked_restore_interval": 1,
        "unacked_restore_throttle": 1,
        "unacked_restore_limit": 100,
        "socket_connect_timeout": 5.0,
        # By default all workers of a broker share one list of what is being worked on, and the one with the shortest
        # timeout would have the tasks of all others delivered again while they run.
        **unacked_keys(queue),
    }
    _set_up(broker, backend, queue, redis)
    # A task whose result cannot be stored just now has not failed: its process waits for the backend.
    app.conf.result_backend_always_retry = True
    app.conf.result_backend_max_sleep_between_retries_ms = 1000
    # Results serve a server that was down; a private worker's ends with its server, so they only take up memory.
    app.conf.result_expires = _FIVE_MINUTES_S if private else _A_DAY_S
    return app


def unacked_keys(queue: str) -> dict[str, str]:
    """Return where Redis keeps what the workers of a queue have taken and not acknowledged, as transport options."""
    return {f"{key}_key": f"{queue}.{key}" for key in ("unacked", "unacked_index", "unacked_mutex")}


def _set_up(broker: str, backend: str | None, queue: str, redis: Mapping[str, float | str]) -> None:
    # Celery prefers these to whatever it is told here, and they may have been set for another application.
    for name in ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL", "CELERY_RESULT_BACKEND"):
        os.environ.pop(name, None)
    app.conf.broker_url = broker
    app.conf.result_backend = backend or default_backend(broker)
    app.conf.task_default_queue = queue
    # RabbitMQ is to confirm that it has a task: one written to a connection that has just died would be lost.
    app.conf.broker_transport_options = redis if is_redis(broker) else {"confirm_publish": True}


def is_redis(broker: str) -> bool:
    """Tell whether `broker` is a Redis or a Valkey."""
    return broker.partition("://")[0].partition("+")[0] in {"redis", "rediss"}


def default_backend(broker: str) -> str:
    """Return where results go unless somebody says otherwise: a Redis broker keeps them too, RabbitMQ does not.

    Celery's `rpc://` sends each result to a queue of the process that published, which is no help to a server that was
    down; the journal needs no results then, because RabbitMQ keeps the event stream for it.
    """
    return broker if is_redis(broker) else "disabled://"


def events_queue(journal: str) -> str:
    """Return the name under which RabbitMQ keeps the event stream for the server with this journal."""
    return "taskdemo-" + hashlib.sha256(os.path.realpath(journal).encode()).hexdigest()[:16]
