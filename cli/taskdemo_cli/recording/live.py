"""Cheap figures of a run in progress: running counts, a median from bins, and rows for a few requests.

They cost the same at the millionth request as at the first.
"""

import heapq
import math
from array import array
from bisect import insort
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from math import isnan
from typing import Literal, get_args

from msgspec.structs import replace

from taskdemo_cli.documents.run import RequestRow, TaskRow
from taskdemo_cli.recording.requests import Requests
from taskdemo_cli.recording.tasks import Tasks
from taskdemo_cli.stats import MICRO, grouped, nearest_rank
from taskdemo_server.contract.events import ENDED, TaskState

EXACT = 2000
"""The running median is exact up to this many durations."""
KEPT = 50
"""How many of the slowest, failed and newest requests, and of the newest completions, are kept."""
PINGS = 1200
"""How many of the bystander's newest calls are kept for drawing: two minutes of them."""
SILENT_S = 0.5
"""A server that makes the bystander wait this long is too busy to send events either."""
Why = Literal["all", "waiting", "working", "failed", "slowest", "newest"]


@dataclass(frozen=True, slots=True)
class LiveRow:
    """One request as it is now, and its task if the response named one."""

    why: Why
    """Why this request has a row."""
    state: Literal["planned", "waiting", "answered", "failed"]
    request: RequestRow
    """While it waits, `response_s` is how long it has waited so far."""
    task: TaskRow | None = None


@dataclass(frozen=True, slots=True)
class Live:
    """Cheap figures of a run in progress."""

    follows: bool
    """Whether the server reports its tasks and has a bystander."""
    elapsed_s: float
    """Since the first planned send; 0 before it."""
    count: int | None
    ok: int
    failed: int
    answered: int
    """Complete responses, whatever their status."""
    response_p50_s: float | None
    """Of the successful requests; within 0.5 % if there are many."""
    response_max_s: float | None
    bystander_max_s: float | None
    """The longest the bystander has waited, including for a response that has not come yet."""
    tasks: dict[TaskState, int]
    rows: list[LiveRow]
    ended: int
    """Tasks known to have ended, from events or responses."""
    pings: list[tuple[float, float]]
    """For the bystander's newest calls: when each was sent, and when it was answered or last known to wait."""
    silent_s: float | None
    """How long the server has answered no bystander and sent no event; None below SILENT_S."""
    completions: list[tuple[int, int, TaskRow]]
    """The newest tasks that have ended, oldest first, at most 50: (number, request, task). Numbers count completions
    from 1 in order of arrival; the request is 0 until a response names the task. A row keeps the state and time of its
    end, because the task may be started again."""


class RunningMedian:
    """The median of durations in microseconds, read from bins 1 % wide once there are more than EXACT of them.

    The bins are accurate to 0.5 %; the idea is that of the HDR histogram, with logarithms.
    """

    def __init__(self) -> None:
        self.count = 0
        self._ordered: list[float] = []
        self._bins = array("Q", [0]) * 4500

    def add(self, time: float) -> None:
        """Add one duration, in microseconds."""
        self.count += 1
        self._bins[int(math.log(time + 1) * 100)] += 1
        if self.count <= EXACT:
            insort(self._ordered, time)

    def seconds(self) -> float | None:
        """Return the median so far, in seconds; None without any durations."""
        if not self.count:
            return None
        if self.count <= EXACT:
            return nearest_rank(self._ordered, 500) / MICRO
        within = accumulate(self._bins)
        place = next(place for place, count in enumerate(within) if 2 * count >= self.count)
        return (round(math.exp((place + 0.5) / 100)) - 1) / MICRO


class LiveFigures:
    """Collects what the recorder folds, and computes the live figures from it."""

    def __init__(self, requests: Requests, tasks: Tasks, *, follows: bool, waits: bool) -> None:
        self._requests = requests
        self._tasks = tasks
        self._follows = follows
        self._waits = waits
        """Whether a response comes only after its task has ended, and so reports that before any event does."""
        self.sent = 0
        self.in_flight: dict[int, float] = {}
        """When the oldest unanswered requests were sent, in seconds, by number."""
        self.ok = 0
        self.failed = 0
        self._answered = 0
        self._median = RunningMedian()
        self._longest: float | None = None
        self._longest_ping: float | None = None
        self.waiting_pings: list[tuple[float, float]] = []
        """For each unanswered call: when it was sent, and how long it had waited at the last report, in seconds."""
        self._pings: deque[tuple[float, float]] = deque(maxlen=PINGS)
        """For each answered call: when it was sent and how long it took, in microseconds."""
        self._named = 0
        """Responses that named their task."""
        self.states: dict[TaskState, int] = dict.fromkeys(get_args(TaskState), 0)
        self.unended: dict[int, None] = {}
        """The places of the tasks that have not ended, in the order in which they became known."""
        self.heard = 0.0
        """When the latest known event happened, in microseconds."""
        self._completed = 0
        self._completions: deque[tuple[int, int, TaskState, float]] = deque(maxlen=KEPT)
        """Number, place of the task, its end state and time; kept because it may be started again."""
        self._slowest: list[tuple[float, int]] = []
        self._failed: deque[int] = deque(maxlen=KEPT)
        self._newest: deque[int] = deque(maxlen=KEPT)

    def answered(self, at: int) -> None:
        """Count the request at this place, which was just reported."""
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
        """Count a response to the bystander; times in microseconds."""
        self._longest_ping = max(self._longest_ping or 0, response)
        self._pings.append((sent, response))

    def moved(self, at: int, before: TaskState | None) -> None:
        """Count the new state of the task at this place; `before` is None if it did not belong to the run so far."""
        after = self._tasks.state[at]
        if before is not None:
            self.states[before] -= 1
        self.states[after] += 1
        if after not in ENDED:
            self.unended[at] = None
        elif before not in ENDED:
            self.unended.pop(at, None)
            self._completed += 1
            self._completions.append((self._completed, at, after, self._tasks.ended[at]))
            if after == "failed" and self._tasks.request[at]:
                self._failed.append(self._tasks.request[at])

    def figures(self, now: float, base: float, count: int | None, rows: int) -> Live:
        """Return the figures at `now` (seconds) of a run whose first request was planned for `base` (microseconds)."""
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
        """Return how many tasks are in each state and how many have ended; if callers wait, responses count too."""
        tasks = dict(self.states)
        heard = sum(count for state, count in tasks.items() if state in ENDED)
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

        Each kind has a fixed place and, if there are enough requests, a fixed number of rows, ordered by request
        number. So a row moves only when its request changes kind.
        """
        total = self.sent if count is None else count
        if total <= rows:
            return [(n, "all") for n in range(1, total + 1)]
        candidates: dict[Why, Iterable[int]] = {
            "waiting": self.in_flight,
            "working": () if self._waits else filter(None, map(self._tasks.request.__getitem__, self.unended)),
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

    def _row(self, n: int, why: Why, now: float, base: float) -> LiveRow:
        if not self._requests.is_reported(n - 1):
            if (sent := self.in_flight.get(n)) is None:
                return LiveRow(why, "planned", RequestRow(n=n))
            waiting = RequestRow(n=n, sent_s=sent - base / MICRO, response_s=max(now - sent, 0.0))
            return LiveRow(why, "waiting", waiting)
        request, tasks = self._requests.row(n - 1, base), self._tasks
        task = None if request.task_id is None else tasks.row(tasks.place_of[request.task_id], base)
        if task and self._waits and task.state not in ENDED and request.status is not None:
            # Its event has not arrived yet; it ended no later than the response.
            task = replace(task, state="finished" if request.error is None else "failed", ended_s=request.done_s)
        return LiveRow(why, "answered" if request.error is None else "failed", request, task)
