"""The tasks of a run in progress, and how events change them. Knows no statistics.

One array per field, and a dict from task id to place: a million tasks take 270 MB. Times are as in `requests`.
"""

from array import array
from collections.abc import Iterable
from math import isnan
from typing import Final, TypeAlias

from msgspec.structs import replace

from taskdemo_cli.documents.run import TaskRow
from taskdemo_cli.recording.requests import NEVER, interned, micro, seconds
from taskdemo_server.contract.events import DONE, ENDED, TaskEvent, TaskRecord, TaskState

TROUBLE: Final = ENDED - {"finished"}
Where: TypeAlias = tuple[str, int, str]
"""Host, process id and thread."""


class Tasks:
    """What the events so far say of each task, in whatever order they come.

    The arrays keep its first start and the end that counts. They are all that is needed for a task that starts and
    ends at most once; the few others have a `TaskRecord` too, from which their places in the arrays are filled.
    """

    def __init__(self) -> None:
        self.place_of: dict[str, int] = {}
        self.ids: list[str] = []
        self.accepted = array("d")
        self.started = array("d")
        self.ended = array("d")
        self.cpu = array("d")
        self.queued = array("d")
        self.state: list[TaskState] = []
        self.where: list[Where | None] = []
        self.where_ended: list[Where | None] = []
        """Where the end was reported, possibly elsewhere; `_pairs` matches starts with ends by it."""
        self.message: list[str | None] = []
        self.error: list[str | None] = []
        self.output: list[str | None] = []
        self.request = array("i")
        """The number of the request whose response named the task; 0 if none has (yet)."""
        self.records: dict[int, TaskRecord] = {}
        """All starts and ends of the tasks with more than one of either, by place; clocks as in the arrays."""
        self._wheres: dict[Where, Where] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def place(self, task_id: str) -> int:
        """Return the place of the task; a new one if the id is unknown."""
        at = self.place_of.get(task_id)
        if at is None:
            at = self.place_of[task_id] = len(self.ids)
            self.ids.append(task_id)
            self.state.append("accepted")
            self.request.append(0)
            for times in (self.accepted, self.started, self.ended, self.cpu, self.queued):
                times.append(NEVER)
            self.where.append(None)
            self.where_ended.append(None)
            for texts in (self.message, self.error, self.output):
                texts.append(None)
        return at

    def fold(self, at: int, event: TaskEvent, clock: float) -> None:
        """Update the task at the place `at` with an event that happened at `clock`."""
        if event.message is not None:
            self.message[at] = interned(event.message)
        if event.cpu_s is not None:
            self.cpu[at] = micro(event.cpu_s)
        if event.queued_s is not None:
            self.queued[at] = micro(event.queued_s)
        if event.state == "accepted":
            self.accepted[at] = clock
            return
        if event.output is not None:
            self.output[at] = interned(event.output)
        started, ended = self.started[at], self.ended[at]
        record = self.records.get(at)
        if record is None and event.state == "started" and isnan(started) and not ended < clock:
            self.started[at] = clock
            self.where[at] = self._place_of(event)
            if isnan(ended):
                self.state[at] = event.state
        elif record is None and event.state != "started" and isnan(ended) and not started > clock:
            self.ended[at] = clock
            self.where_ended[at] = self._place_of(event)
            self.state[at] = event.state
            self.error[at] = interned(event.error)
            if isnan(started):
                self.where[at] = self.where_ended[at]
        else:
            record = self.records.setdefault(at, record or self._record(at))
            record.see(replace(event, clock=clock))
            self._settle(at, record)

    def end(self, at: int) -> float:
        """Return when the task's work ended; NaN for a lost task, whose end nobody knows."""
        return NEVER if self.state[at] == "lost" else self.ended[at]

    def runs(self, at: int) -> int:
        """Return how many times the task's work was started."""
        if at in self.records:
            return len(self.records[at].starts)
        return int(not isnan(self.started[at]))

    def work(self, at: int) -> float:
        """Return the duration of the execution that finished the task; NaN if it has not finished."""
        if self.state[at] != "finished":
            return NEVER
        if at not in self.records:
            return self.ended[at] - self.started[at]
        return max((end - start for start, end in self._pairs(at) if end == self.ended[at]), default=NEVER)

    def executions(self, places: Iterable[int]) -> "tuple[array[float], array[float]]":
        """Return the starts and the ends of all executions of these tasks, unpaired and unordered.

        No execution is shorter than a microsecond.
        """
        starts, ends = array("d"), array("d")
        for at in places:
            pairs = self._pairs(at) if at in self.records else ((self.started[at], self.ended[at]),)
            for start, end in pairs:
                if not isnan(start):
                    starts.append(start)
                    if not isnan(end):
                        ends.append(max(end, start + 1))
        return starts, ends

    def _pairs(self, at: int) -> list[tuple[float, float]]:
        """Return the start and end of each execution of a task's work; an engine may run it twice at the same time.

        An end that the work itself reported belongs to the last start at the same place. An execution without a known
        end that was followed by another start may have died at any moment in between: it counts as ended when it
        started, so that concurrency is never overstated. An end without a known start is ignored.
        """
        pairs: list[tuple[float, float]] = []
        running: dict[Where, float] = {}
        others: list[TaskEvent] = []
        record = self.records[at]
        for event in sorted([*record.starts, *record.ends], key=lambda one: (one.clock, one.state != "started")):
            where = self._place_of(event)
            begun = running.get(where)
            if event.state == "started":
                if begun is not None:
                    pairs.append((begun, begun))
                running[where] = event.clock
            elif event.state in DONE and begun is not None:
                pairs.append((running.pop(where), event.clock))
            else:
                others.append(event)
        for event in others:  # an end reported from elsewhere belongs to the latest execution
            before = {where: begun for where, begun in running.items() if begun <= event.clock}
            if before:
                where = self._place_of(event)
                where = where if where in before else max(before, key=before.__getitem__)
                pairs.append((running.pop(where), event.clock))
        last = max((*running.values(), *(start for start, _ in pairs)), default=NEVER)
        return pairs + [(start, NEVER if start == last else start) for start in running.values()]

    def _place_of(self, event: TaskEvent) -> Where:
        where = event.host, event.pid, event.thread
        return self._wheres.setdefault(where, where)

    def _record(self, at: int) -> TaskRecord:
        """Return the record of a task that has started and ended at most once so far."""
        record = TaskRecord(self.ids[at], "")
        if (where := self.where[at]) is not None and not isnan(self.started[at]):
            record.see(TaskEvent(record.id, "started", 0.0, self.started[at], "", *where))
        if (where := self.where_ended[at]) is not None:
            record.see(TaskEvent(record.id, self.state[at], 0.0, self.ended[at], "", *where, error=self.error[at]))
        return record

    def _settle(self, at: int, record: TaskRecord) -> None:
        self.started[at] = min((start.clock for start in record.starts), default=NEVER)
        self.where[at] = self._place_of(max(record.starts or record.ends, key=lambda one: one.clock))
        self.ended[at] = record.end.clock if record.end else NEVER
        self.error[at] = record.end.error if record.end else None
        self.state[at] = record.state

    def row(self, at: int, base: float) -> TaskRow:
        """Return the task at this place, with times since `base`."""
        host, pid, thread = self.where[at] or (None, None, None)
        return TaskRow(
            id=self.ids[at],
            state=self.state[at],
            accepted_s=seconds(self.accepted[at] - base),
            started_s=seconds(self.started[at] - base),
            ended_s=seconds(self.end(at) - base),
            cpu_s=seconds(self.cpu[at]),
            queued_s=seconds(self.queued[at]),
            where=None if host is None else f"{host} pid {pid} {thread}",
            host=host,
            pid=pid,
            thread=thread,
            message=self.message[at],
            error=self.error[at],
            work_s=seconds(self.work(at)),
            runs=self.runs(at),
            output=self.output[at],
        )
