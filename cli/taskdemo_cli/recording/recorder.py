"""Folds the reports of the load process, the bystanders and the journal into one record, and makes its document.

Pure: no I/O and no clock. Reports may come in any order, and those of a task twice; the final record is the same.
"""

from array import array
from math import inf, isnan
from typing import Final

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from taskdemo_cli.documents.rows import Rows
from taskdemo_cli.documents.run import RequestRow, RunDocument
from taskdemo_cli.loadgen.protocol import Batch, Done, Frame, Started
from taskdemo_cli.recording.live import Live, LiveFigures
from taskdemo_cli.recording.requests import Requests, micro
from taskdemo_cli.recording.summary import Record, bystander_statistics, summarise
from taskdemo_cli.recording.tasks import Tasks
from taskdemo_server.contract.events import ENDED, TaskEvent

BROKEN: Final = frozenset({"ConnectError", "ReadError", "RemoteProtocolError", "WriteError"})
"""Errors of requests whose server may have ended."""


class Recorder:
    """The record of one run in progress.

    `private`: the server serves only this run, so every task belongs to it; otherwise only the tasks that a response
    named do. `follows`: the task ids in responses can be matched with events. `waits`: a response comes only after its
    task has ended. `clock_offset`: seconds that the events' clock is ahead of the load process's.
    `count`: how many requests will be sent, if known. `rated`: the run is an open loop.
    """

    def __init__(
        self,
        *,
        private: bool,
        clock_offset: float = 0.0,
        count: int | None = None,
        follows: bool = True,
        waits: bool = False,
        rated: bool = False,
    ) -> None:
        self.private = private
        self.count = count
        self.follows = follows
        self.t0: float | None = None
        """The first planned send, in seconds of the client's monotonic clock."""
        self.done = Done()
        """The load process's last frame of the run."""
        self._offset = clock_offset
        self._requests = Requests(from_plan=rated)
        self._tasks = Tasks()
        self._bystander = Requests()
        self._bystander_threads = Requests()
        self._live = LiveFigures(self._requests, self._tasks, follows=follows, waits=waits)

    @property
    def unended(self) -> int:
        """How many of this run's tasks have not ended, as far as is known."""
        return len(self._live.unended)

    @property
    def running(self) -> int:
        """How many of this run's tasks are known to be running."""
        return self._live.states["started"]

    @property
    def broken_off(self) -> bool:
        """Whether a connection broke or could not be opened, so the server may have ended."""
        return not BROKEN.isdisjoint(self._requests.error)

    def load(self, frame: Frame) -> None:
        """Fold one frame of the load process; `Ready` and `Refused` are ignored."""
        match frame:
            case Started(t0):
                self.t0 = t0
            case Batch(samples, in_flight, sent):
                for sample in samples:
                    n, task_id = sample[0], sample[7]
                    self._requests.add(sample)
                    if task_id is not None and self.follows:
                        self._name(n, task_id)
                    self._live.answered(n - 1)
                self._live.in_flight = dict(in_flight)
                self._live.sent = sent
            case Done():
                self.done = frame
                self._live.in_flight = {}

    def bystander(self, frame: Frame) -> None:
        """Fold one frame of the bystander's process."""
        match frame:
            case Batch(samples, in_flight, _, heard_at):
                for sample in samples:
                    at = sample[0] - 1
                    self._bystander.add(sample)
                    response = self._bystander.response(at)
                    # Those that were over before the run began do not count, here as in the summary.
                    if not isnan(response) and self.t0 is not None and self._bystander.done[at] >= micro(self.t0):
                        self._live.pinged(self._bystander.sent[at], response)
                self._live.waiting_pings = [(sent, heard_at - sent) for _, sent in in_flight]
            case Done():
                self._live.waiting_pings = []

    def bystander_threads(self, frame: Frame) -> None:
        """Fold one frame of the second bystander's process, which worker threads answer."""
        if isinstance(frame, Batch):
            for sample in frame.samples:
                self._bystander_threads.add(sample)

    def event(self, event: TaskEvent) -> None:
        """Fold one event of the journal."""
        tasks = self._tasks
        known = len(tasks)
        at = tasks.place(event.id)
        before = tasks.state[at] if at < known else None
        moment = micro(event.clock - self._offset)
        tasks.fold(at, event, moment)
        self._live.heard = max(self._live.heard, moment)
        if self.private or tasks.request[at]:
            self._live.moved(at, before)

    def live(self, now: float, rows: int) -> Live:
        """Return the figures at `now` (seconds of the client's monotonic clock), with at most `rows` rows."""
        base = micro(now if self.t0 is None else self.t0)
        return self._live.figures(now, base, self.count, rows)

    def finish(
        self,
        header: RunDocument,
        *,
        interrupted: bool = False,
        timed_out: bool = False,
        server_gone: bool = False,
        ended_because: str | None = None,
    ) -> RunDocument:
        """Return the whole run: `header`, and what was recorded. Its rows are built lazily, so fold nothing afterwards.

        `server_gone`: the server is known to have ended, so its unended tasks are lost.
        """
        requests, tasks, done = self._requests, self._tasks, self.done
        base = micro(self.t0 or 0.0)  # a run that has not begun has sent nothing
        if server_gone:
            for at, state in enumerate(tasks.state):
                if state not in ENDED:
                    tasks.state[at], tasks.error[at] = "lost", ended_because
        record = Record(requests, tasks, array("i", requests.places()), self._task_places(), base)
        bystander = self._bystander.rows_since(base)
        summary = summarise(record, bystander, done, header.rate)
        threads: list[RequestRow] | UnsetType = UNSET
        if header.app:
            threads = self._bystander_threads.rows_since(base)
            summary = replace(summary, bystander_threads_s=bystander_statistics(threads))
        return replace(
            header,
            interrupted=interrupted,
            timed_out=timed_out or done.timed_out,
            ended_because=ended_because,
            not_sent=done.not_sent,
            late_sends=done.late,
            late_connecting=done.late_connecting,
            late_unconnected=done.late_unconnected,
            unreported=max(self._live.sent - len(record.of_requests), 0),
            summary=summary,
            requests=Rows(record.of_requests, lambda at: requests.row(at, base)),
            tasks=Rows(record.of_tasks, lambda at: tasks.row(at, base)),
            bystander=bystander,
            bystander_threads=threads,
        )

    def _name(self, n: int, task_id: str) -> None:
        """Record that the response to request `n` named this task."""
        tasks = self._tasks
        known = len(tasks)
        task = tasks.place(task_id)
        counted = task < known if self.private else tasks.request[task] != 0
        self._requests.task_id[n - 1] = tasks.ids[task]
        if tasks.request[task] == 0:
            tasks.request[task] = n
        if not counted:
            self._live.moved(task, None)

    def _task_places(self) -> "array[int]":
        """Return the places of this run's tasks: by request number, then those that no response named, by time."""
        tasks = self._tasks
        named = sorted((at for at, n in enumerate(tasks.request) if n), key=tasks.request.__getitem__)
        if not self.private:
            return array("i", named)
        unnamed = (
            (inf if isnan(when := tasks.accepted[at]) else when, tasks.ids[at], at)  # NaN does not sort
            for at, n in enumerate(tasks.request)
            if not n
        )
        return array("i", [*named, *(at for *_, at in sorted(unnamed))])
