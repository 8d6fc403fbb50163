"""Publishes tasks to the broker from threads of its own, so that the event loop never waits for one."""

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from celery import exceptions
from kombu.exceptions import OperationalError

from taskdemo_server import celery_app
from taskdemo_server.celery_app import PUBLISH_TIMEOUT_S
from taskdemo_server.contract.events import ENDED, event_line, place_of
from taskdemo_server.contract.text import shortened
from taskdemo_server.work import OverloadedError, Work, current_task, here

_THREADS: Final = 2
_BATCH: Final = 32
_FOLLOW_EVERY_S: Final = 0.1
_ENDED: Final = frozenset(state.encode() for state in ENDED)


class _Request:
    """A call of `delay` that waits for a thread."""

    __slots__ = ("args", "done", "since", "task_id")

    def __init__(self, task_id: str, args: tuple[Any, ...], done: "asyncio.Future[None]", since: float) -> None:
        self.task_id = task_id
        self.args = args
        self.done = done
        self.since = since


class Publisher:
    """`do_work.delay(...)` for an event loop."""

    def __init__(self, work: Work) -> None:
        settings = work.settings
        assert settings.broker is not None  # noqa: S101  filled in before the application is made
        self._app = celery_app.for_server(settings.broker, settings.backend, settings.queue)
        self._work = work
        if not settings.private_broker:  # The broker keeps them, whatever becomes of this server.
            work.pending = set()
        self._waiting: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._place = place_of(settings.mode, here())
        self._loop: asyncio.AbstractEventLoop | None = None
        self._following: asyncio.Task[None] | None = None
        self._failed_at = 0.0
        self._why = ""

    async def start(self) -> None:
        """Start the threads, and follow what becomes of the tasks."""
        self._loop = asyncio.get_running_loop()
        for number in range(_THREADS):
            threading.Thread(target=self._publish, name=f"publisher {number}", daemon=True).start()
        self._following = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Return when the tasks that would die with a private broker have ended."""
        while self._work.open:  # noqa: ASYNC110  what ends them writes into the journal, and sets no event
            await asyncio.sleep(_FOLLOW_EVERY_S)
        if self._following is not None:
            self._following.cancel()
        for _ in range(_THREADS):
            self._waiting.put(None)

    async def delay(self, *args: Any) -> None:
        """Publish the work as the current request's task, which is accepted as soon as the broker has it.

        Raises OverloadedError, also where the broker does not take it.
        """
        self._work.check_room()
        task_id, loop = current_task.get(), self._loop
        assert loop is not None  # noqa: S101  started before the first request
        at, clock = time.time(), time.monotonic()
        done: asyncio.Future[None] = loop.create_future()
        self._work.pending.add(task_id)
        self._waiting.put(_Request(task_id, args, done, clock))
        try:
            await done
        except BaseException:
            self._work.pending.discard(task_id)
            raise
        # As of its arrival, because a worker may have begun it already.
        self._work.journal.write(event_line(task_id, "accepted", at, clock, self._place, args[0]), clock)

    def revoke(self, task_id: str) -> bool:
        """Ask the workers to drop the task, or to end it if it runs; False where the broker cannot be asked.

        The journal has it as cancelled once a worker says so.
        """
        try:
            self._app.control.revoke(task_id, terminate=True, signal="SIGKILL")
        except (OperationalError, exceptions.CeleryError, OSError):
            return False
        return True

    def _publish(self) -> None:
        with self._app.producer_pool.acquire(block=True) as producer:
            while batch := self._take():
                began = time.monotonic()
                try:
                    with producer.batch():  # One round trip for all of them, where the transport can.
                        for request in batch:
                            self._send(request, producer, retry=False)
                except Exception as error:  # noqa: BLE001  each transport has its own, and none may end this thread
                    if time.monotonic() - began > PUBLISH_TIMEOUT_S / 2:
                        self._fail(error)
                    for request in batch:
                        self._publish_one(request, producer)
                else:
                    self._tell(_accept, batch)

    def _publish_one(self, request: _Request, producer: Any) -> None:
        if request.since < self._failed_at:  # It waited while the broker was found dead, which is long enough.
            self._tell(_refuse, [request], self._why)
            return
        try:
            self._send(request, producer, retry=True)
        except Exception as error:  # noqa: BLE001  as above
            self._fail(error)
            self._tell(_refuse, [request], self._why)
        else:
            self._tell(_accept, [request])

    def _send(self, request: _Request, producer: Any, *, retry: bool) -> None:
        celery_app.do_work.apply_async(request.args, task_id=request.task_id, producer=producer, retry=retry)

    def _fail(self, error: Exception) -> None:
        self._failed_at = time.monotonic()
        self._why = str(error.__cause__ or error)

    def _take(self) -> list[_Request]:
        """Wait for a request; return it and those that wait behind it, or nothing when it is time to end."""
        first = self._waiting.get()
        batch = [] if first is None else [first]
        while batch and len(batch) < _BATCH:
            try:
                request = self._waiting.get_nowait()
            except queue.Empty:
                break
            if request is None:
                self._waiting.put(None)  # for later
                break
            batch.append(request)
        return batch

    def _tell(self, what: Callable[..., None], *args: Any) -> None:
        with contextlib.suppress(RuntimeError):  # The loop is closed; nobody waits any more.
            self._loop.call_soon_threadsafe(what, *args)  # type: ignore[union-attr]  # it started this thread

    async def _follow(self) -> None:
        """Close the tasks of this process as the journal tells that they have ended, whoever wrote that."""
        pending, journal = self._work.pending, self._work.journal
        offset = journal.size()
        while True:
            if not pending:
                offset = journal.size()
            lines, offset = journal.read(offset)
            for line in lines.split(b"\n"):
                fields = line[max(line.rfind(b'{"id":'), 0) :].split(b'"', 8)
                if len(fields) == 9 and fields[7] in _ENDED:
                    pending.discard(fields[3].decode(errors="replace"))
            if not lines:
                await asyncio.sleep(_FOLLOW_EVERY_S)


def _accept(batch: list[_Request]) -> None:
    for request in batch:
        if not request.done.done():  # The caller may be gone.
            request.done.set_result(None)


def _refuse(batch: list[_Request], why: str) -> None:
    for request in batch:
        if not request.done.done():
            sentence = f"The broker does not take the task: {shortened(why, 200)}"
            request.done.set_exception(OverloadedError(sentence))
