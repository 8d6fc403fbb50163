"""Folds what the load process, the bystander and the journal report into one record, and makes the documents of it.

Pure: no I/O and no clock. News may come in any order and more than once; the record is the same in the end.
"""

from array import array
from collections.abc import Iterator
from typing import Final

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from taskdemo_cli.documents.types import BystanderRow, RunDocument, RunFacts
from taskdemo_cli.loadgen.protocol import Batch, Done, Frame, Sample, Started
from taskdemo_cli.recording.columns import ACCEPTED, CODE_OF, NONE, STARTED, RequestColumns, TaskColumns, Texts, micro
from taskdemo_cli.recording.live import Live, LiveFigures
from taskdemo_cli.recording.summary import Record, RequestRows, TaskRows, offset, responses_of, seconds, summarise
from taskdemo_server.contract.events import TaskEvent

BROKEN: Final = frozenset({"ConnectError", "ReadError", "RemoteProtocolError", "WriteError"})
"""What requests end with when their server does."""


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
        self.done = Done()
        """What the load process said at the end of the run."""
        self._offset = clock_offset
        self._texts = Texts()
        self._requests = RequestColumns()
        self._tasks = TaskColumns()
        self._bystander = RequestColumns()
        self._bystander_threads = RequestColumns()
        self._live = LiveFigures(self._requests, self._tasks, self._texts, waits=waits)

    @property
    def unended(self) -> int:
        """Tasks of this run that have been accepted and have not ended, as far as we heard."""
        return self._live.states[ACCEPTED] + self._live.states[STARTED]

    @property
    def reported(self) -> int:
        """Requests whose end was reported."""
        return self._requests.reported

    @property
    def broken_off(self) -> bool:
        """Whether a connection broke, or could not be opened: the server may have ended."""
        return not BROKEN.isdisjoint(self._requests.errors(self._texts))

    def load(self, frame: Frame) -> None:
        """Fold one frame of the load process; those that say nothing of the run are ignored."""
        match frame:
            case Started(t0):
                self.t0 = t0
            case Batch(samples, in_flight, sent):
                for sample in samples:
                    self._add(sample)
                self._live.in_flight = in_flight
                self._live.sent = sent
            case Done():
                self.done = frame
                self._live.in_flight = []

    def bystander(self, frame: Frame) -> None:
        """Fold one frame of the bystander's process."""
        match frame:
            case Batch(samples, in_flight):
                for sample in samples:
                    at = self._bystander.add(sample, self._texts)
                    if at >= 0 and (response := self._bystander.response(at)) != NONE:
                        self._live.pinged(self._bystander.sent[at], response)
                self._live.bystander_in_flight = in_flight
            case Done():
                self._live.bystander_in_flight = []

    def bystander_threads(self, frame: Frame) -> None:
        """Fold one frame of the second bystander's process, whom worker threads answer."""
        if isinstance(frame, Batch):
            for sample in frame.samples:
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
        self._live.heard = max(self._live.heard, moment)
        if self.private or tasks.request[at]:
            self._live.moved(at, before)

    def live(self, now: float, rows: int) -> Live:
        """Return the figures at the moment `now` (the client's monotonic clock), with at most `rows` rows."""
        base = micro(now if self.t0 is None else self.t0)
        return self._live.figures(now, base, self.count, rows)

    def document(
        self,
        facts: RunFacts,
        *,
        interrupted: bool = False,
        timed_out: bool = False,
        server_gone: bool = False,
        ended_because: str | None = None,
    ) -> RunDocument:
        """Return the run as it is recorded now. Its rows are made when they are looked at: fold nothing afterwards.

        `server_gone`: the server is known to have ended, so that tasks that have not are lost.
        """
        base = self._base()
        done = self.done
        record = Record(self._requests, self._tasks, self._texts, base, server_gone)
        requests = RequestRows(record, array("i", self._requests.present()))
        tasks = TaskRows(record, self._task_places() if self.follows else array("i"))
        bystander = list(self._bystander_rows(self._bystander, base))
        summary = summarise(record, requests.places, tasks.places, bystander, done, facts.get("rate"))
        threads: list[BystanderRow] | UnsetType = UNSET
        if facts.get("app"):
            threads = list(self._bystander_rows(self._bystander_threads, base))
            summary = replace(summary, bystander_threads_s=responses_of(threads))
        return RunDocument(
            **facts,
            interrupted=interrupted,
            timed_out=timed_out,
            ended_because=ended_because,
            transport=done.transport,
            not_sent=done.not_sent,
            late_sends=done.late,
            unreported=max(self._live.sent - self._requests.reported, 0),
            summary=summary,
            requests=requests,
            tasks=tasks,
            bystander=bystander,
            bystander_threads=threads,
        )

    def _add(self, sample: Sample) -> None:
        at = self._requests.add(sample, self._texts)
        if at < 0:
            return
        task_id = sample[7]
        if task_id is not None and self.follows:
            self._name(at, task_id)
        self._live.answered(at)

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
            self._live.moved(task, None)

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
            yield BystanderRow(
                sent_s=offset(columns.sent[at], base),
                done_s=offset(columns.done[at], base),
                response_s=seconds(columns.response(at)),
                status=columns.status[at] if columns.status[at] >= 0 else None,
                error=columns.error_text(at, self._texts),
            )

    def _base(self) -> int:
        if self.t0 is not None:
            return micro(self.t0)
        return min((sent for sent in self._requests.sent if sent != NONE), default=0)
