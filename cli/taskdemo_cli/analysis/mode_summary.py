"""What was measured of a mode, over its rounds: who waited, for what, where the work ran, and how far to trust it.

Counts are sums over the rounds; for other figures see `over_rounds`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from msgspec.structs import asdict

from taskdemo_cli.analysis.error_words import ERROR_WORDS, errors_in_words
from taskdemo_cli.analysis.rounds import by_mode, over_rounds, whole
from taskdemo_cli.documents.run import RequestRow, RunDocument
from taskdemo_cli.loadgen.protocol import TOO_LATE
from taskdemo_cli.recording.summary import BUSY_SHARE, waits_of
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
REDIRECTS: Final = ("301", "302", "303", "307", "308")
LONGEST_ERROR: Final = 200
"""The most characters of an error in a sentence."""


class ModeSummary:
    """What was measured of one mode, over its rounds; one that the user interrupted counts only if there is no other.

    Seconds; None if not measured.
    """

    def __init__(self, all_runs: Sequence[RunDocument], cpu_share: float | None) -> None:
        """Summarise one or more runs of one mode, whose work computes for this share of its time, if that is known."""
        runs = whole(all_runs)
        first, summaries = runs[0], [run.summary for run in runs]

        self.tasks = Counter[str]()
        for one in summaries:
            self.tasks.update({name: value for name, value in asdict(one.tasks).items() if isinstance(value, int)})
        # A mode that answers one caller before the work has ended makes none wait for it. If the work of another was
        # over first, that was by chance, as with short work and a busy server.
        if self.tasks["answered_before_end"]:
            self.tasks["waited_for_work"] = 0
        self.tasks["max_parallel"] = max(summary.tasks.max_parallel for summary in summaries)
        self.errors = sum((_failures(run) for run in runs), Counter[str]())
        """Without the requests that were abandoned because the user stopped."""
        self.requests = sum(s.requests.ok for s in summaries) + self.errors.total()
        self.answered = sum(s.response_s.count for s in summaries if s.response_s)
        """Requests that succeeded."""
        self.refused = sum(s.failed_s.count for s in summaries if s.failed_s)
        """Requests that were answered with an error."""
        self.refused_median = over_rounds(runs, "failed_s.p50")
        self.redirects = sum(s.requests.statuses.get(status, 0) for s in summaries for status in REDIRECTS)
        late = (run.requests for run in runs if run.summary.requests.errors.get(TOO_LATE))
        self.going_on = sum(is_going_on(row) for rows in late for row in rows)
        """Requests that failed because their answer had begun, but not ended in time."""
        self.median = over_rounds(runs, "response_s.p50")
        """Of the answers that were not errors, like `slowest`."""
        self.slowest = over_rounds(runs, "response_s.max")
        self.work = over_rounds(runs, "work_s.p50")
        """Of the tasks that finished."""
        self.longest_work = over_rounds(runs, "work_s.max")
        self.asked_work = first.duration_s
        """How long the work was configured to take."""
        self.cpu_share = cpu_share
        self.last_ended = over_rounds(runs, "tasks.last_ended_s")
        self.tasks_in_a_run = max(s.tasks.accepted for s in summaries)
        self.all_at_once = all(s.tasks.max_parallel == s.tasks.accepted for s in summaries)
        """Whether all tasks ran at the same moment, in every round."""
        self.one_by_one = first.concurrency == 1
        """Whether each request was sent only after the one before it was answered."""
        self.slots = first.slots or None
        """How many tasks the server could run at once, if it knows."""
        self.cpus = first.environment.get("cpus")
        self.is_app = bool(first.app)
        """Whether the tasks are requests to the user's own application, whose work is otherwise unknown."""
        threads = set() if first.app else {task.thread for task in first.tasks[:LOOKED_AT] if task.thread is not None}
        self.on_loop = threads == {"event loop"}
        """Whether all work whose thread is known ran on the event loop."""
        self.in_threads = bool(threads) and all("worker thread" in thread for thread in threads)
        most = self.tasks["max_parallel"]
        self.is_bounded = not self.in_threads and self.slots is not None and most >= self.slots < self.tasks_in_a_run
        """Whether tasks had to wait for a free process; --processes sets how many there are."""
        self.lets_go = self.in_threads and first.summary.tasks.max_parallel > 1 and not _is_crowded(first)
        """Whether work that ran at the same time in threads left the interpreter to others, as C code may."""
        self.fills_interpreter = self.in_threads and not self.lets_go and _occupied(first) >= COMPUTES
        """Whether work in threads kept the server's interpreter busy most of the time."""
        self.error = _first_error(runs, "failed") if self.tasks["failed"] else None
        """The error of the first task that failed, safe to show."""
        self.loss = _first_error(runs, "lost") if self.tasks["lost"] else None
        """Why the first lost task was lost."""
        waits = [wait for run in runs for wait in waits_of(run.bystander)]
        self.waited: float | None
        """The longest wait of a bystander, answered or not."""
        self.is_answered: bool
        """Whether that bystander was answered; if not, it waited at least that long."""
        self.waited, self.is_answered = max(waits, default=(None, True))
        self.overhead = over_rounds(runs, "client.overhead_s")
        is_doubted = any(s.client.trusted is False for s in summaries)
        self.clients_share = self.overhead / self.median if is_doubted and self.overhead and self.median else 0.0
        """The client's own share of the median response, if that is in doubt; else 0."""
        self.is_client_busy = any((s.client.cpu_share or 0.0) >= BUSY_SHARE for s in summaries)
        self.is_clients = self.clients_share >= MOSTLY or self.is_client_busy
        """Whether response times say more about the client than about the server."""
        self.is_partial = any(run.interrupted for run in runs)
        """Whether the user interrupted every round."""
        self.cut_short = next((run for run in all_runs if run.interrupted), None)
        """The run that the user interrupted."""

    @property
    def computes(self) -> bool:
        """Whether the work is known to compute rather than wait."""
        return self.cpu_share is not None and self.cpu_share >= COMPUTES


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
