"""The timeline of runs, in seconds: the spans and marks of each request with its task.

One model for the terminal, which paints it in cells, and the page, which draws it as SVG. Computes no figure.
"""

from collections.abc import Iterable, Iterator, Sequence
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
Mark: TypeAlias = Literal["answered", "trouble", "open"]
"""Answered; failed, cancelled or lost; unfinished: not ended when the watching did."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One request with its task, as drawn; nothing is drawn of a request that was never sent."""

    request: RequestRow
    task: TaskRow | None
    seen_s: float
    """Until when it was watched."""
    is_live: bool = False
    """Whether it is still watched."""

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

    @property
    def until_s(self) -> float:
        """The end of what had not ended."""
        return max(self.seen_s, self.last)

    @property
    def answer(self) -> float:
        """When the caller stopped waiting; `until_s` if it still waits."""
        if self.request.done_s is not None:
            return self.request.done_s
        return self.until_s if self.request.error is None else self.last

    def spans(self) -> Iterator[tuple[Kind, float, float]]:
        """Yield the kind, start and end of each span."""
        if self.request.sent_s is None:
            return
        task, answered = self.task, self.answer
        yield "wait", self.request.sent_s, answered
        if task is None:
            return
        ended = self.until_s if task.ended_s is None else task.ended_s
        if task.started_s is None:
            yield "queue", answered, max(ended, answered)
            return
        if task.started_s > answered:
            yield "queue", answered, task.started_s
        if ended > answered:
            yield "free", max(task.started_s, answered), ended
        if task.started_s < answered:
            yield "held", task.started_s, min(ended, answered)

    def marks(self) -> Iterator[tuple[Mark, float]]:
        """Yield the moment of its answer and, if it went wrong, of its task's end."""
        if not self.is_sent:
            return
        if self.request.error is not None:
            yield "trouble", self.answer
        elif self.request.done_s is not None:
            yield "answered", self.request.done_s
        if self.task is not None and self.task.state in TROUBLE:
            yield "trouble", self.until_s if self.task.ended_s is None else self.task.ended_s
        if self.task is not None and self.task.state not in ENDED and not self.is_live:
            yield "open", self.until_s


@dataclass(frozen=True, slots=True)
class Chart:
    """One run as drawn: its requests or, if there are very many, an evenly spread sample of them."""

    run: RunDocument
    bars: list[Bar]
    """In an order that shows a queue as stairs: roughly by the time of sending, then by the end."""
    until_s: float
    """The last moment known from the run's summary and its bystander."""


def chart(run: RunDocument) -> Chart:
    """Return the chart of a run."""
    pings = (moment for ping in run.bystander[-1:] for moment in (ping.sent_s, ping.done_s) if moment is not None)
    until_s = max(1e-6, run.summary.wall_s, run.summary.tasks.last_ended_s or 0.0, *pings)
    sampled = islice(pairs(run), 0, None, -(-len(run.requests) // DRAWN) or 1)
    bars = [Bar(request, task, until_s) for request, task in sampled]
    together_s = max((bar.last for bar in bars), default=0.0) / 50 or 1.0
    bars.sort(key=lambda bar: (round((bar.request.sent_s or 0.0) / together_s), bar.last, bar.request.n))
    return Chart(run, bars, until_s)


def horizon(charts: Iterable[Chart]) -> float:
    """Return the last moment of one or more charts."""
    return max(moment for one in charts for moment in (one.until_s, *(bar.last for bar in one.bars)))


def first_round(runs: Sequence[RunDocument]) -> list[RunDocument]:
    """Return the runs to draw: those of the earliest round."""
    earliest = min((run.round for run in runs), default=1)
    return [run for run in runs if run.round == earliest]
