"""Dramatiq in the experiments of `taskdemo limits`: every step is a separate message, sent to the page's broker."""

from typing import Final

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.middleware import GroupCallbacks
from dramatiq.rate_limits.backends import RedisBackend as Barriers
from dramatiq.results.errors import ResultFailure, ResultMissing
from redis import Redis

from taskdemo_server.engines.dramatiq.page import backend, broker, queue, url
from taskdemo_server.limits.base import CannotAskError, Steps, steps_of
from taskdemo_server.limits.step import step

BACKOFF_MS: Final = 1000
"""Milliseconds; before each retry Dramatiq waits between half of them and all of them."""
if backend is not None:  # groups need it too
    # Its keys have no prefix to remove them by, so they must expire.
    broker.add_middleware(GroupCallbacks(Barriers(url=backend), barrier_ttl=60_000))


@dramatiq.actor(queue_name=queue, max_retries=0)
def do_step(key: str, name: str, given: int | None = None) -> int:
    """Do a step. In a pipeline, Dramatiq passes the previous result last; after a group, it passes nothing."""
    return step(key, name, given)


@dramatiq.actor(queue_name=queue, max_retries=3, min_backoff=BACKOFF_MS, max_backoff=BACKOFF_MS)
def flaky(key: str) -> int:
    return step(key, "flaky")


def steps() -> Steps:
    def chain(key: str) -> None:
        first, second = do_step.message(key, "first"), do_step.message(key, "second")
        (first | second).run()

    def group(key: str) -> None:
        parts = dramatiq.group([do_step.message(key, f"part {number}") for number in range(3)])
        parts.add_completion_callback(do_step.message(key, "final"))
        parts.run()

    return steps_of(do_step.send, retry=flaky.send, chain=chain, group=group, ask=_ask, clean=_delete_queue)


def _ask(message: dramatiq.Message[int]) -> tuple[str, str | None]:
    if backend is None:
        raise CannotAskError("No result backend is configured.")
    try:
        message.get_result()
    except ResultMissing:
        return "ResultMissing", None
    except ResultFailure as failure:
        return "ResultFailure", str(failure)
    return "a result", None


def _delete_queue() -> None:
    if isinstance(broker, RabbitmqBroker):
        for name in (queue, f"{queue}.DQ", f"{queue}.XQ"):
            broker.channel.queue_delete(name)
    for kept in {url, backend} - {None}:
        if not str(kept).startswith("amqp"):
            with Redis.from_url(str(kept)) as client:
                client.delete(*client.scan_iter(f"dramatiq:{queue}*"), "nothing")
