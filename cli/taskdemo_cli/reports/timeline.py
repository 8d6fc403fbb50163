"""The timeline of runs, in seconds: the spans and marks of each request with its task.

One model for the terminal, which paints it in cells, and the page, which draws it as SVG. Computes no figure.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Literal, TypeAlias

from taskdemo_cli.documents.rows import pairs
from taskdemo_cli.documents.run import RequestRow, RunDocument, TaskRow
from taskdemo_cli.recording.tasks import TROUBLE, UNENDED

DRAWN: Final = 1000
"""Requests of a run that are drawn at the most."""
Kind: TypeAlias = Literal["wait", "held", "queue", "free"]
"""The caller waits; its work runs and the caller waits; its task is queued; its work runs and nobody waits."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One request with its task in seconds of the run, None where a moment was not seen."""

    n: int
    sent: float
    answered: float | None
    ok: bool
    """While nothing is wrong with the request."""
    started: float | None = None
    ended: float | None = None
    state: str | None = None
    runs: int = 1
    """How often its work was begun."""

    @classmethod
    def of(cls, request: RequestRow, task: TaskRow | None) -> "Bar | None":
        """Return the bar of a request that was sent."""
        if request.sent_s is None:
            return None
        ok = request.error is None
        if task is None:
            return cls(request.n, request.sent_s, request.done_s, ok)
        return cls(request.n, request.sent_s, request.done_s, ok, task.started_s, task.ended_s, task.state, task.runs)

    @property
    def last(self) -> float:
        """The last moment known of it."""
        return max(moment for moment in (self.sent, self.answered, self.started, self.ended) if moment is not None)

    def answer(self, until_s: float) -> float:
        """Return when the caller's waiting ended: at `until_s` where it still waits."""
        if self.answered is not None:
            return self.answered
        return until_s if self.ok else self.last

    def spans(self, until_s: float) -> Iterator[tuple[Kind, float, float]]:
        """Yield the kind, start and end of what is drawn; what had not ended by `until_s` reaches to there."""
        answered = self.answer(until_s)
        yield "wait", self.sent, answered
        if self.started is not None:
            ended = self.ended if self.ended is not None else max(until_s, self.last)
            if self.started > answered:
                yield "queue", answered, self.started
            if ended > answered:
                yield "free", max(self.started, answered), ended
            if self.started < answered:
                yield "held", self.started, min(ended, answered)
        elif self.state is not None:
            yield "queue", answered, max(self.ended if self.ended is not None else until_s, answered)

    def trouble(self, until_s: float) -> float | None:
        """Return where its task failed or was cancelled, or the end where it got lost."""
        if self.state not in TROUBLE:
            return None
        return self.ended if self.ended is not None else max(until_s, self.answer(until_s))

    @property
    def is_open(self) -> bool:
        """Whether its task had not ended when nobody looked any more."""
        return self.state in UNENDED


def sample(run: RunDocument) -> Iterator[tuple[RequestRow, TaskRow | None]]:
    """Yield the requests that are drawn, each with its task: all, or of very many evenly spread ones."""
    return islice(pairs(run), 0, None, -(-len(run.requests) // DRAWN) or 1)


def stairs_key(bars: Iterable[Bar]) -> Callable[[Bar], tuple[int, float, int]]:
    """Return what sorts these bars so that a queue shows as stairs: as sent, about, then as over."""
    together_s = max((bar.last for bar in bars), default=0.0) / 50 or 1.0
    return lambda bar: (round(bar.sent / together_s), bar.last, bar.n)


def first_round(runs: Sequence[RunDocument]) -> list[RunDocument]:
    """Return the runs that are drawn: those of the first round that there is."""
    earliest = min((run.round for run in runs), default=1)
    return [run for run in runs if run.round == earliest]


def last_moment(run: RunDocument) -> float:
    """Return the last moment that the run's summary and its bystander know of, in its seconds."""
    pings = (moment for ping in run.bystander[-1:] for moment in (ping.sent_s, ping.done_s) if moment is not None)
    return max(1e-6, run.summary.wall_s, run.summary.tasks.last_ended_s or 0.0, *pings)
