"""The tasks of a run in progress, and how events change them. Knows no statistics.

One array per field, and a dict from task id to place: a million tasks take 270 MB. Times are as in `requests`.
"""

from array import array
from collections.abc import Iterable
from math import isnan
from typing import Final, NamedTuple, TypeAlias, get_args

from taskdemo_cli.documents.run import TaskRow
from taskdemo_cli.recording.requests import NEVER, interned, micro, seconds
from taskdemo_server.contract.events import TaskEvent, TaskState

STATES: Final[tuple[TaskState, ...]] = get_args(TaskState)
DONE: Final[frozenset[TaskState]] = frozenset({"finished", "failed"})
"""Ends that the work itself reported; they take precedence over ends that others concluded."""
UNENDED: Final[frozenset[TaskState]] = frozenset({"accepted", "started"})
TROUBLE: Final[frozenset[TaskState]] = frozenset({"failed", "cancelled", "lost"})
Where: TypeAlias = tuple[str, int, str]
"""Host, process id and thread."""


class Step(NamedTuple):
    """A start or an end of a task's work; steps sort by time, a start before an end at the same time."""

    clock: float
    order: int
    """The index of its state in STATES."""
    where: Where
    error: str


class Tasks:
    """What the events so far say of each task, independent of their order and of duplicates.

    A task may start or end more than once: a worker was killed, or took so long that its engine gave the task to
    another one. The arrays keep its first start and the end that counts; `histories` keeps all of them.
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
        """Where the end was reported, possibly elsewhere; a history pairs starts with ends by it."""
        self.message: list[str | None] = []
        self.error: list[str | None] = []
        self.output: list[str | None] = []
        self.request = array("i")
        """The number of the request whose response named the task; 0 if none has (yet)."""
        self.histories: dict[int, set[Step]] = {}
        """All starts and ends of the tasks with more than one of either, by place."""
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
        """Update the task at the place `at` with an event that happened at `clock`.

        Events come in any order, and some twice. The effect of a start or an end depends on what is already known:

        | known         | a start comes                         | an end comes                                |
        | nothing       | started                               | ended; where it ran is the end's            |
        | a start       | the same again: nothing; else history | not before the start: ended; else history   |
        | an end        | not after it: its start; else history | the same again: nothing; else history       |
        | a history     | added to the history                  | added to the history                        |

        A history is the set of all starts and ends of one of the few tasks that ran more than once; `_settle` derives
        the task's state from it.
        """
        if event.message is not None:
            self.message[at] = interned(event.message)
        if event.cpu_s is not None:
            self.cpu[at] = micro(event.cpu_s)
        if event.queued_s is not None:
            self.queued[at] = micro(event.queued_s)
        order = STATES.index(event.state)
        state = STATES[order]
        if state == "accepted":
            if not self.accepted[at] <= clock:
                self.accepted[at] = clock
            return
        where: Where = (event.host, event.pid, event.thread)
        where = self._wheres.setdefault(where, where)
        if event.output is not None:
            self.output[at] = interned(event.output)
        error = interned(event.error)
        started, ended = self.started[at], self.ended[at]
        has_started, has_ended = not isnan(started), not isnan(ended)
        if at in self.histories:
            self.histories[at].add(Step(clock, order, where, error or ""))
            self._settle(at)
        elif state == "started" and (not has_started or started == clock) and not ended < clock:
            self.started[at] = clock
            self.where[at] = where
            if not has_ended:
                self.state[at] = state
        elif state != "started" and not has_ended and not started > clock:
            self.ended[at] = clock
            self.where_ended[at] = where
            self.state[at] = state
            self.error[at] = error
            if not has_started:
                self.where[at] = where
        elif state == "started" or (ended, self.state[at]) != (clock, state):
            self._start_history(at, Step(clock, order, where, error or ""))

    def end(self, at: int) -> float:
        """Return when the task's work ended; NaN for a lost task, whose end nobody knows."""
        return NEVER if self.state[at] == "lost" else self.ended[at]

    def runs(self, at: int) -> int:
        """Return how many times the task's work was started."""
        if at in self.histories:
            return len({step.clock for step in self.histories[at] if STATES[step.order] == "started"})
        return int(not isnan(self.started[at]))

    def work(self, at: int) -> float:
        """Return the duration of the execution that finished the task; NaN if it has not finished."""
        if self.state[at] != "finished":
            return NEVER
        if at not in self.histories:
            return self.ended[at] - self.started[at]
        return max((end - start for start, end in self._pairs(at) if end == self.ended[at]), default=NEVER)

    def executions(self, places: Iterable[int]) -> "tuple[array[float], array[float]]":
        """Return the starts and the ends of all executions of these tasks, unpaired and unordered.

        No execution is shorter than a microsecond.
        """
        starts, ends = array("d"), array("d")
        for at in places:
            pairs = self._pairs(at) if at in self.histories else ((self.started[at], self.ended[at]),)
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
        others: list[Step] = []
        for step in sorted(self.histories[at]):
            begun = running.get(step.where)
            if STATES[step.order] == "started":
                if begun is not None and begun != step.clock:
                    pairs.append((begun, begun))
                running[step.where] = step.clock
            elif STATES[step.order] in DONE and begun is not None:
                pairs.append((running.pop(step.where), step.clock))
            else:
                others.append(step)
        for step in others:  # an end reported from elsewhere belongs to the latest execution
            before = {where: begun for where, begun in running.items() if begun <= step.clock}
            if before:
                where = step.where if step.where in before else max(before, key=before.__getitem__)
                pairs.append((running.pop(where), step.clock))
        last = max((*running.values(), *(start for start, _ in pairs)), default=NEVER)
        return pairs + [(start, NEVER if start == last else start) for start in running.values()]

    def _start_history(self, at: int, step: Step) -> None:
        history = {step}
        where = self.where[at] or ("", 0, "")
        ended_where = self.where_ended[at] or where
        if not isnan(self.started[at]):
            history.add(Step(self.started[at], STATES.index("started"), where, ""))
        if not isnan(self.ended[at]):
            history.add(Step(self.ended[at], STATES.index(self.state[at]), ended_where, self.error[at] or ""))
        self.histories[at] = history
        self._settle(at)

    def _settle(self, at: int) -> None:
        history = sorted(self.histories[at])
        starts = [step for step in history if STATES[step.order] == "started"]
        ends = [step for step in history if STATES[step.order] != "started"]
        self.started[at] = starts[0].clock if starts else NEVER
        self.where[at] = (starts or ends)[-1].where
        # Of the ends since the last start: the last that the work itself reported, or else the first of the others.
        done = [step for step in ends if STATES[step.order] in DONE]
        since = [step for step in ends if not starts or step.clock >= starts[-1].clock]
        last = next((step for step in reversed(since) if step in done), since[0] if since else None)
        self.ended[at] = last.clock if last else NEVER
        self.state[at] = STATES[last.order] if last else "started"
        self.error[at] = (last.error or None) if last else None

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
