"""Celery in the experiments of `taskdemo limits`: every step is a separate task, published to the page's broker."""

from typing import Final

from celery import chain as chained
from celery import chord
from celery.result import AsyncResult

from taskdemo_server.engines.celery.page import celery, queue
from taskdemo_server.limits.base import CannotAskError, Steps, steps_of
from taskdemo_server.limits.step import Given, OnPurposeError, step

BACKOFF_S: Final = 1
"""Seconds before the first retry; Celery doubles them for each further one."""


@celery.task(ignore_result=False)
def do_step(key: str, name: str) -> int:
    return step(key, name)


@celery.task(ignore_result=False)
def follow(given: Given, key: str, name: str) -> int:
    """Do a step that needs the previous step's result, or a group's list of results, which Celery passes first."""
    return step(key, name, given)


@celery.task(autoretry_for=(OnPurposeError,), max_retries=3, retry_backoff=BACKOFF_S, retry_jitter=False)
def flaky(key: str) -> int:
    return step(key, "flaky")


def steps() -> Steps:
    def ask(result: AsyncResult) -> tuple[str, str | None]:
        if celery.conf.result_backend in {None, "disabled://"}:
            raise CannotAskError("No result backend is configured.")
        return result.state, repr(result.result) if result.failed() else None

    def chain(key: str) -> None:
        chained(do_step.s(key, "first"), follow.s(key, "second")).delay()

    def group(key: str) -> None:
        chord([do_step.s(key, f"part {number}") for number in range(3)])(follow.s(key, "final"))

    return steps_of(do_step.delay, retry=flaky.delay, chain=chain, group=group, ask=ask, clean=_delete_queue)


def _delete_queue() -> None:
    with celery.connection_for_write() as connection:
        channel = connection.default_channel
        declared = celery.amqp.default_queue(channel)
        declared.declare()  # again, or this connection does not know what belongs to it
        declared.delete()
        declared.exchange.delete()
        if prefix := celery.conf.broker_transport_options.get("global_keyprefix"):
            # Celery's other keys in Redis; the client itself adds the prefix to the names.
            keys = [key.decode().removeprefix(prefix) for key in channel.client.scan_iter(f"{prefix}*")]
            channel.client.delete(*keys, "nothing")
    if (results := getattr(celery.backend, "client", None)) is not None:
        results.delete(*results.scan_iter(f"{queue}:*"), "nothing")
