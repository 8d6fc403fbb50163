"""What was measured of a mode, over its rounds: who waited, for what, where the work ran, and how far to trust it.

Over several rounds a typical time is the mean of what each round gives, as the intervals of --rounds have it; a
slowest, longest or last one is that of all rounds, so that "at most" is true of each; counts are sums.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean
from typing import Final

from msgspec.structs import asdict

from taskdemo_cli.analysis.rounds import by_mode, figure_of
from taskdemo_cli.documents.run import RequestRow, RunDocument, TaskCounts
from taskdemo_cli.recording.summary import BUSY_SHARE
from taskdemo_cli.stats import Statistics
from taskdemo_cli.units import format_share
from taskdemo_server.contract.events import TaskState

HELD_UP_S: Final = 0.1
"""A bystander that waited for less was not held up, however short the work is."""
CLOSE: Final = 2.0
"""A wait within this factor of a limit could be on its other side next time."""
MOSTLY: Final = 0.5
"""From this share on a time is called the client's figure rather than the server's."""
LOOKED_AT: Final = 1000
"""So many tasks of a run are enough to see where the work ran, and whether it computes."""
COMPUTES: Final = 0.5
"""Work that uses a CPU for so much of its time computes; other work waits."""
CROWDED: Final = 0.8
"""Tasks that use so much of an interpreter together may wait for one another; one that computes as much does not."""
QUEUED: Final = 4
"""So many times what it computes, work may have waited for a processor."""
TOO_LATE: Final = "ReadTimeout"
"""The error of a request whose answer was not whole in time."""
SOME: Final = 0.005
"""A smaller share of computing is not worth telling."""


class ModeSummary:
    """What was measured of one mode, over its rounds; one that the user cut short counts where there is no other.

    Seconds; None where not measured.
    """

    def __init__(self, all_runs: Sequence[RunDocument]) -> None:
        """Sum up these runs of one mode, at least one."""
        runs = [run for run in all_runs if not run.interrupted] or all_runs
        summaries = [run.summary for run in runs]
        self.tasks = Counter[str]()
        for counts in (summary.tasks for summary in summaries):
            self.tasks.update({name: value for name, value in asdict(counts).items() if isinstance(value, int)})
        # A mode that answers one caller before its work has ended makes none wait for it: where the work of another
        # was over first, that was by chance, as with short work and a busy server.
        self.tasks["waited_for_work"] = (
            0 if self.tasks["answered_before_end"] else sum(_waited_for_work(summary.tasks) for summary in summaries)
        )
        self.tasks["max_parallel"] = max(summary.tasks.max_parallel for summary in summaries)
        self.ran_at_once = _most(ran_at_once(summary.tasks) for summary in summaries)
        self.errors = sum((_failures(run) for run in runs), Counter[str]())
        """Without the requests that were given up because the user stopped."""
        self.requests = sum(s.requests.ok for s in summaries) + self.errors.total()
        self.answered = sum(s.response_s.count for s in summaries if s.response_s)
        """Requests that went well."""
        self.refused = sum(s.failed_s.count for s in summaries if s.failed_s)
        """Requests that were answered with an error."""
        self.refused_median = _mean(_value(s.failed_s, "p50") for s in summaries)
        late = (run.requests for run in runs if run.summary.requests.errors.get(TOO_LATE))
        begun = [row for rows in late for row in rows if is_going_on(row)]
        self.going_on = len(begun)
        """Requests that failed although their answer had begun: it had not ended in time."""
        self.first_byte = _most(map(_first_byte, begun))
        """How long the first byte of those took at most."""
        self.median = _mean(_value(s.response_s, "p50") for s in summaries)
        """Of the answers that were no error, as all of the following."""
        self.p95 = _mean(figure_of(run, "response_s.p95") for run in runs)
        """Of the rounds with enough answers for one."""
        self.slowest = _most(_value(s.response_s, "max") for s in summaries)
        self.work = _mean(_value(s.work_s, "p50") for s in summaries)
        """Of the tasks that finished."""
        self.longest_work = _most(_value(s.work_s, "max") for s in summaries)
        self.asked_work = _most(run.duration_s for run in runs if run.work in {"sleep", "cpu"} and not run.app)
        """How long the work was asked to take; a user's own function is not asked."""
        self.cpu_share = _mean(s.work_cpu_share for s in summaries)
        """How much of its time that work computed: the CPU seconds that it took, divided by its time without the wait
        for a processor. Beside other modes, that of the one which left the work the most of a CPU."""
        self.last_ended = _most(s.tasks.last_ended_s for s in summaries)
        self.completed = _most(_value(s.completion_s, "max") for s in summaries)
        """The longest time from sent to the end of the task."""
        self.tasks_in_a_run = max(s.tasks.accepted for s in summaries)
        self.all_at_once = all(s.tasks.max_parallel == s.tasks.accepted for s in summaries)
        """Whether in every round all tasks ran at the same moment."""
        self.one_by_one = runs[0].concurrency == 1
        """Whether no request was sent before the one before it was answered."""
        self.slots = runs[0].slots or None
        """How many tasks the server could run at once, where it knows."""
        self.placement = Placement.of(runs[0])
        self.error = _first_error(runs, "failed") if self.tasks["failed"] else None
        """What the first task that failed said."""
        self.loss = _first_error(runs, "lost") if self.tasks["lost"] else None
        """Why the first task that was lost was."""
        waits = list(_waits(runs))
        self.waited: float | None
        """The longest that a bystander waited, answered or not."""
        self.is_answered: bool
        """Whether that one was answered; otherwise it waited at least so long."""
        self.waited, self.is_answered = max(waits, default=(None, True))
        self.bystanders_answered = sum(answered for _, answered in waits)
        self.bystander = _most(_value(s.bystander_s, "max") for s in summaries)
        """The longest that one waited that was answered."""
        self.overhead = _most(s.client.overhead_s for s in summaries)
        self.doubted = any(s.client.trusted is False for s in summaries)
        self.busy = any((s.client.cpu_share or 0.0) >= BUSY_SHARE for s in summaries)
        self.is_partial = any(run.interrupted for run in runs)
        """Whether there is no round that the user let come to its end."""
        self.cut_short = next((run for run in all_runs if run.interrupted), None)
        """The run during which the user stopped."""

    def figures(self) -> dict[str, float | None]:
        """Return what a table shows of the mode, by its path in the summary of a run."""
        return {
            "response_s.p50": self.median,
            "response_s.p95": self.p95,
            "response_s.max": self.slowest,
            "tasks.last_ended_s": self.last_ended,
            "tasks.max_parallel": self.ran_at_once,
            "bystander_s.max": self.bystander,
        }

    @property
    def computes(self) -> bool:
        """Whether the work is known to compute, and not to wait."""
        return self.cpu_share is not None and self.cpu_share >= COMPUTES

    @property
    def is_bounded(self) -> bool:
        """Whether tasks had to wait for a place among those that the server runs at once."""
        return self.slots is not None and self.tasks["max_parallel"] >= self.slots < self.tasks_in_a_run

    @property
    def clients_share(self) -> float:
        """The client's own share of the median response, where that is doubted."""
        return self.overhead / self.median if self.doubted and self.overhead and self.median else 0.0

    @property
    def is_clients(self) -> bool:
        """Whether how long an answer took says more of the client than of the server."""
        return self.clients_share >= MOSTLY or (self.doubted and self.busy)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the work of a run ran, by what its tasks say: all on the event loop, all in threads, or in processes."""

    on_loop: bool = False
    in_threads: bool = False
    processes: int = 0
    """How many other processes; 0 where it ran in the server's."""
    cpus: int | None = None
    computes: bool = False
    """Whether work that ran at the same time used up most of one CPU together: in threads, the interpreter's."""
    lets_go: bool = False
    """Whether work that computed at the same time in threads left the interpreter to others, as C code may."""
    is_app: bool = False
    """Whether the tasks are requests to the user's own application, of whose work no more is known."""

    @classmethod
    def of(cls, run: RunDocument) -> "Placement":
        """Return where this run's work ran."""
        if run.app:
            return cls(is_app=True)
        ran = {(task.host, task.pid, task.thread) for task in islice(run.tasks, LOOKED_AT) if task.thread is not None}
        on_loop = bool(ran) and all(thread == "event loop" for _, _, thread in ran)
        in_threads = bool(ran) and all("worker thread" in (thread or "") for _, _, thread in ran)
        cpus = run.environment.get("cpus")
        return cls(
            on_loop=on_loop,
            in_threads=in_threads,
            processes=0 if on_loop or in_threads else len({(host, pid) for host, pid, _ in ran}),
            cpus=cpus if isinstance(cpus, int) else None,
            computes=_occupied(run) >= COMPUTES,
            lets_go=in_threads and run.summary.tasks.max_parallel > 1 and not _is_crowded(run),
        )


def _worked(run: RunDocument) -> Iterator[tuple[float, float, float]]:
    """Yield of finished tasks the start, the end, and the seconds that they had a CPU or could have used one."""
    for task in islice(run.tasks, LOOKED_AT):
        start, end, cpu = task.started_s, task.ended_s, task.cpu_s
        if task.state == "finished" and task.runs == 1 and start is not None and end is not None and cpu is not None:
            # Work that sleeps waits for a processor, too, whenever it wakes.
            yield start, end, cpu + min(task.queued_s or 0.0, QUEUED * cpu)


def summaries(runs: Sequence[RunDocument]) -> dict[str, ModeSummary]:
    """Return what was measured of each mode; how much the work computes is no mode's doing, so all have one share."""
    found = {mode: ModeSummary(group) for mode, group in by_mode(runs).items()}
    share = most_computing(runs)
    for one in found.values():
        one.cpu_share = share
    return found


def most_computing(runs: Sequence[RunDocument]) -> float | None:
    """Return how much of its time the work computes in the run that leaves it the most of a CPU.

    Where several tasks keep one interpreter busy they wait for one another, which no system tells from other waiting:
    such a run counts only where there is no other, and then as one task.
    """
    alone = [run.summary.work_cpu_share for run in runs if not _is_crowded(run)]
    return _most(alone or (min(_occupied(run), 1.0) for run in runs))


def computing(share: float) -> str:
    """Return whether work that computes for this share of its time waits or computes."""
    if share < COMPUTES:
        return "waits" if share < SOME else f"waits, and computes {format_share(share)} of its time"
    return f"computes {format_share(share)} of its time"


def _is_crowded(run: RunDocument) -> bool:
    """Tell whether tasks waited for one another: more at once than there were interpreters, which they kept busy."""
    interpreters = len({(task.host, task.pid) for task in islice(run.tasks, LOOKED_AT) if task.pid is not None})
    together = 0 < interpreters < run.summary.tasks.max_parallel and _occupied(run) >= CROWDED * interpreters
    return together and (run.summary.work_cpu_share or 0.0) < CROWDED


def _occupied(run: RunDocument) -> float:
    """Return how many CPUs all the work had or could have used together, while any of it ran."""
    busy, until = 0.0, 0.0
    worked = sorted(_worked(run))
    for start, end, _ in worked:
        busy += max(end - max(start, until), 0.0)
        until = max(until, end)
    return sum(used for _, _, used in worked) / busy if busy > 0 else 0.0


def ran_at_once(tasks: TaskCounts) -> int | None:
    """Return how many tasks ran at the same moment at most; None where there were none, or no word of a start came."""
    is_known = tasks.max_parallel or not (tasks.finished or tasks.failed)
    return tasks.max_parallel if tasks.accepted and is_known else None


def is_going_on(row: RequestRow) -> bool:
    """Tell whether an answer had begun and was still going on when time was up, as that of a stream is."""
    return row.status is not None and row.error == TOO_LATE


def _first_byte(row: RequestRow) -> float | None:
    return None if row.first_byte_s is None or row.sent_s is None else row.first_byte_s - row.sent_s


def _failures(run: RunDocument) -> Counter[str]:
    """Return the errors of the requests that failed, by kind and cause, but for those given up as the user stopped."""
    requests = run.summary.requests
    failures = Counter(requests.errors)
    for kind, reasons in (requests.reasons or {}).items():
        failures[kind] -= sum(reasons.values())
        failures.update({f"{kind}: {reason}": count for reason, count in reasons.items()})
    failures = +failures
    if run.interrupted:
        del failures["Cancelled"]
    return failures


def _waited_for_work(counts: TaskCounts) -> int:
    return counts.answered_after_end if counts.waited_for_work is None else counts.waited_for_work


def _waits(runs: Iterable[RunDocument]) -> Iterator[tuple[float, bool]]:
    """Yield how long each bystander waited and whether it was answered, as far as one knows how long it waited."""
    for run in runs:
        for call in run.bystander:
            if call.response_s is not None:
                yield call.response_s, True
            elif call.sent_s is not None and call.done_s is not None:
                yield call.done_s - call.sent_s, False


def _first_error(runs: Iterable[RunDocument], state: TaskState) -> str | None:
    """Return why the first of these tasks ended so, as a part of a sentence: without a full stop of its own."""
    errors = (task.error for run in runs for task in run.tasks if task.state == state)
    return next((error.rstrip(".") for error in errors if error), None)


def _value(statistics: Statistics | None, name: str) -> float | None:
    return None if statistics is None else float(getattr(statistics, name))


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _most(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)
