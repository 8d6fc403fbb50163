"""What a piece of work takes of the processors: seconds that it computed, and seconds that it waited for one."""

import resource
import time

from taskdemo_server.runtime import thread_clocks


class Spent:
    """Adds up what is done `with` it, in one thread.

    `alone`: nothing else is done in this process meanwhile, so that its other threads, and the programs that it has
    waited for, count as well: a work that starts them computes, although its own thread waits.
    """

    __slots__ = ("_began", "_clock", "_queued", "cpu_s", "queued_s")

    def __init__(self, *, may_compute: bool, alone: bool = False) -> None:
        self.cpu_s = 0.0
        self.queued_s: float | None = 0.0 if may_compute and thread_clocks.TELLS else None
        """None where the system does not tell, and for work that only waits: asking costs more than a quick task."""
        self._clock = _process_and_programs if alone else time.thread_time

    def __enter__(self) -> None:
        if self.queued_s is not None:
            self._queued = thread_clocks.queued()
        self._began = self._clock()

    def __exit__(self, *_: object) -> None:
        self.cpu_s += self._clock() - self._began
        if self.queued_s is not None:
            self.queued_s += thread_clocks.queued() - self._queued


def _process_and_programs() -> float:
    programs = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + programs.ru_utime + programs.ru_stime
