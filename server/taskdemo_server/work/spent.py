"""What a piece of work takes of its thread: seconds that it computed, and seconds that it waited for a processor."""

import time

from taskdemo_server.runtime import thread_clocks


class Spent:
    """Adds up what is done `with` it, in one thread."""

    __slots__ = ("_began", "_queued", "cpu_s", "queued_s")

    def __init__(self, *, may_compute: bool) -> None:
        self.cpu_s = 0.0
        self.queued_s: float | None = 0.0 if may_compute and thread_clocks.TELLS else None
        """None where the system does not tell, and for work that only waits: asking costs more than a quick task."""

    def __enter__(self) -> None:
        if self.queued_s is not None:
            self._queued = thread_clocks.queued()
        self._began = time.thread_time()

    def __exit__(self, *_: object) -> None:
        self.cpu_s += time.thread_time() - self._began
        if self.queued_s is not None:
            self.queued_s += thread_clocks.queued() - self._queued
