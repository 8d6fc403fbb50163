"""Folds what the load process, the bystander and the journal report into one record, and makes the documents of it.

Pure: no I/O and no clock. News may come in any order and more than once; the record is the same in the end.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from taskdemo_cli.columns import (
    ACCEPTED,
    CODE_OF,
    LOST,
    NO_TEXT,
    NONE,
    STARTED,
    STATES,
    RequestColumns,
    Sample,
    TaskColumns,
    Texts,
    micro,
)
from taskdemo_cli.documents import (
    BystanderRow,
    Live,
    RequestRow,
    RunDocument,
    RunFacts,
    Statistics,
    Summary,
    TaskCounts,
    TaskRow,
)
from taskdemo_cli.glance import Glance
from taskdemo_cli.rows import Rows
from taskdemo_cli.statistics import MICRO, describe, histogram, most_at_once
from taskdemo_server.events import VERSION, TaskEvent

TRUSTED_SHARE: Final = 0.10
"""Up to this share of the median response may be the client's own, or the figures are not the server's."""
BUSY_SHARE: Final = 0.95
"""A load process that used so much of a core set the pace itself."""
CLEAR_SHARE: Final = 50
"""A moment is clear of a work's start and end if it is a fiftieth of a median work away."""
LATE_SHARE: Final = 4
"""An answer is late if it took a quarter of a median work."""

BROKEN: Final = frozenset({"ConnectError", "ReadError", "RemoteProtocolError", "WriteError"})
"""What requests end with when their server does."""


def trusted(overhead_s: float | None, median_s: float | None, cpu_share: float | None = None) -> bool | None:
    """Say whether the client's own part in the figures is small enough; None where it is not known.

    It is too large where it is a good part of the median response, and where the load process had no time to spare.
    """
    if cpu_share is not None and cpu_share >= BUSY_SHARE:
        return False
    if overhead_s is None or median_s is None:
        return None
    return overhead_s <= TRUSTED_SHARE * median_s


class Recorder:
    """The record of one run while it goes on.

    `private`: the server serves this run alone, so every event is of this run; otherwise only those of tasks that
    a response has named. `follows`: whether the task ids in responses mean anything to us. `waits`: an answer comes
    only when its task has ended. `clock_offset`: seconds that the clock of the events is ahead of the load process's.
    `count`: how many requests were asked for.
    """

    def __init__(
        self,
        *,
        private: bool,
        clock_offset: float = 0.0,
        count: int | None = None,
        follows: bool = True,
        waits: bool = False,
    ) -> None:
        self.private = private
        self.count = count
        self.follows = follows
        self.t0: float | None = None
        """The first planned send, on the client's monotonic clock."""
        self.done: dict[str, Any] | None = None
        """What the load process said at the end of the run."""
        self._offset = clock_offset
        self._texts = Texts()
        self._requests = RequestColumns()
        self._tasks = TaskColumns()
        self._bystander = RequestColumns()
        self._bystander_threads = RequestColumns()
        self._glance = Glance(self._requests, self._tasks, self._texts, waits=waits)

    @property
    def unended(self) -> int:
        """Tasks of this run that have been accepted and have not ended, as far as we heard."""
        return self._glance.states[ACCEPTED] + self._glance.states[STARTED]

    @property
    def reported(self) -> int:
        """Requests whose end was reported."""
        return self._requests.reported

    @property
    def broken_off(self) -> bool:
        """Whether a connection broke, or could not be opened: the server may have ended."""
        return not BROKEN.isdisjoint(self._requests.errors(self._texts))

    def load(self, frame: Mapping[str, Any]) -> None:
        """Fold one frame of the load process; kinds that say nothing of the run are ignored."""
        match frame["kind"]:
            case "started":
                self.t0 = frame["t0"]
            case "batch":
                for sample in frame["samples"]:
                    self._add(sample)
                self._glance.in_flight = list(frame["in_flight"])
                self._glance.sent = frame["sent"]
            case "done":
                self.done = dict(frame)
                self._glance.in_flight = []

    def bystander(self, frame: Mapping[str, Any]) -> None:
        """Fold one frame of the bystander's process."""
        match frame["kind"]:
            case "batch":
                for sample in frame["samples"]:
                    at = self._bystander.add(sample, self._texts)
                    if at >= 0 and (response := self._bystander.response(at)) != NONE:
                        self._glance.pinged(self._bystander.sent[at], response)
                self._glance.bystander_in_flight = list(frame["in_flight"])
            case "done":
                self._glance.bystander_in_flight = []

    def bystander_threads(self, frame: Mapping[str, Any]) -> None:
        """Fold one frame of the second bystander's process, whom worker threads answer."""
        if frame["kind"] == "batch":
            for sample in frame["samples"]:
                self._bystander_threads.add(sample, self._texts)

    def event(self, event: TaskEvent) -> None:
        """Fold one event of the journal; one in a state that we do not know is ignored."""
        if event.state not in CODE_OF:
            return
        tasks = self._tasks
        known = len(tasks)
        at = tasks.place_of(event.id)
        before = tasks.state[at] if at < known else None
        moment = micro(event.clock - self._offset)
        tasks.fold(at, event, moment, self._texts)
        self._glance.heard = max(self._glance.heard, moment)
        if self.private or tasks.request[at]:
            self._glance.moved(at, before)

    def live(self, now: float, rows: int) -> Live:
        """Return the figures at the moment `now` (the client's monotonic clock), with at most `rows` rows."""
        base = micro(now if self.t0 is None else self.t0)
        return self._glance.figures(now, base, self.count, rows)

    def document(
        self,
        facts: RunFacts,
        *,
        interrupted: bool = False,
        timed_out: bool = False,
        server_gone: bool = False,
        ended_because: str | None = None,
        overhead_s: float | None = None,
    ) -> RunDocument:
        """Return the run as it is recorded now. Its rows are made when they are looked at: fold nothing afterwards.

        `server_gone`: the server is known to have ended, so that tasks that have not are lost. `overhead_s`: what a
        response costs the client itself at this concurrency, in seconds.
        """
        base = self._base()
        done = self.done or {}
        record = _Record(self._requests, self._tasks, self._texts, base, server_gone)
        requests = _RequestRows(record, array("i", self._requests.present()))
        tasks = _TaskRows(record, self._task_places() if self.follows else array("i"))
        bystander = list(self._bystander_rows(self._bystander, base))
        document: RunDocument = {
            "taskdemo": VERSION,
            "kind": "run",
            "mode": facts.get("mode"),
            "url": facts.get("url", ""),
            "path": facts.get("path", "/"),
            "method": facts.get("method", "GET"),
            "work": facts.get("work"),
            "duration_s": facts.get("duration_s"),
            "count": facts.get("count"),
            "for_s": facts.get("for_s"),
            "concurrency": facts.get("concurrency"),
            "rate": facts.get("rate"),
            "message": facts.get("message"),
            "round": facts.get("round", 1),
            "started_at": facts.get("started_at", ""),
            "interrupted": interrupted,
            "timed_out": timed_out,
            "ended_because": ended_because,
            "transport": done.get("transport"),
            "not_sent": done.get("not_sent", 0),
            "late_sends": done.get("late", 0),
            "unreported": max(self._glance.sent - self._requests.reported, 0),
            "command": facts.get("command", ""),
            "environment": facts.get("environment", {}),
            "summary": _summary(record, requests.places, tasks.places, bystander, done, facts.get("rate"), overhead_s),
            "requests": requests,
            "tasks": tasks,
            "bystander": bystander,
        }
        if (own_work := facts.get("own_work")) is not None:
            document["own_work"] = own_work
        if (app := facts.get("app")) is not None:
            document["app"] = app
            document["bystander_threads"] = list(self._bystander_rows(self._bystander_threads, base))
            document["summary"]["bystander_threads_s"] = _responses(document["bystander_threads"])
        return document

    def _add(self, sample: Sample) -> None:
        at = self._requests.add(sample, self._texts)
        if at < 0:
            return
        task_id = sample[7]
        if task_id is not None and self.follows:
            self._name(at, task_id)
        self._glance.answered(at, self._requests.error_text(at, self._texts))

    def _name(self, at: int, task_id: str) -> None:
        """Note that the response to the request at the place `at` named this task."""
        tasks = self._tasks
        known = len(tasks)
        task = tasks.place_of(task_id)
        counted = task < known if self.private else tasks.request[task] != 0
        self._requests.task[at] = task
        if tasks.request[task] == 0:
            tasks.request[task] = at + 1
        if not counted:
            self._glance.moved(task, None)

    def _task_places(self) -> "array[int]":
        """Return where the tasks of this run are: by their requests' numbers, then those that no response named."""
        tasks, requests = self._tasks, self._requests
        places = array("i")
        for at in requests.present():
            task = requests.task[at]
            if task >= 0 and tasks.request[task] == at + 1:
                places.append(task)
        if self.private and len(places) < len(tasks):
            unnamed = [task for task, n in enumerate(tasks.request) if n == 0]
            unnamed.sort(key=lambda task: (tasks.accepted[task], tasks.ids[task]))
            places.extend(unnamed)
        return places

    def _bystander_rows(self, columns: RequestColumns, base: int) -> Iterator[BystanderRow]:
        for at in columns.present():
            if NONE < columns.done[at] < base:  # before the burst
                continue
            yield {
                "sent_s": _offset(columns.sent[at], base),
                "done_s": _offset(columns.done[at], base),
                "response_s": _seconds(columns.response(at)),
                "status": columns.status[at] if columns.status[at] >= 0 else None,
                "error": columns.error_text(at, self._texts),
            }

    def _base(self) -> int:
        if self.t0 is not None:
            return micro(self.t0)
        return min((sent for sent in self._requests.sent if sent != NONE), default=0)


class _Record:
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


class _RequestRows(Rows[RequestRow]):
    def __init__(self, record: _Record, places: "array[int]") -> None:
        self._record = record
        self.places = places

    def __len__(self) -> int:
        return len(self.places)

    def make(self, at: int) -> RequestRow:
        record, requests, place = self._record, self._record.requests, self.places[at]
        task = requests.task[place]
        return {
            "n": place + 1,
            "task_id": record.tasks.ids[task] if task >= 0 else None,
            "status": requests.status[place] if requests.status[place] >= 0 else None,
            "error": requests.error_text(place, record.texts),
            "planned_s": _offset(requests.planned[place], record.base),
            "sent_s": _offset(requests.sent[place], record.base),
            "first_byte_s": _offset(requests.first_byte[place], record.base),
            "done_s": _offset(requests.done[place], record.base),
            "response_s": _seconds(requests.response(place)),
        }


class _TaskRows(Rows[TaskRow]):
    def __init__(self, record: _Record, places: "array[int]") -> None:
        self._record = record
        self.places = places

    def __len__(self) -> int:
        return len(self.places)

    def make(self, at: int) -> TaskRow:
        record, tasks, place = self._record, self._record.tasks, self.places[at]
        return {
            "id": tasks.ids[place],
            "state": STATES[record.state(place)],
            "accepted_s": _offset(tasks.accepted[place], record.base),
            "started_s": _offset(tasks.started[place], record.base),
            "ended_s": _offset(record.ended(place), record.base),
            "where": record.text(tasks.where[place]),
            "message": record.text(tasks.message[place]),
            "error": record.text(tasks.error[place]),
            "runs": tasks.runs(place),
            "output": record.text(tasks.output[place]),
        }


def _summary(
    record: _Record,
    requests: Sequence[int],
    tasks: Sequence[int],
    bystander: Sequence[BystanderRow],
    done: Mapping[str, Any],
    rate: float | None,
    overhead_s: float | None,
) -> Summary:
    columns, books = record.requests, record.tasks
    responses = sorted(_measured(columns.response(at) for at in requests))
    response_s = describe(responses)
    bins = histogram(responses)
    answered = len(responses)
    del responses
    errors = Counter(error for at in requests if (error := columns.error_text(at, record.texts)) is not None)
    wall = _wall(record, requests, done)
    work_s = describe(_between(books.started[at], record.ended(at)) for at in tasks if _has_worked(record, at))
    return {
        "response_s": response_s,
        "corrected_s": None if rate is None else describe(_measured(_corrected(columns, at) for at in requests)),
        "completion_s": describe(_measured(_completion(record, at) for at in requests)),
        "bystander_s": _responses(bystander),
        "wait_s": describe(_measured(_between(columns.planned[at], columns.sent[at]) for at in requests)),
        "first_byte_s": describe(_measured(_between(columns.sent[at], columns.first_byte[at]) for at in requests)),
        "transfer_s": describe(_measured(_between(columns.first_byte[at], columns.done[at]) for at in requests)),
        "queue_s": describe(_measured(_between(books.accepted[at], books.started[at]) for at in tasks)),
        "work_s": work_s,
        "histogram": bins,
        "requests": {
            "ok": len(requests) - errors.total(),
            "failed": errors.total(),
            "errors": dict(errors.most_common()),
        },
        "tasks": _task_counts(record, requests, tasks, round(work_s["p50"] * MICRO) if work_s else 0),
        "wall_s": wall / MICRO,
        "requests_per_s": round(answered * MICRO / wall, 3) if wall > 0 else 0.0,
        "client": {
            "cpu_share": done.get("cpu_share"),
            "loop_lag_p99_s": done.get("loop_lag_p99"),
            "overhead_s": overhead_s,
            "trusted": trusted(overhead_s, response_s["p50"] if response_s else None, done.get("cpu_share")),
        },
    }


def _responses(rows: Iterable[BystanderRow]) -> Statistics | None:
    return describe(round(row["response_s"] * MICRO) for row in rows if row["response_s"] is not None)


def _task_counts(record: _Record, requests: Sequence[int], tasks: Sequence[int], work: int) -> TaskCounts:
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
    return {
        "accepted": len(tasks),
        "finished": states["finished"],
        "failed": states["failed"],
        "cancelled": states["cancelled"],
        "lost": states["lost"],
        "unfinished": states["accepted"] + states["started"],
        "max_parallel": most_at_once(starts, ends),
        "last_ended_s": _offset(last, record.base),
        "answered_before_end": before_end,
        "answered_after_end": after_end,
        "held_up": held_up,
    }


def _has_worked(record: _Record, task: int) -> bool:
    return record.tasks.started[task] != NONE and record.ended(task) != NONE


def _corrected(columns: RequestColumns, at: int) -> int:
    return _between(columns.planned[at], columns.done[at]) if columns.status[at] >= 0 else NONE


def _completion(record: _Record, at: int) -> int:
    task = record.requests.task[at]
    return _between(record.requests.sent[at], record.ended(task)) if task >= 0 else NONE


def _wall(record: _Record, requests: Sequence[int], done: Mapping[str, Any]) -> int:
    """Return the microseconds from the first planned send to the end of the last request.

    That is the last byte of all, unless a request never got one: then only the load process knows.
    """
    ends = record.requests.done
    last = max((ends[at] for at in requests), default=NONE)
    measured = max(last - record.base, 0) if last != NONE else 0
    complete = all(ends[at] != NONE for at in requests)
    return measured if complete and last != NONE else max(measured, micro(done.get("wall", 0.0)))


def _between(start: int, end: int) -> int:
    return NONE if start == NONE or end == NONE else end - start


def _measured(times: Iterable[int]) -> Iterator[int]:
    return (time for time in times if time != NONE)


def _offset(time: int, base: int) -> float | None:
    return None if time == NONE else (time - base) / MICRO


def _seconds(duration: int) -> float | None:
    return None if duration == NONE else duration / MICRO
