"""Whether tasks wait and nothing is begun: their worker hangs, or there is none."""

import time
from collections.abc import Sequence

from taskdemo_server.contract.events import TaskRecord


class Stall:
    """Looked at again and again, it knows since when nothing has been begun or has ended although tasks wait."""

    def __init__(self) -> None:
        self._ended = 0
        self._since = time.monotonic()

    def since(self, unfinished: Sequence[TaskRecord], total: int, now: float) -> float:
        """Return since when, on the monotonic clock: `now` while one runs, none waits, or one has ended just now."""
        ended = total - len(unfinished)
        if ended != self._ended or not unfinished or not all(task.waiting for task in unfinished):
            self._ended, self._since = ended, now
        return self._since
