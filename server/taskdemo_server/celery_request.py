"""How a worker's main process tells of its tasks: Celery's Request and Consumer, as the journal needs them."""

from typing import Any, Final

from celery.worker.consumer import Consumer as CeleryConsumer
from celery.worker.request import Request as CeleryRequest

_TELL_AFTER_S: Final = 0.02


class Request(CeleryRequest):  # type: ignore[misc]  # Celery comes without types
    """Celery's events carry the pid of the worker's main process; what runs the task is one of its children."""

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002  Celery's name
        """Send the event with the pool process's pid, where one has taken the task."""
        super().send_event(type, process=self.worker_pid, **fields)


class Consumer(CeleryConsumer):  # type: ignore[misc]  # as above
    """Celery publishes the events of every turn of its loop at once, which costs a busy worker a third of its time.

    This one gathers them for 20 ms, or until there are 24.
    """

    _telling = False

    def on_send_event_buffered(self) -> None:
        """Take note that there is an event to publish."""
        if not self._telling and self.hub is not None:
            self._telling = True
            self.hub.call_later(_TELL_AFTER_S, self._tell)

    def shutdown(self) -> None:
        """Publish the last events before the connection goes."""
        self._tell()
        super().shutdown()

    def _tell(self) -> None:
        self._telling = False
        if self.event_dispatcher is not None:
            self.event_dispatcher.flush()
