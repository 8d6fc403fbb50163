"""Mode dramatiq: the endpoint sends a task; a worker of Dramatiq does it."""

import os
from typing import Annotated

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend
from fastapi import FastAPI, HTTPException, Query
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from taskdemo_server.work import slow_work

url = os.environ.get("BROKER_URL", "redis://localhost:6379/0")
backend = os.environ.get("RESULT_BACKEND")
queue = os.environ.get("TASK_QUEUE", "hello")
longest_task_s = float(os.environ.get("LONGEST_TASK_S", "3600"))

broker: RabbitmqBroker | RedisBroker
if url.startswith("amqp"):
    # RabbitMQ is to confirm that it has a task. A caller waits for that:
    # notice soon that it is mute. (Defaults: 15 s to connect, and 60 s.)
    # And a queue of another library may have that name.
    queue = f"dramatiq.{queue}"
    if "?" not in url:
        url += "?socket_timeout=0.5&stack_timeout=0.5&heartbeat=5"
    broker = RabbitmqBroker(url=url, confirm_delivery=True)
else:
    broker = RedisBroker(
        # A caller waits while its task is sent: notice a mute broker soon,
        # and try twice.
        client=Redis.from_url(
            url,
            socket_timeout=0.5,
            socket_connect_timeout=0.5,
            retry=Retry(NoBackoff(), 1),
        ),
        # Keys of its own, should the broker serve others too.
        namespace=f"dramatiq:{queue}",
        # What a dead worker held is sent again after this long (default: a
        # minute), and looked for with every command (default: with one of
        # a thousand, so that a quiet worker waits for hours). Work that
        # keeps the interpreter for longer, in one call into C, gives no
        # sign of life, and is begun by others again and again.
        heartbeat_timeout=min(10_000, int(2000 * longest_task_s) + 5000),
        maintenance_chance=1_000_000,
    )
if backend is not None:
    # Results are kept only where somebody asks, for ten minutes.
    results = RedisBackend(
        url=backend,
        namespace=f"dramatiq:{queue}:results",
        use_namespace_prefix_keys=True,
    )
    broker.add_middleware(Results(backend=results, store_results=True))
dramatiq.set_broker(broker)

app = FastAPI()


@dramatiq.actor(
    queue_name=queue,
    # Work that fails has failed. The default is to run it 20 times more,
    # which is only for work that may be done twice; min_backoff and
    # max_backoff say when.
    max_retries=0,
    # The default interrupts work after ten minutes.
    time_limit=2000 * longest_task_s + 5000,
)
def work(message: str) -> None:
    slow_work(message)


@app.get("/")
def hello(
    message: Annotated[str, Query(max_length=4096)] = "Hello",
) -> dict[str, str]:
    try:
        work.send(message)
    except (
        RedisError,
        AMQPConnectorException,
        dramatiq.BrokerConnectionError,
    ) as error:
        why = "The broker does not take the task."
        raise HTTPException(503, why, {"Retry-After": "1"}) from error
    return {"message": "Hello World!"}
