"""How taskdemo drives Celery: by its signals, its `revoke` and its result backend. Server and worker import this."""

import os
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from celery import signals, states
from celery.bootsteps import RUN
from celery.exceptions import CeleryError
from kombu.exceptions import OperationalError

from taskdemo_server.contract.events import TaskState
from taskdemo_server.contract.text import error_text
from taskdemo_server.engines import claims
from taskdemo_server.engines.base import Status
from taskdemo_server.engines.celery.page import backend, broker, celery, queue, work
from taskdemo_server.runtime.orphans import lives
from taskdemo_server.work.workplace import current_task, here, learn_experiments, work_for

_SCHEMES: Final = frozenset({"redis", "rediss", "redis+socket", "sentinel", "amqp", "amqps", "pyamqp"})
"""Those of brokers that lose no messages; over files, a race loses them or leaves them waiting for ever."""
_CHECK_S: Final = 1.0
REDELIVERED_AFTER_S: Final = float(celery.conf.broker_transport_options.get("visibility_timeout", 5.0))
"""The visibility timeout over Redis; RabbitMQ notices a dead worker at once, within this time on a busy machine."""
_END_TIMEOUT_S: Final = 10.0
"""Seconds that a worker may take to end once none of its processes is left."""
_STATES: Final[dict[str, TaskState]] = {
    states.SUCCESS: "finished",
    states.FAILURE: "failed",
    states.REVOKED: "cancelled",
    states.STARTED: "started",
}


@signals.celeryd_init.connect
def name(instance: Any, **_: Any) -> None:
    """Give every worker a unique name: over RabbitMQ, a second worker with the same name on a host cannot start."""
    instance.hostname = f"{queue}-{os.getpid()}@{socket.gethostname()}"


@signals.worker_ready.connect
def end_in_time(sender: Any, **_: Any) -> None:
    """In the worker's main process: end it if its shutdown hangs, waiting for data from a dead process.

    That happens after an error that makes Celery give up: a broker that takes no writes, or a task without memory.
    """

    def watch() -> None:
        import psutil

        while sender.controller.blueprint.state == RUN or any(lives(one.pid) for one in psutil.Process().children()):
            time.sleep(_CHECK_S)
        time.sleep(_END_TIMEOUT_S)
        os._exit(1)

    threading.Thread(target=watch, name="end", daemon=True).start()


@signals.before_task_publish.connect
def publish(headers: dict[str, Any], **_: Any) -> None:
    """Send the current request's id in a header of the message, and store Celery's id of the task."""
    task = current_task.get()
    if task is not None:
        headers["request_id"], task.ref = task.id, headers["id"]


@signals.task_prerun.connect
def begin(task: Any, **_: Any) -> None:
    """In a pool process: work for the request whose id came with the message."""
    work_for(task.request.get("request_id"))


@signals.task_revoked.connect
def revoked(request: Any, **_: Any) -> None:
    """In the worker's main process: journal a task as cancelled, because its own process is dead or never had it."""
    request_id = request.get("request_id")
    if request_id is not None:
        here().note(request_id, "cancelled")


celery.conf.worker_redirect_stdouts = False  # the work itself captures what each task prints, in full
learn_experiments(__package__)


def check() -> None:
    """Connect to broker and backend, in a second or so, and declare the queue. Raises ValueError for another broker."""
    if broker.partition("://")[0] not in _SCHEMES:
        raise ValueError("it is neither Redis nor RabbitMQ")
    if backend is not None:
        celery.backend.get_state("any")
    with celery.connection_for_write(connect_timeout=_CHECK_S) as connection:
        connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=_CHECK_S)
        celery.amqp.queues[queue](connection.default_channel).declare()


def cancel(ref: str) -> bool:
    """Ask the workers to drop the task, or to kill the process that runs it; return False if they cannot be asked.

    The worker that does so journals the task as cancelled.
    """
    try:
        celery.control.revoke(ref, terminate=True, signal="SIGKILL")
    except (OperationalError, CeleryError, OSError):
        return False
    return True


def status(refs: Sequence[str]) -> Iterator[tuple[str, Status]]:
    """Yield what the result backend knows; nothing if there is none."""
    for ref in refs:
        result = work.AsyncResult(ref)
        state = _STATES.get(result.state)
        if state is not None:
            done = result.date_done
            at = done.replace(tzinfo=done.tzinfo or UTC).timestamp() if isinstance(done, datetime) else time.time()
            error = error_text(result.result) if state == "failed" else None
            yield ref, Status(state, error, at)


def has_worker() -> bool | None:
    """Ping the workers that have a name of this queue's: a RabbitMQ may have workers of other applications too."""
    mine = rf"{re.escape(queue)}-\d+@"
    return bool(celery.control.ping(timeout=_CHECK_S, limit=1, pattern=mine, matcher="pcre"))


def claim(name: str) -> claims.Take:
    if broker.startswith(("amqp", "pyamqp")):
        return claims.over_rabbitmq(celery.connection_for_write(heartbeat=0), name)
    return claims.over_redis(broker.replace("redis+socket:", "unix:"), name)
