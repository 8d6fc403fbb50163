"""How taskdemo drives Dramatiq: by a middleware. Server and worker import this."""

import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

import dramatiq
import pika
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.results.errors import ResultFailure, ResultMissing
from redis import Redis

from taskdemo_server.engines import claims
from taskdemo_server.engines.base import Status
from taskdemo_server.engines.dramatiq.page import backend, broker, queue, url, work
from taskdemo_server.work.workplace import current_task, learn_experiments, work_for

_ALIVE_S: Final = 5.0
"""A worker without a heartbeat for this long counts as gone, although its tasks are not redelivered yet."""
REDELIVERED_AFTER_S: Final = 5.0 if isinstance(broker, RabbitmqBroker) else broker.heartbeat_timeout / 1000
"""Redis's heartbeat timeout, or the heartbeat set for RabbitMQ, which notices a closed connection at once."""


class Carry(dramatiq.Middleware):
    """Sends the current request's id in an option of the message."""

    def before_enqueue(self, broker: dramatiq.Broker, message: dramatiq.Message[Any], delay: int | None) -> None:  # noqa: ARG002  the library's signature
        """In the server: add the id, and store Dramatiq's id of the task."""
        task = current_task.get()
        if task is not None:
            message.options.setdefault("request_id", task.id)
            task.ref = message.message_id

    def before_process_message(self, broker: dramatiq.Broker, message: Any) -> None:  # noqa: ARG002  as above
        """In the worker's thread: work for the request whose id came with the message."""
        work_for(message.options.get("request_id"))


broker.add_middleware(Carry())
learn_experiments(__package__)


def check() -> None:
    """Connect to broker and backend, in a second or so; declare the queue at RabbitMQ, or read its length in Redis."""
    if isinstance(broker, RabbitmqBroker):
        broker.declare_queue(queue, ensure=True)
    else:
        broker.client.llen(f"{broker.namespace}:{queue}")
    if backend is not None:
        with Redis.from_url(backend, socket_timeout=1, socket_connect_timeout=1) as client:
            client.ping()


def cancel(_ref: str) -> bool:
    """Return False: Dramatiq cannot cancel a task."""
    return False


def status(refs: Sequence[str]) -> Iterator[tuple[str, Status]]:
    """Yield what the result backend knows: only tasks that have ended, and nothing if there is no backend."""
    for ref in refs if backend is not None else ():
        try:
            work.message("").copy(message_id=ref).get_result()
        except ResultMissing:
            continue
        except ResultFailure as failure:
            yield ref, Status("failed", f"{failure.orig_exc_type}: {failure.orig_exc_msg}")
        else:
            yield ref, Status("finished")


def has_worker() -> bool | None:
    """Look for another process's heartbeat, which one that only sends has too; or ask RabbitMQ for consumers."""
    if isinstance(broker, RabbitmqBroker):
        with pika.BlockingConnection(broker.parameters) as connection:
            asked = connection.channel().queue_declare(queue, passive=True)
            return bool(asked.method.consumer_count)
    since = (time.time() - _ALIVE_S) * 1000
    alive = broker.client.zrangebyscore(f"{broker.namespace}:__heartbeats__", since, "+inf")
    return bool(set(alive) - {broker.broker_id.encode()})


def claim(name: str) -> claims.Take:
    if isinstance(broker, RabbitmqBroker):
        lasting = pika.URLParameters(f"{url.partition('?')[0]}?heartbeat=0")
        return claims.over_rabbitmq(pika.BlockingConnection(lasting), name)
    return claims.over_redis(url, name)
