"""What was measured of a mode, over its rounds: who waited, for what, where the work ran, and how far to trust it.

Counts are sums over the rounds; for other figures see `over_rounds`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from msgspec.structs import asdict, replace

from taskdemo_cli.analysis.error_words import ERROR_WORDS, errors_in_words
from taskdemo_cli.analysis.rounds import by_mode, over_rounds, whole
from taskdemo_cli.documents.run import RequestRow, RunDocument, Summary
from taskdemo_cli.loadgen.protocol import TOO_LATE
from taskdemo_cli.recording.summary import BUSY_SHARE, stood_still, waits_of
from taskdemo_cli.units import format_share
from taskdemo_server.contract import drawing
from taskdemo_server.contract.events import TaskState
from taskdemo_server.contract.text import shortened

HELD_UP_S: Final = drawing.HELD_UP_S
"""A bystander that waited for less was not held up, however short the work is."""
CLOSE: Final = 2.0
"""A wait within this factor of a limit could be on its other side next time."""
MOSTLY: Final = 0.5
"""From this share on, a time is called the client's figure rather than the server's."""
LOOKED_AT: Final = 1000
"""This many tasks of a run are enough to see where the work ran, and whether it computes."""
COMPUTES: Final = 0.5
"""Work that uses a CPU for this share of its time computes; other work waits."""
CROWDED: Final = 0.8
"""Tasks that together use this share of an interpreter may wait for one another, unless each computes as much."""
QUEUED: Final = 4
"""Waiting for a processor counts as computing, up to this many times the CPU seconds."""
SOME: Final = 0.005
"""A smaller share of computing is not worth mentioning."""
LONGEST_ERROR: Final = 200
"""The most characters of an error in a sentence."""


class ModeSummary:
    """What was measured of one mode, over its rounds; one that the user interrupted counts only if there is no other.

    Seconds; None if not measured.
    """

    def __init__(self, all_runs: Sequence[RunDocument], cpu_share: float | None) -> None:
        """Summarise one or more runs of one mode, whose work computes for this share of its time, if that is known."""
        self.cut_short = next((run for run in all_runs if run.interrupted), None)
        """The run that the user interrupted."""
        self.runs = whole(all_runs)
        """Those that count; they have the same settings."""
        first, summaries = self.runs[0], [run.summary for run in self.runs]
        self.is_partial = first.interrupted
        """Whether the user interrupted every round."""
        self.is_app = bool(first.app)
        """Whether the tasks are requests to the user's own application, whose work is otherwise unknown."""

        # Who waited: callers, and the bystander.
        self.errors = sum((_failures(run) for run in self.runs), Counter[str]())
        """Without the requests that were abandoned because the user stopped."""
        self.requests = sum(s.requests.ok for s in summaries) + self.errors.total()
        self.answered = sum(s.response_s.count for s in summaries if s.response_s)
        """Requests that succeeded."""
        self.refused = sum(s.failed_s.count for s in summaries if s.failed_s)
        """Requests that were answered with an error."""
        late = (run.requests for run in self.runs if run.summary.requests.errors.get(TOO_LATE))
        self.going_on = sum(is_going_on(row) for rows in late for row in rows)
        """Requests that failed because their answer had begun, but not ended in time."""
        self.median = over_rounds(self.runs, "response_s.p50")
        """Of the answers that were not errors, like `slowest`."""
        self.slowest = over_rounds(self.runs, "response_s.max")
        self.waited: float | None
        """The longest wait of a bystander, answered or not."""
        self.is_answered: bool
        """Whether that bystander was answered; if not, it waited at least that long."""
        waits = [wait for run in self.runs for wait in waits_of(run.bystander)]
        self.waited, self.is_answered = max(waits, default=(None, True))

        # For what they waited: the tasks and their work.
        self.tasks = _counted(summaries)
        self.tasks_in_a_run = max(s.tasks.accepted for s in summaries)
        self.all_at_once = all(s.tasks.max_parallel == s.tasks.accepted for s in summaries)
        """Whether all tasks ran at the same moment, in every round."""
        self.error = _first_error(self.runs, "failed") if self.tasks["failed"] else None
        """The error of the first task that failed, safe to show."""
        self.loss = _first_error(self.runs, "lost") if self.tasks["lost"] else None
        """Why the first lost task was lost."""
        self.last_ended = over_rounds(self.runs, "tasks.last_ended_s")
        self.work = over_rounds(self.runs, "work_s.p50")
        """Of the tasks that finished."""
        self.cpu_share = cpu_share

        # Where the work ran.
        threads = set() if first.app else {task.thread for task in first.tasks[:LOOKED_AT] if task.thread is not None}
        in_threads = bool(threads) and all("worker thread" in thread for thread in threads)
        self.on_loop = threads == {"event loop"}
        """Whether all work whose thread is known ran on the event loop."""
        self.slots = first.slots or None
        """How many tasks the server could run at once, if it knows."""
        most = self.tasks["max_parallel"]
        self.is_bounded = not in_threads and self.slots is not None and most >= self.slots < self.tasks_in_a_run
        """Whether tasks had to wait for a free process; --processes sets how many there are."""
        self.lets_go = in_threads and first.summary.tasks.max_parallel > 1 and not _is_crowded(first)
        """Whether work that ran at the same time in threads left the interpreter to others, as C code may."""
        self.fills_interpreter = in_threads and not self.lets_go and _occupied(first) >= COMPUTES
        """Whether work in threads kept the server's interpreter busy most of the time."""

        # How far to trust it.
        overhead = over_rounds(self.runs, "client.overhead_s")
        is_doubted = any(s.client.trusted is False for s in summaries)
        self.clients_share = overhead / self.median if is_doubted and overhead and self.median else 0.0
        """The client's own share of the median response, if that is in doubt; else 0."""
        self.is_client_busy = any((s.client.cpu_share or 0.0) >= BUSY_SHARE for s in summaries)
        lag = over_rounds(self.runs, "client.loop_lag_p99_s")
        self.stood_still = lag if stood_still(lag, self.median) else None
        """For how long the client stood still, or longer; None if it did not."""
        self.is_clients = self.clients_share >= MOSTLY or self.is_client_busy or self.stood_still is not None
        """Whether response times say more about the client than about the server."""

    @property
    def computes(self) -> bool:
        """Whether the work is known to compute rather than wait."""
        return self.cpu_share is not None and self.cpu_share >= COMPUTES


def _counted(summaries: Sequence[Summary]) -> Counter[str]:
    """Return the counts of all tasks, by the names of `TaskCounts`."""
    tasks = sum((Counter(asdict(replace(one.tasks, last_ended_s=0))) for one in summaries), Counter[str]())
    # A mode that answers one caller before the work has ended makes none wait for it. If the work of another was
    # over first, that was by chance, as with short work and a busy server.
    if tasks["answered_before_end"]:
        tasks["waited_for_work"] = 0
    tasks["max_parallel"] = max(summary.tasks.max_parallel for summary in summaries)
    return tasks


def _worked(run: RunDocument) -> Iterator[tuple[float, float, float]]:
    """Yield each finished task's start, end, and seconds during which it had a CPU or could have used one."""
    for task in run.tasks[:LOOKED_AT]:
        start, end, cpu = task.started_s, task.ended_s, task.cpu_s
        if task.state == "finished" and task.runs == 1 and start is not None and end is not None and cpu is not None:
            # Work that sleeps also waits for a processor, each time it wakes.
            yield start, end, cpu + min(task.queued_s or 0.0, QUEUED * cpu)


def summaries(runs: Sequence[RunDocument]) -> dict[str, ModeSummary]:
    """Return each mode's summary; all have one `cpu_share`, because how much the work computes is no mode's doing."""
    share = most_computing(runs)
    return {mode: ModeSummary(group, share) for mode, group in by_mode(runs).items()}


def most_computing(runs: Sequence[RunDocument]) -> float | None:
    """Return the share of its time that the work computes, in the run that leaves it the most of a CPU.

    Tasks that keep one interpreter busy wait for one another, and no operating system distinguishes that from other
    waiting. So such a run counts only if there is no other, and then as one task.
    """
    alone = [run.summary.work_cpu_share for run in runs if not _is_crowded(run)]
    shares = alone or [min(_occupied(run), 1.0) for run in runs]
    return max((share for share in shares if share is not None), default=None)


def computing(share: float) -> str:
    """Return the words for work that computes for this share of its time."""
    if share < COMPUTES:
        return "waits" if share < SOME else f"waits, and computes {format_share(share)} of its time"
    return f"computes {format_share(share)} of its time"


def _is_crowded(run: RunDocument) -> bool:
    """Return whether tasks waited for one another: more ran at once than there were interpreters, all of them busy."""
    interpreters = len({(task.host, task.pid) for task in run.tasks[:LOOKED_AT] if task.pid is not None})
    together = 0 < interpreters < run.summary.tasks.max_parallel and _occupied(run) >= CROWDED * interpreters
    return together and (run.summary.work_cpu_share or 0.0) < CROWDED


def _occupied(run: RunDocument) -> float:
    """Return how many CPUs all the work together had or could have used, while any of it ran."""
    busy, until = 0.0, 0.0
    worked = sorted(_worked(run))
    for start, end, _ in worked:
        busy += max(end - max(start, until), 0.0)
        until = max(until, end)
    return sum(used for _, _, used in worked) / busy if busy > 0 else 0.0


def is_going_on(row: RequestRow) -> bool:
    """Return whether an answer had begun and was still going on when time was up, as a stream's is."""
    return row.status is not None and row.error == TOO_LATE


def _failures(run: RunDocument) -> Counter[str]:
    """Return the errors of failed requests in words, with counts, without those abandoned because the user stopped."""
    failures = errors_in_words(run.summary.requests)
    if run.interrupted:
        del failures[ERROR_WORDS["Cancelled"]]
    return failures


def _first_error(runs: Iterable[RunDocument], state: TaskState) -> str | None:
    """Return the first error of the tasks in this state, without a full stop: it becomes part of a sentence."""
    errors = (task.error for run in runs for task in run.tasks if task.state == state)
    return next((shortened(error.rstrip("."), LONGEST_ERROR) for error in errors if error), None)
