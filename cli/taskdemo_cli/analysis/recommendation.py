"""Which mode to use, computed from the runs of a comparison: on what evidence, and what it gives up.

Pure. Only figures choose; modes are named where their cost for the reader is known without a measurement: which of two
that did equally well needs less to be set up, and what neither run can show (what a crash loses, who tries again). Over
several rounds figures are what the verdicts have: the mean for a typical time, the most for a longest one.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

from taskdemo_cli.analysis import pasting
from taskdemo_cli.analysis.mode_summary import CLOSE, HELD_UP_S, MOSTLY, longest_wait
from taskdemo_cli.analysis.pasting import Function
from taskdemo_cli.analysis.rounds import by_mode
from taskdemo_cli.analysis.verdicts import BYSTANDER
from taskdemo_cli.documents.types import Cell, Recommendation, RunDocument
from taskdemo_cli.units import format_count, format_seconds
from taskdemo_server.contract.modes import MODE_BY_NAME, MODES

QUICK_S: Final = 0.05
"""A caller can wait for work that takes less."""
SLOWER: Final = 1.5
"""A mode whose tasks took so many times longer than the best is passed over."""
NOISE: Final = 2.0
"""Bystanders who waited so many times longer than the least one may still be the machine's doing."""
WAITING: Final = ("threadpool", "async")
"""Modes for work that a caller can wait for, the one that needs least of the work first."""
AFTERWARDS: Final = tuple(mode.name for mode in MODES if mode.answers_first)
"""In the order of what they need besides FastAPI."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was measured of a mode, over its rounds. Seconds."""

    mode: str
    rounds: int
    tasks: int
    whole: bool
    """Whether every request was answered and every task came to its end."""
    all_failed: bool
    response: float
    """The mean of the rounds' medians."""
    work: float
    """The same, of the work."""
    bystander: float | None
    """The longest that one waited, in all rounds, answered or not."""
    ended: float
    """When the last task ended, in the round in which that was latest."""
    is_clients: bool
    """Whether most of the response is the client's own time."""

    @classmethod
    def of(cls, mode: str, runs: Sequence[RunDocument]) -> "Facts | None":
        """Return the facts; None where too little was measured to judge by."""
        summaries = [run.summary for run in runs]
        counts = [summary.tasks for summary in summaries]
        ended = [count.last_ended_s for count in counts if count.last_ended_s is not None]
        responses = [summary.response_s.p50 for summary in summaries if summary.response_s]
        works = [summary.work_s.p50 for summary in summaries if summary.work_s]
        if not responses or not works or not ended:
            return None
        failed = sum(count.failed for count in counts)
        own = max((summary.client.overhead_s or 0.0 for summary in summaries), default=0.0)
        response = fmean(responses)
        return cls(
            mode=mode,
            rounds=len(runs),
            tasks=max(count.accepted for count in counts),
            whole=all(_whole(run) for run in runs),
            all_failed=failed == sum(count.accepted for count in counts),
            response=response,
            work=fmean(works),
            bystander=longest_wait(runs),
            ended=max(ended),
            is_clients=own >= MOSTLY * response,
        )


def _whole(run: RunDocument) -> bool:
    summary = run.summary
    tasks, requests = summary.tasks, summary.requests
    # A caller that waits for work which fails is told so by an HTTP 500: the work's doing, not the mode's.
    own = sum(count for error, count in requests.errors.items() if error != "HTTP 500")
    ended = tasks.finished + tasks.failed == tasks.accepted
    return not own and not run.not_sent and not run.interrupted and not run.timed_out and ended


def recommend(
    runs: Sequence[RunDocument], limits: Mapping[str, Mapping[str, Cell]] | None = None
) -> Recommendation | None:
    """Return what these runs recommend; None where they show too little, or nothing that one could recommend.

    `limits` are the modes of a limits document, {mode: {limit: cell}}, that was measured in the same session.
    """
    good = _good(runs)
    choice = _Choice(good)
    chosen = choice.made() if good else None
    if chosen is None:
        return None
    numbers = sorted({run.round for run in runs})
    by_round = [_Choice(_good([run for run in runs if run.round == n and run.mode in good])) for n in numbers]
    price = _Price(chosen.mode, (limits or {}).get(chosen.mode) or {})
    return Recommendation(
        mode=chosen.mode,
        why=" ".join([*choice.reasons(chosen), *choice.doubts(chosen, [one.made() for one in by_round])]),
        gives_up=price.texts,
        code=pasting.code(chosen.mode, _function(runs[0])),
        measured_limits=list(price.lacking),
        basis=price.basis,
    )


def _good(runs: Sequence[RunDocument]) -> dict[str, Facts]:
    """Return the facts of each mode that did its job; a work that always fails says nothing of one."""
    found = (Facts.of(mode, group) for mode, group in by_mode(runs).items())
    return {facts.mode: facts for facts in found if facts and facts.whole and not facts.all_failed}


def _function(run: RunDocument) -> Function:
    work, called = run.work or "sleep", run.own_work
    if not called:
        return Function(work, duration_s=run.duration_s or 0.0)
    return Function(work, called.is_async, called.takes_message)


class _Choice:
    """The modes that did their job, and which of them is to be preferred."""

    def __init__(self, good: Mapping[str, Facts]) -> None:
        self._good = good
        least = min((facts.bystander for facts in good.values() if facts.bystander is not None), default=0.0)
        self._bearable = max(HELD_UP_S, NOISE * least)
        self._alone = min(good.values(), key=lambda facts: facts.work, default=None)
        self.work = self._alone.work if self._alone else 0.0
        """How long the work takes where least slows it down."""
        self._other_side: str | None = None
        """The mode that is taken to be on the other side of the limit."""

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
        free = facts.bystander is None or facts.bystander < self._bearable
        return free != (facts.mode == self._other_side)

    def reasons(self, chosen: Facts) -> Iterator[str]:
        """Yield the sentences that give the evidence."""
        took = format_seconds(chosen.work)
        if self._alone and chosen.work > SLOWER * self.work:
            took += f" ({format_seconds(self.work)} in {self._alone.mode})"
        if chosen.mode in WAITING and self.work < QUICK_S:
            yield (
                f"The work takes {took}, which a caller can wait for, and then hears whether it went well: half of "
                f"them waited {format_seconds(chosen.response)} or less{self._beside(chosen)}."
            )
        elif chosen.mode in WAITING:
            yield (
                f"The work takes {took}. Its callers waited {format_seconds(chosen.response)} at the median"
                f"{self._beside(chosen)}; no mode that answers first did better here."
            )
        else:
            yield (
                f"Callers waited {format_seconds(chosen.response)} (median) for work of {took}"
                f"{self._beside(chosen)}; {_tasks(chosen)} had ended after {format_seconds(chosen.ended)}."
            )
        if not self._is_free(chosen):
            yield "That is long: of what was run, nothing held up others less."
        yield from self._passed_over(chosen)
        if chosen.tasks == 1:
            yield "With a single request nothing was seen of how requests get in each other's way: try --count 5."
        if chosen.is_clients:
            yield "Most of the callers' wait is the client's own time."

    def doubts(self, chosen: Facts, by_round: Sequence[Facts | None]) -> Iterator[str]:
        """Yield how sure that is: what each round alone says, and what was close to the limit."""
        modes = [facts.mode for facts in by_round if facts]
        others = sorted({mode for mode in modes if mode != chosen.mode}, key=modes.index)
        if others:
            yield (
                f"But the rounds differ: {modes.count(chosen.mode)} of {len(modes)} say {chosen.mode}"
                + "".join(f", {modes.count(mode)} {mode}" for mode in others)
                + "."
            )
        else:
            yield from self._close(chosen)
        if len(by_round) == 1:
            yield "Measured once; --rounds 5 says how sure."

    def _close(self, chosen: Facts) -> Iterator[str]:
        """Say which mode would be chosen if one that is near the limit were on its other side."""
        limit = format_seconds(self._bearable)
        for facts in self._good.values():
            waited = facts.bystander
            if waited is None or not self._bearable / CLOSE < waited < self._bearable * CLOSE:
                continue
            free = self._is_free(facts)
            self._other_side = facts.mode
            instead = self.made()
            self._other_side = None
            if instead is not None and instead.mode != chosen.mode:
                side = f"from {limit} on" if free else f"below {limit}"
                what = f"{BYSTANDER} in {facts.mode} waited {format_seconds(waited)}"
                yield f"Close: {what}; {side} the choice would be {instead.mode}."
                return

    def _beside(self, facts: Facts) -> str:
        if facts.bystander is None:
            return ""
        return f", {BYSTANDER} (GET /ping) {format_seconds(facts.bystander)} at most"

    def _passed_over(self, chosen: Facts) -> Iterator[str]:
        """Say what speaks against the others: those who held up everybody, and those who took longer."""
        others = [facts for facts in self._good.values() if facts is not chosen]
        held = [facts for facts in others if not self._is_free(facts)]
        if held:
            worst = max(held, key=lambda facts: facts.bystander or 0.0)
            names = _listed([facts.mode for facts in held])
            also = "up to " if len(held) > 1 else ""
            limit = format_seconds(self._bearable)
            waited = format_seconds(worst.bystander or 0.0)
            yield f"In {names} {BYSTANDER} waited {also}{waited} (limit: {limit})."
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


class _Price:
    """What a mode gives up: as its limits were measured (`cells`), and where they were not, as it is known."""

    def __init__(self, mode: str, cells: Mapping[str, Cell]) -> None:
        self.lacking = {limit: cell for limit, cell in cells.items() if cell.verdict != "yes"}
        known = [text for limit, text in MODE_BY_NAME[mode].gives_up.items() if limit not in cells]
        mixed = bool(self.lacking and known)
        measured_mark, known_mark = (", measured", " (known)") if mixed else ("", "")
        self.texts = [
            *(_cited(limit, cell, measured_mark) for limit, cell in self.lacking.items()),
            *(text + known_mark for text in known),
        ]
        self.basis = "known, not measured here"
        if self.lacking:
            self.basis = "measured, or known and not measured" if mixed else "measured"
        elif not cells:
            self.basis += "; taskdemo limits measures it"


def _cited(limit: str, cell: Cell, mark: str) -> str:
    partly = ", partly" if cell.verdict == "partly" else ""
    return f"{limit.replace('_', ' ').capitalize()}{partly}{mark}: {cell.text}"
