"""How a worker's main process tells of its tasks: Celery's Request and Consumer, as the journal needs them."""

from typing import Any, Final

from celery.worker import state
from celery.worker.consumer import Consumer as CeleryConsumer
from celery.worker.request import Request as CeleryRequest
from kombu.asynchronous import get_event_loop

_TELL_AFTER_S: Final = 0.02


class Request(CeleryRequest):  # type: ignore[misc]  # Celery comes without types
    """Celery's events carry the pid of the worker's main process; what runs the task is one of its children."""

    def send_event(self, type: str, **fields: Any) -> None:  # noqa: A002  Celery's name
        """Send the event with the pool process's pid, where one has taken the task."""
        super().send_event(type, process=self.worker_pid, **fields)

    def acknowledge(self) -> None:
        """Acknowledge a task that has ended; where no backend keeps its result, only when its events are published.

        Only they tell of it then, and a worker killed in between would leave it unfinished in the books.
        """
        hub = get_event_loop()
        if self._app.conf.result_backend != "disabled://" or hub is None or state.should_stop is not None:
            super().acknowledge()
        else:
            hub.call_soon(self._tell_and_acknowledge)

    def _tell_and_acknowledge(self) -> None:
        self._eventer.flush()
        super().acknowledge()


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
