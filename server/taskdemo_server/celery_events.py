"""Turns Celery's event stream into journal lines: the one writer of what happens in workers.

Knows the journal and Celery's events. A task is this server's if its `accepted` line is in the journal; an event that
comes before that line waits for it, so whoever reads the journal finds a task accepted first.
"""

import ast
import contextlib
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from celery import Celery, states

from taskdemo_server.celery_app import PRINTED, events_queue, is_redis
from taskdemo_server.contract.events import ENDED, TaskEvent, TaskState, event_line, place_of
from taskdemo_server.contract.text import escape
from taskdemo_server.journal.file import Journal, unfinished
from taskdemo_server.work import here, task_output

Event = dict[str, Any]

_STATES: Final[dict[str, TaskState]] = {
    "task-started": "started",
    "task-succeeded": "finished",
    "task-failed": "failed",
    "task-revoked": "cancelled",
}
"""What an event means for a task. After `task-retried` it waits again, which its next `task-started` tells."""
_RESULTS: Final[dict[str, TaskState]] = {
    states.SUCCESS: "finished",
    states.FAILURE: "failed",
    states.REVOKED: "cancelled",
    states.STARTED: "started",
}
_HOLD_S: Final = 10.0
"""An event whose task is not in the journal by then is somebody else's."""
_MOST_ENDED: Final = 100_000
_ON_ITS_WAY_S: Final = 2.0
"""A task's event comes at most this much later than its result is stored."""
_RECONCILE_EVERY_S: Final = 10.0
_AT_ONCE: Final = 500
_MOST_PRINTED: Final = 1000
_A_DAY_S: Final = 86_400.0


@dataclass(slots=True)
class Known:
    """A task of this server that has not ended, or not long ago."""

    message: str
    state: TaskState = "accepted"


@dataclass
class Tasks:
    """The server's own tasks, as its journal tells them; those that ended long ago are forgotten."""

    journal: Journal
    known: dict[str, Known] = field(default_factory=dict)
    _offset: int = 0
    _ended: deque[str] = field(default_factory=deque)

    def update(self) -> None:
        """Read what was written since the last time."""
        while True:
            lines, self._offset = self.journal.read(self._offset)
            if not lines:
                return
            for line in lines.splitlines():
                # What this object wrote itself it knows already, and most lines are its own.
                if b'"state":"accepted"' in line or b'"state":"lost"' in line:
                    self._fold(line)

    def replay(self) -> None:
        """Read the whole journal, with the states that an earlier server wrote."""
        while True:
            lines, self._offset = self.journal.read(self._offset)
            if not lines:
                return
            for line in lines.splitlines():
                self._fold(line)

    def _fold(self, line: bytes) -> None:
        if event := TaskEvent.from_line(line):
            if event.state == "accepted":
                self.known.setdefault(event.id, Known(event.message or ""))
            else:
                self.see(event.id, event.state)

    def see(self, task_id: str, state: TaskState) -> None:
        """Take note that a task came into `state`."""
        known = self.known.get(task_id)
        if known is None:
            return
        if state in ENDED and known.state not in ENDED:
            self._ended.append(task_id)
            if len(self._ended) > _MOST_ENDED:
                self.known.pop(self._ended.popleft(), None)
        if known.state not in ENDED:
            known.state = state

    def unfinished(self) -> list[str]:
        """Return the tasks that have not ended."""
        return [task_id for task_id, known in self.known.items() if known.state not in ENDED]


class Receiver:
    """Follows the event stream in a thread, for as long as the process lives, whatever becomes of the broker.

    `ended` is called with the message and the error, or None, of every task that ends.
    """

    def __init__(self, app: Celery, journal: Journal, ended: Callable[[str, str | None], None]) -> None:
        self._app = app
        self._journal = journal
        self._ended = ended
        self._tasks = Tasks(journal)
        self._held: deque[tuple[float, Event]] = deque()
        self._printed: dict[str, str] = {}
        self._reconciled: dict[str, float] = {}
        self._skew: dict[str, float] = {}
        self._places: dict[tuple[str, int | None], str] = {}
        self._next_reconcile = 0.0
        self._last: Any = None
        """The last message that is not acknowledged."""
        self.connected = threading.Event()

    def start(self) -> None:
        """Start following."""
        threading.Thread(target=self._run, name="celery events", daemon=True).start()

    def give_back(self) -> None:
        """Have a Redis broker deliver again, at once, what no worker of the private broker lives to acknowledge."""
        with self._app.connection_for_write() as connection:
            channel = connection.default_channel
            channel.visibility_timeout = 0
            channel.qos.restore_visible(num=_AT_ONCE, interval=1)

    def lose(self, why: str) -> int:
        """Write every unfinished task down as lost; return how many."""
        lost = list(unfinished(self._journal))
        at, clock, place = time.time(), time.monotonic(), place_of("celery", here())
        for task_id in lost:
            self._journal.write(event_line(task_id, "lost", at, clock, place, None, why), clock)
        return len(lost)

    def _run(self) -> None:
        self._tasks.replay()
        while True:
            try:
                with self._app.connection_for_read() as connection:
                    connection.ensure_connection(max_retries=1, interval_start=0.1, timeout=1.0)
                    self._follow(connection)
            except Exception:  # noqa: BLE001  each transport has its own errors; while there is no broker, nothing happens
                self.connected.clear()
                time.sleep(0.2)

    def _follow(self, connection: Any) -> None:
        kept = not is_redis(self._app.conf.broker_url)
        receiver = self._app.events.Receiver(connection, {"*": self._receive}, **(self._keeping() if kept else {}))

        def receive(body: Any, message: Any) -> None:
            receiver._receive(body, message)  # noqa: SLF001  what Celery's own consumer calls; ours acknowledges later
            self._last = message

        # What RabbitMQ keeps for us goes when it is written down, and not before.
        connection.Consumer(receiver.queue, callbacks=[receive], accept=receiver.accept, no_ack=not kept).consume()
        self._reconcile()  # What happened before the events came.
        self.connected.set()
        while True:
            with contextlib.suppress(TimeoutError):
                connection.drain_events(timeout=0.05 if self._held else 1.0)
            self._settle()
            if kept and self._last is not None and not self._held:
                self._last.ack(multiple=True)
                self._last = None
            if time.monotonic() >= self._next_reconcile:
                self._reconcile(_ON_ITS_WAY_S)

    def _keeping(self) -> dict[str, Any]:
        """Return how RabbitMQ is to keep the events for us while we are away: under a name that is the same again."""
        return {
            "node_id": events_queue(self._journal.path),
            "queue_exclusive": False,  # Celery's default is True, and then it would not be kept
            "queue_durable": True,
            "queue_expires": _A_DAY_S,
            "queue_ttl": _A_DAY_S,
        }

    def _receive(self, event: Event) -> None:
        if event["type"] in _STATES:
            event["clock"] = time.monotonic()
            self._held.append((event["clock"], event))
        elif event["type"] == PRINTED and isinstance(event.get("output"), str):
            while len(self._printed) >= _MOST_PRINTED:  # Of tasks that are not ours, or that never ended.
                del self._printed[next(iter(self._printed))]
            self._printed[event["uuid"]] = event["output"][: 2 * task_output.KEPT]

    def _settle(self) -> None:
        """Write what was received, as far as the journal says that it is ours."""
        if not self._held:
            return
        self._tasks.update()
        now = time.monotonic()
        for _ in range(len(self._held)):
            since, event = self._held.popleft()
            if event["uuid"] in self._tasks.known:
                self._write_event(event)
            elif now - since < _HOLD_S:
                self._held.append((since, event))

    def _write_event(self, event: Event) -> None:
        task_id, at = event["uuid"], event["timestamp"]
        if at <= self._reconciled.get(task_id, 0.0) + _ON_ITS_WAY_S:
            return  # The result backend had already told.
        received, node = event["local_received"], event["hostname"]
        # Another host's clock may be off; how far, its quickest event tells.
        skew = self._skew[node] = min(self._skew.get(node, received - at), received - at)
        age = max(received - at - skew, 0.0)
        state = _STATES[event["type"]]
        error = _said(event.get("exception", "")) if state == "failed" else None
        output = self._printed.pop(task_id, None) if state in ENDED else None
        self._write(task_id, state, event["clock"] - age, received - age, node, event.get("process"), error, output)

    def _write(
        self,
        task_id: str,
        state: TaskState,
        clock: float,
        at: float,
        node: str,
        process: int | None,
        error: str | None,
        output: str | None = None,
    ) -> None:
        place = self._places.get((node, process))
        if place is None:
            name, _, host = node.rpartition("@")
            where = f"{host} pid {process} worker {name}" if process else node
            place = self._places[node, process] = place_of("celery", where)
        self._journal.write(event_line(task_id, state, at, clock, place, None, error, output), time.monotonic())
        known = self._tasks.known[task_id]
        if state in ENDED and state != "cancelled" and known.state not in ENDED:
            self._ended(known.message, error)
        self._tasks.see(task_id, state)

    def _reconcile(self, grace: float = 0.0) -> None:
        """Write what the result backend knows of unfinished tasks and no event has told.

        With a `grace`, only ends that are so many seconds old: of later ones the events may be on their way.
        """
        self._next_reconcile = time.monotonic() + _RECONCILE_EVERY_S
        self._tasks.update()
        self._reconciled.clear()
        if self._app.conf.result_backend == "disabled://":
            return
        unfinished = self._tasks.unfinished()
        for start in range(0, len(unfinished), _AT_ONCE):
            for task_id, result in self._results(unfinished[start : start + _AT_ONCE]):
                state = _RESULTS.get(result["status"])
                if state is None or state == self._tasks.known[task_id].state:
                    continue
                if not grace or (state in ENDED and _date(result.get("date_done")) < time.time() - grace):
                    self._write_result(task_id, state, result)

    def _results(self, task_ids: list[str]) -> Iterable[tuple[str, Event]]:
        backend = self._app.backend
        for task_id, value in zip(
            task_ids, backend.mget([backend.get_key_for_task(task) for task in task_ids]), strict=True
        ):
            if value:
                yield task_id, backend.decode_result(value)

    def _write_result(self, task_id: str, state: TaskState, result: Event) -> None:
        now, at = time.time(), _date(result.get("date_done"))
        clock = time.monotonic() - max(now - at, 0.0)
        self._reconciled[task_id] = now
        about = result.get("result") or {}
        node, process = "known from the result backend", None
        error = None
        if state == "started" and isinstance(about, dict):
            node, process = about.get("hostname") or node, about.get("pid")
        elif state == "failed" and isinstance(about, dict):
            error = f"{about.get('exc_type')}: {' '.join(map(str, about.get('exc_message') or ()))}"
        self._write(task_id, state, clock, at, node, process, error)


def _date(done: str | None) -> float:
    """Return a result's date in Unix seconds; now where it has none."""
    with contextlib.suppress(ValueError):
        if done is not None:
            date = datetime.fromisoformat(done)
            return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    return time.time()


def _said(exception: str) -> str:
    """Return `Kind: text` for what Celery's events hold, an exception's repr."""
    if unknown := re.fullmatch(r"NotRegistered\((.*)\)", exception):
        return f"A worker runs other code than the server: it does not know the task {escape(unknown[1])}."
    kind, _, arguments = exception.partition("(")
    try:
        value = ast.literal_eval(f"({arguments.removesuffix(')')},)")
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # It may be anybody's own `__repr__`.
        return exception[:4096]
    return f"{kind}: {' '.join(str(part) for part in value)}"[:4096]
