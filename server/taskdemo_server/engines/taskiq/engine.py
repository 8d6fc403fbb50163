"""How taskdemo drives Taskiq: by a middleware, and its result backend. Server and worker import this."""

import asyncio
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

from redis import Redis, ResponseError
from taskiq import TaskiqMessage, TaskiqMiddleware
from taskiq.serializers import JSONSerializer
from taskiq_redis import RedisAsyncResultBackend

from taskdemo_server.contract.text import error_text
from taskdemo_server.engines import claims
from taskdemo_server.engines.base import Status
from taskdemo_server.engines.taskiq.page import backend, broker, queue, url
from taskdemo_server.work.workplace import current_task, learn_experiments, work_for

_ASKS_MS: Final = 5000
"""An idle worker asks for messages every two seconds; one that has not asked for this long counts as gone."""
REDELIVERED_AFTER_S: Final = broker.idle_timeout / 1000
"""The idle timeout; a dead worker's task is redelivered with the first message after that."""


class Carry(TaskiqMiddleware):
    """Sends the current request's id in a label of the message."""

    def pre_send(self, message: TaskiqMessage) -> TaskiqMessage:
        """In the server: add the id, and store Taskiq's id of the task."""
        task = current_task.get()
        if task is not None:
            message.labels["request_id"], task.ref = task.id, message.task_id
        return message

    def pre_execute(self, message: TaskiqMessage) -> TaskiqMessage:
        """In the worker: work for the request whose id came with the message."""
        work_for(message.labels.get("request_id"))
        return message


broker.add_middlewares(Carry())
learn_experiments(__package__)
claim: Final = partial(claims.over_redis, url)


def check() -> None:
    """Connect to backend and broker, in a second or so, and try the command that redelivers a dead worker's tasks."""
    if backend is not None:
        with Redis.from_url(backend, socket_timeout=1, socket_connect_timeout=1) as client:
            client.ping()
    with Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1) as client:
        try:
            client.xautoclaim(f"taskiq:{queue}", "nobody", "nobody", 0)
        except ResponseError as error:
            if "NOGROUP" not in str(error):
                raise


def cancel(_ref: str) -> bool:
    """Return False: Taskiq cannot cancel a task."""
    return False


def status(refs: Sequence[str]) -> Iterator[tuple[str, Status]]:
    """Yield what the result backend knows: only tasks that have ended, and nothing if there is no backend."""
    if backend is not None:
        yield from asyncio.run(_status(backend, refs))


async def _status(url: str, refs: Sequence[str]) -> list[tuple[str, Status]]:
    prefix = f"taskiq:{queue}:result"
    # Not the page's, which belongs to the server's event loop.
    results = RedisAsyncResultBackend[Any](url, prefix_str=prefix, serializer=JSONSerializer())
    found = []
    try:
        for ref in refs:
            if await results.is_result_ready(ref):
                result = await results.get_result(ref)
                error = error_text(result.error) if result.error is not None else None
                found.append((ref, Status("failed" if result.is_err else "finished", error)))
    finally:
        await results.shutdown()
    return found


def has_worker() -> bool | None:
    """Look for a consumer of the stream that has recently asked for messages, or that has a task.

    None if there is none and Redis is older than 7.2, which does not record requests that found no message.
    """
    with Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1) as client:
        try:
            consumers = client.xinfo_consumers(f"taskiq:{queue}", broker.consumer_group_name)
        except ResponseError:  # no consumer group, so no consumers
            return False
        if any(one["idle"] < (broker.idle_timeout if one["pending"] else _ASKS_MS) for one in consumers):
            return True
        major, minor, *_ = map(int, client.info("server")["redis_version"].split("."))
    return None if (major, minor) < (7, 2) else False
