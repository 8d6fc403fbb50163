"""The cheap figures of a run that goes on: running counts, a median from bins, the few requests worth a row.

They cost the same at the millionth request as at the first.
"""

import heapq
import math
from array import array
from bisect import insort
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from math import isnan
from typing import Literal

from msgspec.structs import replace

from taskdemo_cli.documents.run import RequestRow, TaskRow
from taskdemo_cli.recording.requests import Requests
from taskdemo_cli.recording.tasks import STATES, UNENDED, Tasks
from taskdemo_cli.stats import MICRO, grouped, nearest_rank
from taskdemo_server.contract.events import TaskState

EXACT = 2000
"""Up to so many times the running median is exact."""
KEPT = 50
"""So many slowest, failed and newest requests, and completions, are remembered."""
LOOK = 4000
"""So many tasks are looked at to find the oldest that have not ended."""
PINGS = 1200
"""So many of the bystander's newest calls are drawn: two minutes of them."""
SILENT_S = 0.5
"""A server that lets the bystander wait for so long does not get round to sending events either."""
Why = Literal["all", "waiting", "working", "failed", "slowest", "newest"]


@dataclass(frozen=True, slots=True)
class LiveRow:
    """One request as it is now, and its task where the response has named it."""

    why: Why
    """Why this one is among the rows."""
    state: Literal["planned", "waiting", "answered", "failed"]
    request: RequestRow
    """While it waits, its `response_s` is how long it has waited so far."""
    task: TaskRow | None = None


@dataclass(frozen=True, slots=True)
class Live:
    """The cheap figures of a run that goes on."""

    follows: bool
    """Whether the server tells of tasks, and has a bystander."""
    elapsed_s: float
    """Since the first planned send; 0 before it."""
    count: int | None
    ok: int
    failed: int
    answered: int
    """Whole answers, whatever their status."""
    response_p50_s: float | None
    """Of the requests that went well; within 0.5 % where there are many responses."""
    response_max_s: float | None
    bystander_max_s: float | None
    """The longest that the bystander has waited; for an answer that has not come, so far."""
    tasks: dict[TaskState, int]
    rows: list[LiveRow]
    ended: int
    """Tasks that have ended, as far as events or answers tell."""
    pings: list[tuple[float, float]]
    """When the bystander's newest calls were sent, and answered or last known to wait."""
    silent_s: float | None
    """How long the server has answered no bystander and sent no event, where that is worth telling."""
    completions: list[tuple[int, int, TaskRow]]
    """The newest tasks that have ended, oldest first, at most 50: each with its number, 1, 2, ... in the order in which
    we heard of them, and its request's, 0 while no response has named it; as it was then, for it may be begun again."""


class RunningMedian:
    """The median of durations in microseconds, from bins of 1 % width once there are more than EXACT of them.

    Read from the bins it is off by at most 0.5 %: the idea of the HDR histogram, with logarithms.
    """

    def __init__(self) -> None:
        self.count = 0
        self._ordered: list[float] = []
        self._bins = array("Q", [0]) * 4500

    def add(self, time: float) -> None:
        """Count one duration."""
        self.count += 1
        self._bins[int(math.log(time + 1) * 100)] += 1
        if self.count <= EXACT:
            insort(self._ordered, time)

    def seconds(self) -> float | None:
        """Return the median so far; None where nothing was counted."""
        if not self.count:
            return None
        if self.count <= EXACT:
            return nearest_rank(self._ordered, 500) / MICRO
        within = accumulate(self._bins)
        place = next(place for place, count in enumerate(within) if 2 * count >= self.count)
        return (round(math.exp((place + 0.5) / 100)) - 1) / MICRO


class LiveFigures:
    """What the recorder tells as it folds, and the live figures made of it."""

    def __init__(self, requests: Requests, tasks: Tasks, *, follows: bool, waits: bool) -> None:
        self._requests = requests
        self._tasks = tasks
        self._follows = follows
        self._waits = waits
        """Whether an answer comes only when its task has ended: then it is news of that, before any event."""
        self.sent = 0
        self.in_flight: dict[int, float] = {}
        """When the oldest requests without an answer were sent, by number, in seconds."""
        self.ok = 0
        self.failed = 0
        self._answered = 0
        self._median = RunningMedian()
        self._longest: float | None = None
        self._longest_ping: float | None = None
        self.waiting_pings: list[tuple[float, float]] = []
        """When a call without an answer was sent, and how long it had waited when we last heard, in seconds."""
        self._pings: deque[tuple[float, float]] = deque(maxlen=PINGS)
        """When a call was sent and how long it took."""
        self._named = 0
        """Answers that named their task."""
        self.states: dict[TaskState, int] = dict.fromkeys(STATES, 0)
        self.heard = 0.0
        """When the latest event was that we heard of."""
        self._completed = 0
        self._completions: deque[tuple[int, int, TaskState, float]] = deque(maxlen=KEPT)
        """Number, place of the task, its state and when it came into it: it may be started again later."""
        self._slowest: list[tuple[float, int]] = []
        self._failed: deque[int] = deque(maxlen=KEPT)
        self._newest: deque[int] = deque(maxlen=KEPT)
        self._oldest_task = 0

    def answered(self, at: int) -> None:
        """Take note of the request at this place, which was just reported."""
        n = at + 1
        trouble = self._requests.trouble(at)
        if trouble is not None:
            self.failed += 1
            self._failed.append(n)
        else:
            self.ok += 1
        self._newest.append(n)
        if self._requests.task_id[at] is not None:
            self._named += 1
        response = self._requests.response(at)
        if isnan(response):
            return
        self._answered += 1
        if trouble is None:
            self._median.add(response)
            self._longest = max(self._longest or 0, response)
        if len(self._slowest) < KEPT:
            heapq.heappush(self._slowest, (response, -n))
        elif response > self._slowest[0][0]:
            heapq.heapreplace(self._slowest, (response, -n))

    def pinged(self, sent: float, response: float) -> None:
        """Take note of an answer to the bystander."""
        self._longest_ping = max(self._longest_ping or 0, response)
        self._pings.append((sent, response))

    def moved(self, at: int, before: TaskState | None) -> None:
        """Take note of the task at this place, which was in the state `before` (None: not ours so far)."""
        after = self._tasks.state[at]
        if before is not None:
            self.states[before] -= 1
        self.states[after] += 1
        if after not in UNENDED and (before is None or before in UNENDED):
            self._completed += 1
            self._completions.append((self._completed, at, after, self._tasks.ended[at]))
            if after == "failed" and self._tasks.request[at]:
                self._failed.append(self._tasks.request[at])

    def figures(self, now: float, base: float, count: int | None, rows: int) -> Live:
        """Return the figures at the moment `now` of a run whose first planned send was at `base` microseconds."""
        waits = [waited for _, waited in self.waiting_pings]
        silent = min(max(waits, default=0.0), max(now - self.heard / MICRO, 0.0))
        waits += [] if self._longest_ping is None else [self._longest_ping / MICRO]
        tasks, (counts, ended) = self._tasks, self._counts()
        return Live(
            follows=self._follows,
            elapsed_s=max(now - base / MICRO, 0.0),
            count=count,
            ok=self.ok,
            failed=self.failed,
            answered=self._answered,
            response_p50_s=self._median.seconds(),
            response_max_s=None if self._longest is None else self._longest / MICRO,
            bystander_max_s=max(waits, default=None),
            tasks=counts,
            rows=[self._row(n, why, now, base) for n, why in self._chosen(count, rows)],
            ended=ended,
            pings=[
                *(((sent - base) / MICRO, (sent + took - base) / MICRO) for sent, took in self._pings),
                *((sent - base / MICRO, sent + waited - base / MICRO) for sent, waited in self.waiting_pings),
            ],
            silent_s=silent if silent >= SILENT_S else None,
            completions=[
                (number, tasks.request[at], replace(tasks.row(at, base), state=state, ended_s=(when - base) / MICRO))
                for number, at, state, when in self._completions
            ],
        )

    def _counts(self) -> tuple[dict[TaskState, int], int]:
        """Return the tasks by state and those that have ended: where callers wait, answers tell as much as events."""
        tasks = dict(self.states)
        heard = sum(count for state, count in tasks.items() if state not in UNENDED)
        if not self._waits or self._named <= heard:
            return tasks, heard
        unheard = self._named - heard
        unended: tuple[TaskState, ...] = ("started", "accepted")
        for state in unended:
            less = min(tasks[state], unheard)
            tasks[state] -= less
            unheard -= less
        return tasks, self._named

    def _chosen(self, count: int | None, rows: int) -> list[tuple[int, Why]]:
        """Return which requests get a row: all if they fit, otherwise a share for each kind of interesting ones.

        Kinds keep their order and, while there are enough of each, their number of rows; within a kind the order
        is that of the numbers. So a row moves only when its request stops being what it was.
        """
        total = self.sent if count is None else count
        if total <= rows:
            return [(n, "all") for n in range(1, total + 1)]
        candidates: dict[Why, Iterable[int]] = {
            "waiting": self.in_flight,
            "working": self._unended(),
            "failed": reversed(self._failed),
            "slowest": (-n for _, n in sorted(self._slowest, reverse=True)),
            "newest": reversed(self._newest),
        }
        chosen: dict[int, Why] = {}
        for why, numbers in candidates.items():
            most = rows if why == "newest" else min(len(chosen) + max(rows // 5, 1), rows)
            for n in numbers:
                if len(chosen) >= most:
                    break
                chosen.setdefault(n, why)
        kinds = grouped((why, n) for n, why in chosen.items())
        return [(n, why) for why, numbers in kinds.items() for n in sorted(numbers)]

    def _unended(self) -> Iterator[int]:
        """Yield the request numbers of the tasks that were heard of first and have not ended."""
        tasks = self._tasks
        if self._waits:  # what a response has named has ended
            return
        # Tasks end in about the order in which they were heard of, so all that have ended at the front are passed for
        # good: each is looked at once in a whole run. One old task that never ends stops that; then the look ahead of
        # it is bounded by LOOK, and what is further behind is not shown, which costs a row and no time.
        while self._oldest_task < len(tasks) and tasks.state[self._oldest_task] not in UNENDED:
            self._oldest_task += 1
        for at in range(self._oldest_task, min(self._oldest_task + LOOK, len(tasks))):
            if tasks.state[at] in UNENDED and tasks.request[at]:
                yield tasks.request[at]

    def _row(self, n: int, why: Why, now: float, base: float) -> LiveRow:
        if not self._requests.is_reported(n - 1):
            if (sent := self.in_flight.get(n)) is None:
                return LiveRow(why, "planned", RequestRow(n=n))
            waiting = RequestRow(n=n, sent_s=sent - base / MICRO, response_s=max(now - sent, 0.0))
            return LiveRow(why, "waiting", waiting)
        request, tasks = self._requests.row(n - 1, base), self._tasks
        task = None if request.task_id is None else tasks.row(tasks.place_of[request.task_id], base)
        if task and self._waits and task.state in UNENDED and request.status is not None:
            # Its event is still to come; it ended when it was answered, at the latest.
            task = replace(task, state="finished" if request.error is None else "failed", ended_s=request.done_s)
        return LiveRow(why, "answered" if request.error is None else "failed", request, task)
