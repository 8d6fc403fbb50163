"""The modes, in the order in which they are shown everywhere; each is one file and reads like a tutorial page."""

from collections.abc import Callable
from typing import Final

from taskdemo_server.modes import async_, background, background_async, blocking, celery, process, threadpool
from taskdemo_server.modes.endpoint import Endpoint
from taskdemo_server.work import Work

ENDPOINTS: Final[dict[str, Callable[[Work], Endpoint]]] = {
    "blocking": blocking.endpoint,
    "async": async_.endpoint,
    "threadpool": threadpool.endpoint,
    "background": background.endpoint,
    "background-async": background_async.endpoint,
    "process": process.endpoint,
    "celery": celery.endpoint,
}
