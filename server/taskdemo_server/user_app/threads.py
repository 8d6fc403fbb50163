"""Whose threads are whose in the user's own application: a request's own, a pool's, or the application's."""

import concurrent.futures.thread
import queue
import threading
import weakref
from typing import Any, Final

from taskdemo_server.user_app.open_requests import current

started: Final[weakref.WeakSet[threading.Thread]] = weakref.WeakSet()
"""The threads that requests have started: what they do counts as the requests' doing."""
POOLS: Final = ("anyio.", "multiprocessing.")
"""Modules whose kinds of threads belong to a pool: AnyIO's worker threads, and those of a ThreadPool."""


def follow_threads() -> None:
    """From now on, note which threads are started while a request is handled."""
    start = threading.Thread.start

    def noting_start(self: threading.Thread) -> None:
        if current.get() is not None:
            started.add(self)
        start(self)

    threading.Thread.start = noting_start  # type: ignore[method-assign]  # it still does what it did


def works_for_requests(thread: threading.Thread) -> bool:
    """Return whether what this thread does counts as the requests' doing."""
    return thread in started or _is_a_pools(thread)


def is_alone(thread: threading.Thread) -> bool:
    """Return whether a request has started this thread for itself: it need not wait for it, which may run for ever.

    The first request that needs a pool starts its threads, too; whoever uses one of these waits for it.
    """
    return thread in started and not _is_a_pools(thread)


def _is_a_pools(thread: threading.Thread) -> bool:
    return type(thread).__module__.startswith(POOLS) or weakref.ref(thread) in _queues()


def executors() -> list[tuple[int, int]]:
    """Return the number of threads and the queue length of each ThreadPoolExecutor with a queue, asyncio's too.

    One without a living thread does nothing more: what its queue holds has only told its threads to end.
    """
    there = [(reference(), line) for reference, line in list(_queues().items())]
    queues = [line for thread, line in there if thread is not None and thread.is_alive()]
    counts = {id(one): (queues.count(one), one.qsize()) for one in queues}
    return [(threads, waiting) for threads, waiting in counts.values() if waiting]


def _queues() -> dict["weakref.ref[threading.Thread]", "queue.SimpleQueue[Any]"]:
    """Return the queue from which each thread of an executor takes its work.

    Of the mapping with weak keys only what it holds: the mapping itself cannot be read while another thread begins.
    """
    return getattr(getattr(concurrent.futures.thread, "_threads_queues", None), "data", {})
