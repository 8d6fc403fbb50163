"""How taskdemo drives Dramatiq: by a middleware. Server and worker import this."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Final

import dramatiq

from taskdemo_server.contract.settings import WORK
from taskdemo_server.contract.text import shortened, without_password
from taskdemo_server.engines.base import Status
from taskdemo_server.engines.dramatiq.page import app, broker, queue, url
from taskdemo_server.work.workplace import CurrentTask, current_task, here

__all__ = ["app", "broker", "cancel", "has_worker", "redelivered_after", "status", "why_not"]

_SHAPES: Final = "redis://:PASSWORD@HOST:PORT/0 or amqp://USER:PASSWORD@HOST:PORT"


class Carry(dramatiq.Middleware):
    """Sends the id of the current request along, in an option of the message."""

    def before_enqueue(self, broker: dramatiq.Broker, message: dramatiq.Message[Any], delay: int | None) -> None:  # noqa: ARG002  the library's signature
        """In the server: note what Dramatiq calls the task, too."""
        task = current_task.get()
        if task is not None:
            message.options.setdefault("request_id", task.id)
            task.ref = message.message_id

    def before_process_message(self, broker: dramatiq.Broker, message: Any) -> None:  # noqa: ARG002  as above
        """In the worker's thread: work for the request whose id came along."""
        request_id = message.options.get("request_id")
        current_task.set(None if request_id is None else CurrentTask(request_id))


broker.add_middleware(Carry())
if WORK in os.environ and here().settings.step_log is not None:  # the user's function is imported before any fork
    from taskdemo_server.engines.dramatiq import steps  # noqa: F401  a worker must know the tasks of the experiments


def why_not() -> str | None:
    """Try to connect to the broker, for a second or so; return why that failed, as a sentence."""
    if not url.startswith(("redis://", "rediss://", "unix://", "amqp://", "amqps://")):
        return f"{without_password(url)!r} is not a broker that Dramatiq knows here; type --broker {_SHAPES}"
    client = getattr(broker, "client", None)
    try:
        if client is None:
            broker.declare_queue(queue)
            broker.get_queue_message_counts(queue)  # type: ignore[attr-defined]  # RabbitMQ's alone
        else:
            client.ping()
    except Exception as error:  # noqa: BLE001  each transport has its own
        text = f"{type(error).__name__} {error}".lower()
        if any(word in text for word in ("auth", "access_refused", "wrongpass", "password")):
            return f"The broker {without_password(url)} refuses the user or the password; type --broker {_SHAPES}"
        reason = shortened(str(error) or type(error).__name__, 120)
        return f"The broker {without_password(url)} cannot be reached ({reason}); type --broker {_SHAPES}"
    return None


def cancel(_ref: str) -> bool:
    """Return False: Dramatiq offers no cancelling."""
    return False


def status(_refs: Sequence[str]) -> Mapping[str, Status]:
    """Return nothing: Dramatiq keeps results, of actors that ask for it, but no states."""
    return {}


def has_worker() -> bool | None:
    """Return None: Dramatiq knows of no workers."""
    return None


def redelivered_after(_work_s: float) -> float | None:
    """Return the heartbeat's timeout, which the page sets over Redis; RabbitMQ notices a dead worker at once."""
    return 5.0
