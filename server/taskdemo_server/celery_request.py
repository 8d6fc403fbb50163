"""How a worker's main process sees one task: Celery's Request, telling in its events which pool process runs it."""

from typing import Any

from celery.worker.request import Request as CeleryRequest


class Request(CeleryRequest):  # type: ignore[misc]  # Celery comes without types
    """Celery's events carry the pid of the worker's main process; what runs the task is one of its children."""

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002  Celery's name
        """Send the event with the pool process's pid, where one has taken the task."""
        super().send_event(type, process=self.worker_pid, **fields)
