"""Which mode to use, computed from the runs of a comparison: on what evidence, and what it gives up.

Pure. Only figures choose; modes are named where their cost for the reader is known without a measurement: which of two
that did equally well needs less to be set up, and what neither run can show (what a crash loses, who tries again).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from taskdemo_cli import pasting
from taskdemo_cli.documents import Recommendation, RunDocument
from taskdemo_cli.pasting import Function
from taskdemo_cli.units import format_count, format_seconds
from taskdemo_cli.verdicts import HELD_UP_S, by_mode

QUICK_S: Final = 0.05
"""A caller can wait for work that takes less."""
SLOWER: Final = 1.5
"""A mode whose tasks took so many times longer than the best is passed over."""
NOISE: Final = 2.0
"""Bystanders who waited so many times longer than the least one may still be the machine's doing."""
WAITING: Final = ("threadpool", "async")
AFTERWARDS: Final = ("background", "background-async", "process", "celery")
"""In the order of what they need besides FastAPI."""
KNOWN: Final[dict[str, dict[str, str]]] = {
    "async": {
        "track": "The caller waits, and hears of a failure; whoever hangs up early hears nothing.",
        "retry": "What failed is not run again.",
        "offload": "Any part of the work that does not await holds up everybody.",
    },
    "threadpool": {
        "track": "The caller waits, and hears of a failure; whoever hangs up early hears nothing.",
        "retry": "What failed is not run again.",
        "offload": "At most 40 callers are served at once, those of every other `def` endpoint among them.",
    },
    "background": {
        "track": "Nobody can ask how a task is doing, and its failure is seen only in the server's log.",
        "cancel": "A task cannot be stopped once it was added.",
        "retry": "What failed is not run again.",
        "orchestrate": "No chains, and no groups with a final step.",
        "offload": "The work stays in the server's process, in 40 threads that every `def` endpoint needs too.",
        "survive_server_kill": "A server that is killed or crashes loses its tasks.",
    },
    "background-async": {
        "track": "Nobody can ask how a task is doing, and its failure is seen only in the server's log.",
        "cancel": "A task cannot be stopped once it was added.",
        "retry": "What failed is not run again.",
        "orchestrate": "No chains, and no groups with a final step.",
        "offload": "Any part of the work that does not await holds up everybody.",
        "survive_server_kill": "A server that is killed or crashes loses its tasks.",
    },
    "process": {
        "cancel": "A task that a process has begun cannot be stopped.",
        "retry": "What failed is not run again.",
        "orchestrate": "No chains, and no groups with a final step.",
        "distribute": "All processes are on this machine.",
        "survive_server_kill": "A server that is killed or crashes loses its tasks.",
        "survive_worker_kill": "One process that dies breaks the whole pool, and its tasks are lost.",
    },
    "celery": {
        "survive_worker_kill": "A task may run twice: what a dead worker held is delivered again.",
        "distribute": "A broker and workers have to run, and somebody has to look after them.",
    },
}
"""What a mode gives up, by limit; known, and not measured by a comparison."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was measured of a mode: the median over its rounds. Seconds."""

    mode: str
    tasks: int
    whole: bool
    """Whether every request was answered and every task came to its end."""
    all_failed: bool
    response: float
    work: float
    bystander: float | None
    ended: float
    trusted: bool

    @classmethod
    def of(cls, mode: str, runs: Sequence[RunDocument]) -> "Facts | None":
        """Return the facts; None where too little was measured to judge by."""
        summaries = [run["summary"] for run in runs]
        counts = [summary["tasks"] for summary in summaries]
        ended = [count["last_ended_s"] for count in counts if count["last_ended_s"] is not None]
        responses = [summary["response_s"]["p50"] for summary in summaries if summary["response_s"]]
        works = [summary["work_s"]["p50"] for summary in summaries if summary["work_s"]]
        if not responses or not works or not ended:
            return None
        pings = [summary["bystander_s"]["max"] for summary in summaries if summary["bystander_s"]]
        failed = sum(count["failed"] for count in counts)
        return cls(
            mode=mode,
            tasks=max(count["accepted"] for count in counts),
            whole=all(_whole(run) for run in runs),
            all_failed=failed == sum(count["accepted"] for count in counts),
            response=median(responses),
            work=median(works),
            bystander=median(pings) if pings else None,
            ended=median(ended),
            trusted=all(summary["client"]["trusted"] is not False for summary in summaries),
        )


def _whole(run: RunDocument) -> bool:
    summary = run["summary"]
    tasks, requests = summary["tasks"], summary["requests"]
    # A caller that waits for work which fails is told so by an HTTP 500: the work's doing, not the mode's.
    own = sum(count for error, count in requests["errors"].items() if error != "HTTP 500")
    ended = tasks["finished"] + tasks["failed"] == tasks["accepted"]
    return not own and not run["not_sent"] and not run["interrupted"] and not run["timed_out"] and ended


def recommend(runs: Sequence[RunDocument], limits: Mapping[str, Any] | None = None) -> Recommendation | None:
    """Return what these runs recommend; None where they show too little, or nothing that one could recommend.

    `limits` are the modes of a limits document, {mode: {limit: cell}}, that was measured in the same session.
    """
    found = {mode: facts for mode, group in by_mode(runs).items() if (facts := Facts.of(mode, group))}
    good = {mode: facts for mode, facts in found.items() if facts.whole}
    if not good or all(facts.all_failed for facts in good.values()):
        return None
    choice = _Choice(good)
    chosen = choice.made()
    if chosen is None:
        return None
    return {
        "mode": chosen.mode,
        "why": " ".join(choice.reasons(chosen)),
        "gives_up": list(_gives_up(chosen.mode, found, limits or {})),
        "code": pasting.code(chosen.mode, _function(runs[0])),
    }


def _function(run: RunDocument) -> Function:
    work, called = run["work"] or "sleep", run.get("own_work")
    if called is None:
        return Function(work, duration_s=run["duration_s"] or 0.0)
    return Function(work, called["is_async"], called["takes_message"])


class _Choice:
    """The modes that did their job, and which of them is to be preferred."""

    def __init__(self, good: Mapping[str, Facts]) -> None:
        self._good = good
        least = min((facts.bystander for facts in good.values() if facts.bystander is not None), default=0.0)
        self._bearable = max(HELD_UP_S, NOISE * least)
        works = [facts.work for facts in good.values()]
        self.work = min(works)
        """How long the work takes where nothing slows it down."""

    def made(self) -> Facts | None:
        """Return the mode to use."""
        waiting = [self._good[mode] for mode in WAITING if mode in self._good]
        later = [self._good[mode] for mode in AFTERWARDS if mode in self._good]
        if self.work < QUICK_S:
            return self._first(waiting) or self._first(later) or self._least(waiting + later)
        return self._first(later) or self._first(waiting) or self._least(later or waiting)

    def _first(self, candidates: Sequence[Facts]) -> Facts | None:
        """Return the first that held up nobody, unless another one was clearly sooner done."""
        free = [facts for facts in candidates if self._is_free(facts)]
        soonest = min((facts.ended for facts in free), default=0.0)
        return next((facts for facts in free if facts.ended <= SLOWER * soonest), None)

    def _least(self, candidates: Sequence[Facts]) -> Facts | None:
        return min(candidates, key=lambda facts: facts.bystander or 0.0, default=None)

    def _is_free(self, facts: Facts) -> bool:
        return facts.bystander is None or facts.bystander < self._bearable

    def reasons(self, chosen: Facts) -> Iterator[str]:
        """Yield the sentences that give the evidence."""
        took = format_seconds(self.work)
        if chosen.mode in WAITING and self.work < QUICK_S:
            yield (
                f"The work takes {took}, which a caller can wait for, and then hears whether it went well: half of "
                f"them had their answer within {format_seconds(chosen.response)}{self._beside(chosen)}."
            )
        elif chosen.mode in WAITING:
            yield (
                f"The work takes {took}. Its callers waited {format_seconds(chosen.response)} at the median"
                f"{self._beside(chosen)}; no mode that answers first did better here."
            )
        else:
            yield (
                f"The work takes {took}, but half of the callers had their answer within "
                f"{format_seconds(chosen.response)}{self._beside(chosen)}; {_tasks(chosen)} had ended after "
                f"{format_seconds(chosen.ended)}."
            )
        if not self._is_free(chosen):
            yield "That is long: of what was run, nothing held up others less."
        yield from self._passed_over(chosen)
        if chosen.tasks == 1:
            yield "With a single request nothing was seen of how requests get in each other's way: try --count 5."
        if not chosen.trusted:
            yield "The answers were so quick that the client's own time is a good part of theirs."

    def _beside(self, facts: Facts) -> str:
        if facts.bystander is None:
            return ""
        return f", and a bystander waited {format_seconds(facts.bystander)} at most"

    def _passed_over(self, chosen: Facts) -> Iterator[str]:
        """Say what speaks against the others: those who held up everybody, and those who took longer."""
        others = [facts for facts in self._good.values() if facts is not chosen]
        held = [facts for facts in others if not self._is_free(facts)]
        if held:
            worst = max(held, key=lambda facts: facts.bystander or 0.0)
            names = _listed([facts.mode for facts in held])
            also = "up to " if len(held) > 1 else ""
            yield f"In {names} the bystander waited {also}{format_seconds(worst.bystander or 0.0)}."
        slow = [facts for facts in others if self._is_free(facts) and facts.ended > SLOWER * chosen.ended]
        if slow:
            worst = max(slow, key=lambda facts: facts.ended)
            names = _listed([facts.mode for facts in slow])
            also = "up to " if len(slow) > 1 else ""
            yield f"In {names} the last task ended only after {also}{format_seconds(worst.ended)}."


def _tasks(facts: Facts) -> str:
    return "its task" if facts.tasks == 1 else f"all {format_count(facts.tasks, 'task')}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _gives_up(mode: str, found: Mapping[str, Facts], limits: Mapping[str, Any]) -> Iterator[str]:
    """Yield what the mode cannot do: as it was measured, or as it is known."""
    cells = limits.get(mode) or {}
    for limit, cell in cells.items():
        if cell["verdict"] != "yes":
            yield f"{limit.replace('_', ' ').capitalize()}: {cell['text']} (Measured.)"
    for limit, text in KNOWN[mode].items():
        if limit not in cells:
            yield f"{text} (Known, not measured here.)"
    if mode != "celery":
        there = found.get("celery")
        seen = f"here its last task ended after {format_seconds(there.ended)}" if there else "it was not run here"
        yield f"Where a task must not be lost, or must be tried again, there is celery: {seen}."
