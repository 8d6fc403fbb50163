"""The timeline of runs, in seconds: the spans and marks of each request with its task.

One model for the terminal, which paints it in cells, and the page, which draws it as SVG. Computes no figure.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal, TypeAlias

from taskdemo_cli.documents.rows import pairs
from taskdemo_cli.documents.run import RequestRow, RunDocument, TaskRow
from taskdemo_cli.recording.tasks import TROUBLE
from taskdemo_server.contract.events import ENDED

DRAWN: Final = 1000
"""The most requests drawn of a run."""
Kind: TypeAlias = Literal["wait", "held", "queue", "free"]
"""The caller waits; its work runs and the caller waits; its task is queued; its work runs and nobody waits."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One request with its task, as drawn; nothing is drawn of a request that was never sent."""

    request: RequestRow
    task: TaskRow | None = None

    @property
    def is_sent(self) -> bool:
        """Whether there is anything to draw."""
        return self.request.sent_s is not None

    @property
    def last(self) -> float:
        """Its last known moment; 0 if it was never sent."""
        if not self.is_sent:
            return 0.0
        moments = [self.request.sent_s, self.request.done_s]
        moments += [self.task.started_s, self.task.ended_s] if self.task else []
        return max(moment for moment in moments if moment is not None)

    def answer(self, until_s: float) -> float:
        """Return when the caller stopped waiting; `until_s` if it still waits."""
        if self.request.done_s is not None:
            return self.request.done_s
        return until_s if self.request.error is None else self.last

    def spans(self, until_s: float) -> Iterator[tuple[Kind, float, float]]:
        """Yield the kind, start and end of each span; what had not ended extends to `until_s`."""
        task, answered = self.task, self.answer(until_s)
        if self.request.sent_s is None:
            return
        yield "wait", self.request.sent_s, answered
        if task is None:
            return
        if task.started_s is None:
            yield "queue", answered, max(until_s if task.ended_s is None else task.ended_s, answered)
            return
        ended = max(until_s, self.last) if task.ended_s is None else task.ended_s
        if task.started_s > answered:
            yield "queue", answered, task.started_s
        if ended > answered:
            yield "free", max(task.started_s, answered), ended
        if task.started_s < answered:
            yield "held", task.started_s, min(ended, answered)

    def trouble(self, until_s: float) -> float | None:
        """Return when its task failed or was cancelled, or the end if it was lost; None if nothing went wrong."""
        if self.task is None or self.task.state not in TROUBLE:
            return None
        return max(until_s, self.answer(until_s)) if self.task.ended_s is None else self.task.ended_s

    @property
    def is_open(self) -> bool:
        """Whether its task had not ended when we stopped looking."""
        return self.task is not None and self.task.state not in ENDED


def sample(run: RunDocument) -> list[Bar]:
    """Return the bars to draw: of all requests or, if there are very many, of an evenly spread sample."""
    return [Bar(*pair) for pair in islice(pairs(run), 0, None, -(-len(run.requests) // DRAWN) or 1)]


def stairs_key(bars: Iterable[Bar]) -> Callable[[Bar], tuple[int, float, int]]:
    """Return a sort key that shows a queue as stairs: roughly by the time of sending, then by the end."""
    together_s = max((bar.last for bar in bars), default=0.0) / 50 or 1.0
    return lambda bar: (round((bar.request.sent_s or 0.0) / together_s), bar.last, bar.request.n)


def first_round(runs: Sequence[RunDocument]) -> list[RunDocument]:
    """Return the runs to draw: those of the earliest round."""
    earliest = min((run.round for run in runs), default=1)
    return [run for run in runs if run.round == earliest]


def last_moment(run: RunDocument) -> float:
    """Return the last moment known from the run's summary and its bystander, in seconds of the run."""
    pings = (moment for ping in run.bystander[-1:] for moment in (ping.sent_s, ping.done_s) if moment is not None)
    return max(1e-6, run.summary.wall_s, run.summary.tasks.last_ended_s or 0.0, *pings)
