"""Computes the summary of a run that has ended.

Pure: no I/O and no clock.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, filterfalse, islice
from math import inf, isnan
from operator import le
from typing import Final

from msgspec import UNSET
from msgspec.structs import replace

from taskdemo_cli.documents.run import Client, RequestCounts, RequestRow, RunDocument, Summary, TaskCounts
from taskdemo_cli.loadgen.protocol import Done
from taskdemo_cli.recording.requests import NEVER, Requests, micro, seconds
from taskdemo_cli.recording.tasks import Tasks
from taskdemo_cli.stats import MICRO, Statistics, describe, histogram, most_at_once
from taskdemo_server.contract.events import ENDED

TRUSTED_SHARE: Final = 0.10
"""The client's own share of the median response time must not exceed this, or the figures are not the server's."""
BUSY_SHARE: Final = 0.95
"""A load process that used this much of a core set the pace itself."""
STOOD_STILL_S: Final = 0.5
"""An event loop of the load process that was late by this much stood still: a busy machine delays it by less."""
CLEAR_SHARE: Final = 50
"""A moment is clear of a start or an end of work if it is 1/50 of the median work time away."""
MOST_OF_IT: Final = 0.5
"""A response waited for work if work ran during at least this share of it."""
LATE_SHARE: Final = 4
"""A response is late if it took 1/4 of the median work time or more."""


def trusted(
    overhead_s: float | None, median_s: float | None, cpu_share: float | None = None, loop_lag_s: float | None = None
) -> bool | None:
    """Return whether the client's own share of the figures is small enough; None if that is not known.

    It is too large if it exceeds TRUSTED_SHARE of the median response time or if the load process used up its core or
    stood still.
    """
    if (cpu_share is not None and cpu_share >= BUSY_SHARE) or stood_still(loop_lag_s, median_s):
        return False
    if overhead_s is None or median_s is None:
        return None
    return overhead_s <= TRUSTED_SHARE * median_s


def stood_still(loop_lag_s: float | None, median_s: float | None) -> bool:
    """Return whether the load process stood still, as one that was stopped, for longer than most answers took."""
    return loop_lag_s is not None and median_s is not None and loop_lag_s >= max(STOOD_STILL_S, median_s)


def doubted(run: RunDocument, overhead_s: float | None) -> RunDocument:
    """Return the run with the client's own share of a response, in seconds, and whether its figures can be trusted."""
    response, client = run.summary.response_s, run.summary.client
    median_s = response.p50 if response else None
    is_trusted = trusted(overhead_s, median_s, client.cpu_share, client.loop_lag_p99_s)
    client = replace(client, overhead_s=overhead_s, trusted=is_trusted)
    return replace(run, summary=replace(run.summary, client=client))


@dataclass(frozen=True, slots=True)
class Record:
    """What was recorded of a run that has ended, and the places of its requests and tasks, in order."""

    requests: Requests
    tasks: Tasks
    of_requests: Sequence[int]
    of_tasks: Sequence[int]
    base: float
    """The first planned send, in microseconds."""

    def task_of(self, request: int) -> int | None:
        """Return the place of the task that the response to the request at this place named; None if none."""
        task_id = self.requests.task_id[request]
        return None if task_id is None else self.tasks.place_of[task_id]


def summarise(record: Record, bystander: Sequence[RequestRow], done: Done, rate: float | None) -> Summary:
    """Return all figures of a run.

    `done`: the load process's last frame. `rate`: requests per second of an open loop, otherwise None.
    """
    requests, tasks = record.requests, record.tasks
    planned, sent, first_byte, ended = requests.planned, requests.sent, requests.first_byte, requests.done
    errors = Counter(error for at in record.of_requests if (error := requests.trouble(at)) is not None)
    statuses = Counter(str(requests.status[at]) for at in record.of_requests if requests.is_answered(at))
    well = [at for at in record.of_requests if requests.trouble(at) is None]
    failed = (at for at in record.of_requests if requests.trouble(at) is not None) if errors else ()
    responses = sorted(_measured(map(requests.response, well)))
    failed_s = describe(_measured(map(requests.response, failed)))
    response_s = describe(responses)
    answered = len(responses) + (failed_s.count if failed_s else 0)
    wall = _wall(record, done)
    work_s = describe(_measured(map(tasks.work, record.of_tasks)))
    return Summary(
        response_s=response_s,
        failed_s=failed_s,
        corrected_s=response_s if rate else None,
        completion_s=describe(_measured(_completion(record, at) for at in record.of_requests)),
        bystander_s=bystander_statistics(bystander),
        wait_s=describe(_measured(sent[at] - planned[at] for at in record.of_requests)),
        first_byte_s=describe(_measured(first_byte[at] - sent[at] for at in record.of_requests)),
        transfer_s=describe(_measured(ended[at] - first_byte[at] for at in record.of_requests)),
        queue_s=describe(_measured(tasks.started[at] - tasks.accepted[at] for at in record.of_tasks)),
        work_s=work_s,
        work_cpu_share=_cpu_share(record),
        histogram=histogram(responses),
        requests=RequestCounts(
            ok=len(record.of_requests) - errors.total(),
            failed=errors.total(),
            errors=dict(errors.most_common()),
            reasons=_reasons(record) or UNSET,
            statuses=dict(statuses.most_common()),
            bytes=done.body_bytes,
        ),
        tasks=_task_counts(record, work_s.p50 * MICRO if work_s else 0.0),
        wall_s=wall / MICRO,
        requests_per_s=round(answered * MICRO / wall, 3) if wall > 0 else 0.0,
        client=Client(
            cpu_share=done.cpu_share,
            loop_lag_p99_s=done.loop_lag_p99,
            trusted=trusted(None, response_s.p50 if response_s else None, done.cpu_share, done.loop_lag_p99),
        ),
    )


def waits_of(calls: Iterable[RequestRow]) -> Iterator[tuple[float, bool]]:
    """Yield how long each call of a bystander waited, in seconds, and whether it was answered.

    An unanswered call counts with its wait until the run was over or its connection broke, which is a lower bound.
    """
    for call in calls:
        if call.response_s is not None:
            yield call.response_s, True
        elif call.sent_s is not None and call.done_s is not None:
            yield call.done_s - call.sent_s, False


def bystander_statistics(calls: Iterable[RequestRow]) -> Statistics | None:
    """Return the statistics of these calls' waits, in seconds; None if there are none."""
    return describe(round(wait * MICRO) for wait, _ in waits_of(calls))


class Busy:
    """When any work ran, from all starts and all ends, both ascending; each end comes after its start."""

    def __init__(self, starts: Sequence[float], ends: Sequence[float]) -> None:
        # When all work begun so far has ended, nothing runs until the next start.
        pauses = [(end, start) for end, start in zip(ends, starts[1:], strict=False) if end <= start]
        self._from = [*starts[:1], *(start for _, start in pauses)]
        self._until = [*(end for end, _ in pauses), ends[-1] if ends and len(ends) == len(starts) else inf]
        lengths = (until - begun for begun, until in zip(self._from, self._until, strict=False))
        self._before = [0.0, *accumulate(lengths)]
        """How long work had run before each busy stretch, and in total."""

    def share(self, start: float, end: float) -> float:
        """Return the share of this time, from 0 to 1, during which work ran."""
        return (self._ran(end) - self._ran(start)) / max(end - start, 1.0)

    def _ran(self, until: float) -> float:
        at = bisect_right(self._from, until)
        return 0.0 if not at else self._before[at - 1] + min(until, self._until[at - 1]) - self._from[at - 1]


def _of_event_loops(record: Record) -> Busy:
    """Return when an event loop did work; empty if any overlapped, because the event loop then awaited it."""
    tasks = record.tasks
    on_loop = [at for at in record.of_tasks if (where := tasks.where[at]) and where[2] == "event loop"]
    starts, ends = (array("d", sorted(times)) for times in tasks.executions(on_loop))
    apart = len(ends) <= len(starts) and all(map(le, ends, islice(starts, 1, None)))
    return Busy(starts, ends) if apart else Busy((), ())


def _cpu_share(record: Record) -> float | None:
    """Return the share of its time, at most 1, that the work of finished tasks spent computing; None if not known.

    Time spent queueing for a processor is excluded: it is neither computing nor the work's own waiting.
    """
    tasks = record.tasks
    known = [at for at in record.of_tasks if tasks.state[at] == "finished" and not isnan(tasks.cpu[at])]
    computed = sum(tasks.cpu[at] for at in known)
    queued = sum(_measured(tasks.queued[at] for at in known))
    took = max(sum(_measured(map(tasks.work, known))) - queued, computed)
    return computed / took if took > 0 else None


def _task_counts(record: Record, work: float) -> TaskCounts:
    """Return how the run's tasks ended, and how many requests were answered before and after their tasks ended.

    `work` is the median work time in microseconds. A caller was held up if its response was late (LATE_SHARE), an
    event loop did other work during most of it (MOST_OF_IT), and it came when no work was running.
    """
    requests, tasks = record.requests, record.tasks
    states = Counter(tasks.state[at] for at in record.of_tasks)
    starts, ends = (array("d", sorted(times)) for times in tasks.executions(record.of_tasks))
    busy, loops = Busy(starts, ends), _of_event_loops(record)
    before_end = after_end = held_up = waited = 0
    clear = work // CLEAR_SHARE
    for at in record.of_requests:
        task, response, answered = record.task_of(at), requests.response(at), requests.done[at]
        if task is None or isnan(response):
            continue
        if tasks.end(task) <= answered:
            after_end += 1
            waited += busy.share(answered - response, answered) >= MOST_OF_IT
            continue
        if tasks.state[task] not in ENDED:
            continue  # it may have ended long ago: a blocked event loop reports nothing
        before_end += 1
        if work and response * LATE_SHARE >= work and loops.share(answered - response, answered) >= MOST_OF_IT:
            # How much work ran when the response came, without pairing starts with ends: the number started before it
            # less the number ended. `clear` reduces that from both sides, so work that started or ended at about the
            # same moment does not count as running.
            running = bisect_left(starts, answered - clear) - bisect_right(ends, answered + clear)
            held_up += running <= 0
    return TaskCounts(
        accepted=len(record.of_tasks),
        finished=states["finished"],
        failed=states["failed"],
        cancelled=states["cancelled"],
        lost=states["lost"],
        unfinished=states["accepted"] + states["started"],
        begun=len(starts),
        max_parallel=most_at_once(starts, ends),
        last_ended_s=seconds(max(_measured(map(tasks.end, record.of_tasks)), default=NEVER) - record.base),
        answered_before_end=before_end,
        answered_after_end=after_end,
        waited_for_work=waited,
        held_up=held_up,
    )


def _reasons(record: Record) -> dict[str, dict[str, int]]:
    requests = record.requests
    known = Counter((requests.error[at], requests.reason[at]) for at in record.of_requests if requests.reason[at])
    reasons: dict[str, dict[str, int]] = {}
    for (kind, reason), count in known.most_common():
        reasons.setdefault(str(kind), {})[str(reason)] = count
    return reasons


def _completion(record: Record, at: int) -> float:
    task = record.task_of(at)
    if task is None or record.tasks.state[task] != "finished":
        return NEVER
    return record.tasks.end(task) - record.requests.begun(at)


def _wall(record: Record, done: Done) -> float:
    """Return the microseconds from the first planned send to the end of the last request (of the run if none)."""
    ends = (record.requests.done[at] for at in record.of_requests)
    return max(ends, default=record.base + micro(done.wall)) - record.base


def _measured(times: Iterable[float]) -> Iterator[float]:
    return filterfalse(isnan, times)


EMPTY: Final = summarise(Record(Requests(), Tasks(), (), (), 0.0), (), Done(), None)
"""The summary of a run of which nothing has been recorded."""
