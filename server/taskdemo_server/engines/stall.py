"""Since when nothing has happened to the tasks that have not ended: their worker hangs, or there is none."""

import time

from taskdemo_server.contract.events import TaskRecord
from taskdemo_server.journal.index import Index


class Stall:
    """The tasks that have not ended, looked at again and again, and since when none was begun or has ended."""

    def __init__(self, index: Index) -> None:
        self.tasks: list[TaskRecord] = []
        self.since = time.monotonic()
        self._index = index
        self._moved = (0, 0)

    def look(self) -> None:
        """Read the journal on."""
        self.tasks = self._index.unfinished()
        moved = (self._index.total - len(self.tasks), sum(len(task.starts) for task in self.tasks))
        if moved != self._moved or not self.tasks:
            self._moved, self.since = moved, time.monotonic()

    @property
    def all_wait(self) -> bool:
        """Whether no task is known to run."""
        return all(task.state == "accepted" for task in self.tasks)
