"""Mode `celery` in the laboratory: every step is a task of its own, published to the broker of the endpoint."""

import asyncio
from typing import Any

from taskdemo_server.limits.bench import Bench, CannotAskError, Lab


def lab(bench: Bench) -> Lab:
    """Publish to the broker."""
    # Celery takes a while to import, and only this mode needs it.
    from celery import chain as chained
    from celery import chord
    from celery.result import AsyncResult

    from taskdemo_server.celery_app import app, events_queue, is_redis, unacked_keys
    from taskdemo_server.limits.celery_tasks import do_step, flaky, follow

    notebook = bench.notebook
    handles: dict[str, Any] = {}

    # Publishing and asking go over the network: in threads, as in any `async def` endpoint.
    async def track(key: str) -> None:
        handles[key] = await asyncio.to_thread(do_step.delay, notebook, key, "tracked")

    def check_backend() -> None:
        if app.conf.result_backend == "disabled://":
            raise CannotAskError("No result backend is configured.")

    async def ask(result: AsyncResult) -> str:
        check_backend()
        return str(await asyncio.to_thread(lambda: result.state))

    async def error(result: AsyncResult) -> str | None:
        check_backend()
        failed = await asyncio.to_thread(result.failed)
        return repr(await asyncio.to_thread(lambda: result.result)) if failed else None

    async def retry(key: str) -> None:
        await asyncio.to_thread(flaky.delay, notebook, key)

    async def chain(key: str) -> None:
        steps = chained(do_step.s(notebook, key, "first"), follow.s(notebook, key, "second"))
        await asyncio.to_thread(steps.delay)

    async def group(key: str) -> None:
        parts = [do_step.s(notebook, key, f"part {number}") for number in range(3)]
        await asyncio.to_thread(chord(parts), follow.s(notebook, key, "final"))

    async def fail(key: str) -> None:
        handles[key] = await asyncio.to_thread(do_step.delay, notebook, key, "broken")
        await asyncio.to_thread(do_step.delay, notebook, key, "following")

    async def clean() -> None:
        await asyncio.to_thread(delete)

    def delete() -> None:
        with app.connection_for_write() as connection:
            channel = connection.default_channel
            # Declared once more, so that this connection knows what belongs to it.
            queue = app.amqp.default_queue(channel)
            queue.declare()
            queue.delete()
            queue.exchange.delete()
            if is_redis(app.conf.broker_url):
                channel.client.delete(*unacked_keys(app.conf.task_default_queue).values())
            else:
                channel.queue_delete(f"{app.conf.event_queue_prefix}.{events_queue(bench.settings.journal)}")

    return Lab(track, retry, chain, group, fail, handles, ask, error, clean=clean)
