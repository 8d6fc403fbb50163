"""Reads a run that has ended: its rows, and every figure of it.

Pure: no I/O and no clock.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from msgspec.structs import replace

from taskdemo_cli.documents.rows import Rows
from taskdemo_cli.documents.types import (
    BystanderRow,
    Client,
    RequestCounts,
    RequestRow,
    RunDocument,
    Summary,
    TaskCounts,
    TaskRow,
)
from taskdemo_cli.loadgen.protocol import Done
from taskdemo_cli.recording.columns import (
    ACCEPTED,
    LOST,
    NO_TEXT,
    NONE,
    STARTED,
    STATES,
    RequestColumns,
    TaskColumns,
    Texts,
    micro,
)
from taskdemo_cli.stats import MICRO, Statistics, describe, histogram, most_at_once

TRUSTED_SHARE: Final = 0.10
"""Up to this share of the median response may be the client's own, or the figures are not the server's."""
BUSY_SHARE: Final = 0.95
"""A load process that used so much of a core set the pace itself."""
CLEAR_SHARE: Final = 50
"""A moment is clear of a work's start and end if it is a fiftieth of a median work away."""
LATE_SHARE: Final = 4
"""An answer is late if it took a quarter of a median work."""


def trusted(overhead_s: float | None, median_s: float | None, cpu_share: float | None = None) -> bool | None:
    """Say whether the client's own part in the figures is small enough; None where it is not known.

    It is too large where it is a good part of the median response, and where the load process had no time to spare.
    """
    if cpu_share is not None and cpu_share >= BUSY_SHARE:
        return False
    if overhead_s is None or median_s is None:
        return None
    return overhead_s <= TRUSTED_SHARE * median_s


def doubted(run: RunDocument, overhead_s: float | None) -> RunDocument:
    """Return the run with what a response costs the client itself, in seconds, and whether to trust its figures."""
    response, client = run.summary.response_s, run.summary.client
    client = replace(
        client, overhead_s=overhead_s, trusted=trusted(overhead_s, response.p50 if response else None, client.cpu_share)
    )
    return replace(run, summary=replace(run.summary, client=client))


class Record:
    """The columns of a run that has ended, and what they are to be read by."""

    def __init__(
        self, requests: RequestColumns, tasks: TaskColumns, texts: Texts, base: int, server_gone: bool
    ) -> None:
        self.requests = requests
        self.tasks = tasks
        self.texts = texts
        self.base = base
        self.server_gone = server_gone

    def state(self, task: int) -> int:
        """Return the code of the task's final state."""
        code = self.tasks.state[task]
        return LOST if self.server_gone and code <= STARTED else code

    def ended(self, task: int) -> int:
        """Return when the task's work ended; NONE for one that did not."""
        return self.tasks.ended[task] if self.tasks.state[task] not in (ACCEPTED, STARTED, LOST) else NONE

    def text(self, number: int) -> str | None:
        """Return the text with this number, if it is one."""
        return None if number == NO_TEXT else self.texts[number]


class RequestRows(Rows[RequestRow]):
    """The requests at these places, as rows."""

    def __init__(self, record: Record, places: "array[int]") -> None:
        self._record = record
        self.places = places

    def __len__(self) -> int:
        return len(self.places)

    def make(self, at: int) -> RequestRow:
        """Make the row at the place `at` among them."""
        record, requests, place = self._record, self._record.requests, self.places[at]
        task = requests.task[place]
        return RequestRow(
            n=place + 1,
            task_id=record.tasks.ids[task] if task >= 0 else None,
            status=requests.status[place] if requests.status[place] >= 0 else None,
            error=requests.error_text(place, record.texts),
            planned_s=offset(requests.planned[place], record.base),
            sent_s=offset(requests.sent[place], record.base),
            first_byte_s=offset(requests.first_byte[place], record.base),
            done_s=offset(requests.done[place], record.base),
            response_s=seconds(requests.response(place)),
        )


class TaskRows(Rows[TaskRow]):
    """The tasks at these places, as rows."""

    def __init__(self, record: Record, places: "array[int]") -> None:
        self._record = record
        self.places = places

    def __len__(self) -> int:
        return len(self.places)

    def make(self, at: int) -> TaskRow:
        """Make the row at the place `at` among them."""
        record, tasks, place = self._record, self._record.tasks, self.places[at]
        return TaskRow(
            id=tasks.ids[place],
            state=STATES[record.state(place)],
            accepted_s=offset(tasks.accepted[place], record.base),
            started_s=offset(tasks.started[place], record.base),
            ended_s=offset(record.ended(place), record.base),
            cpu_s=None if tasks.cpu[place] == NONE else tasks.cpu[place] / 1e6,
            where=record.text(tasks.where[place]),
            message=record.text(tasks.message[place]),
            error=record.text(tasks.error[place]),
            runs=tasks.runs(place),
            output=record.text(tasks.output[place]),
        )


def summarise(
    record: Record,
    requests: Sequence[int],
    tasks: Sequence[int],
    bystander: Sequence[BystanderRow],
    done: Done,
    rate: float | None,
) -> Summary:
    """Return every figure of a run, of the requests and tasks at these places.

    `done`: what the load process said at the end. `rate`: requests per second, where the plan was a rate.
    """
    columns, books = record.requests, record.tasks
    responses = sorted(_measured(columns.response(at) for at in requests))
    response_s = describe(responses)
    bins = histogram(responses)
    answered = len(responses)
    del responses
    errors = Counter(error for at in requests if (error := columns.error_text(at, record.texts)) is not None)
    wall = _wall(record, requests, done)
    work_s = describe(_between(books.started[at], record.ended(at)) for at in tasks if _has_worked(record, at))
    return Summary(
        response_s=response_s,
        corrected_s=None if rate is None else describe(_measured(_corrected(columns, at) for at in requests)),
        completion_s=describe(_measured(_completion(record, at) for at in requests)),
        bystander_s=responses_of(bystander),
        wait_s=describe(_measured(_between(columns.planned[at], columns.sent[at]) for at in requests)),
        first_byte_s=describe(_measured(_between(columns.sent[at], columns.first_byte[at]) for at in requests)),
        transfer_s=describe(_measured(_between(columns.first_byte[at], columns.done[at]) for at in requests)),
        queue_s=describe(_measured(_between(books.accepted[at], books.started[at]) for at in tasks)),
        work_s=work_s,
        histogram=bins,
        requests=RequestCounts(
            ok=len(requests) - errors.total(),
            failed=errors.total(),
            errors=dict(errors.most_common()),
        ),
        tasks=_task_counts(record, requests, tasks, round(work_s.p50 * MICRO) if work_s else 0),
        wall_s=wall / MICRO,
        requests_per_s=round(answered * MICRO / wall, 3) if wall > 0 else 0.0,
        client=Client(
            cpu_share=done.cpu_share,
            loop_lag_p99_s=done.loop_lag_p99,
            overhead_s=None,
            trusted=trusted(None, None, done.cpu_share),
        ),
    )


def responses_of(rows: Iterable[BystanderRow]) -> Statistics | None:
    """Return what the response times of these rows come to, in seconds; None where there is none."""
    return describe(round(row.response_s * MICRO) for row in rows if row.response_s is not None)


def _task_counts(record: Record, requests: Sequence[int], tasks: Sequence[int], work: int) -> TaskCounts:
    states = Counter(STATES[record.state(at)] for at in tasks)
    starts, ends = (array("q", sorted(times)) for times in record.tasks.executions(tasks))
    before_end = after_end = held_up = 0
    clear = work // CLEAR_SHARE
    for at in requests:
        task = record.requests.task[at]
        response, answered = record.requests.response(at), record.requests.done[at]
        if task < 0 or response == NONE:
            continue
        if NONE < record.ended(task) <= answered:
            after_end += 1
            continue
        if record.state(task) in (ACCEPTED, STARTED):
            continue  # It may have ended long ago: a loop that is held sends no word of it.
        before_end += 1
        if work and response * LATE_SHARE >= work:
            running = bisect_left(starts, answered - clear) - bisect_right(ends, answered + clear)
            held_up += running <= 0
    last = max((record.ended(at) for at in tasks), default=NONE)
    return TaskCounts(
        accepted=len(tasks),
        finished=states["finished"],
        failed=states["failed"],
        cancelled=states["cancelled"],
        lost=states["lost"],
        unfinished=states["accepted"] + states["started"],
        max_parallel=most_at_once(starts, ends),
        last_ended_s=offset(last, record.base),
        answered_before_end=before_end,
        answered_after_end=after_end,
        held_up=held_up,
    )


def _has_worked(record: Record, task: int) -> bool:
    return record.tasks.started[task] != NONE and record.ended(task) != NONE


def _corrected(columns: RequestColumns, at: int) -> int:
    return _between(columns.planned[at], columns.done[at]) if columns.status[at] >= 0 else NONE


def _completion(record: Record, at: int) -> int:
    task = record.requests.task[at]
    return _between(record.requests.sent[at], record.ended(task)) if task >= 0 else NONE


def _wall(record: Record, requests: Sequence[int], done: Done) -> int:
    """Return the microseconds from the first planned send to the end of the last request.

    That is the last byte of all, unless a request never got one: then only the load process knows.
    """
    ends = record.requests.done
    last = max((ends[at] for at in requests), default=NONE)
    measured = max(last - record.base, 0) if last != NONE else 0
    complete = all(ends[at] != NONE for at in requests)
    return measured if complete and last != NONE else max(measured, micro(done.wall))


def _between(start: int, end: int) -> int:
    return NONE if start == NONE or end == NONE else end - start


def _measured(times: Iterable[int]) -> Iterator[int]:
    return (time for time in times if time != NONE)


def offset(time: int, base: int) -> float | None:
    """Return the seconds from `base` to `time`, both in microseconds; None for a time that there is not."""
    return None if time == NONE else (time - base) / MICRO


def seconds(duration: int) -> float | None:
    """Return so many microseconds as seconds; None for a time that there is not."""
    return None if duration == NONE else duration / MICRO
