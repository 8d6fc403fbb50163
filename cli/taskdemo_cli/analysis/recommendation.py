"""Which mode to use, computed from the runs of a comparison: on what evidence, and what it gives up.

Pure. Only figures choose; modes are named where their cost for the reader is known without a measurement: which of two
that did equally well needs less to be set up, and what neither run can show (what a crash loses, who tries again). The
figures are the ModeSummary's, as in the verdicts and the table.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from taskdemo_cli.analysis import pasting
from taskdemo_cli.analysis.mode_summary import HELD_UP_S, MOSTLY, ModeSummary
from taskdemo_cli.analysis.pasting import Function
from taskdemo_cli.analysis.rounds import by_mode
from taskdemo_cli.analysis.verdicts import BYSTANDER
from taskdemo_cli.documents.types import Recommendation, RunDocument
from taskdemo_cli.units import format_count, format_seconds
from taskdemo_server.contract.modes import MODE_BY_NAME, MODES

QUICK_S: Final = 0.05
"""A caller can wait for work that takes less."""
SLOWER: Final = 1.5
"""A mode whose tasks took so many times longer than the best is passed over."""
NOISE: Final = 2.0
"""Bystanders who waited so many times longer than the least one may still be the machine's doing."""
BASIS: Final = "known, not measured here; taskdemo limits measures it"
"""What the list of what a mode gives up rests on."""
WAITING: Final = tuple(
    mode.name
    for mode in sorted(MODES, key=lambda mode: mode.awaits)
    if not mode.answers_first and (mode.awaits or mode.runs != "loop")
)
"""Modes for work that a caller can wait for, the one that needs least of the work first."""
AFTERWARDS: Final = tuple(mode.name for mode in MODES if mode.answers_first)
"""In the order of what they need besides FastAPI."""


def recommend(runs: Sequence[RunDocument]) -> Recommendation | None:
    """Return what these runs recommend; None where they show too little, or nothing that one could recommend."""
    good = _good(runs)
    choice = _Choice(good)
    chosen = choice.made()
    if chosen is None:
        return None
    rounds = sorted({run.round for run in runs})
    by_round = [_Choice(_good([run for run in runs if run.round == n and run.mode in good])) for n in rounds]
    return Recommendation(
        mode=chosen,
        why=" ".join([*choice.reasons(chosen), *_doubts(chosen, [one.made() for one in by_round])]),
        gives_up=list(MODE_BY_NAME[chosen].gives_up.values()),
        basis=BASIS,
        code=pasting.code(chosen, _function(runs[0])),
    )


def _good(runs: Sequence[RunDocument]) -> dict[str, ModeSummary]:
    """Return what was measured of each mode that did its job; a work that always fails says nothing of one."""
    whole = {mode: group for mode, group in by_mode(runs).items() if all(map(_is_whole, group))}
    summaries = {mode: ModeSummary.of(group) for mode, group in whole.items()}
    return {mode: one for mode, one in summaries.items() if _is_telling(one)}


def _is_telling(one: ModeSummary) -> bool:
    measured = None not in {one.median, one.work, one.last_ended}
    return measured and one.tasks["failed"] < one.tasks["accepted"]


def _is_whole(run: RunDocument) -> bool:
    """Tell whether every request was answered and every task came to its end."""
    tasks, requests = run.summary.tasks, run.summary.requests
    # A caller that waits for work which fails is told so by an HTTP 500: the work's doing, not the mode's.
    own = sum(count for error, count in requests.errors.items() if error != "HTTP 500")
    ended = tasks.finished + tasks.failed == tasks.accepted
    return not own and not run.not_sent and not run.interrupted and not run.timed_out and ended


def _function(run: RunDocument) -> Function:
    work, called = run.work or "sleep", run.own_work
    if not called:
        return Function(work, duration_s=run.duration_s or 0.0)
    return Function(work, called.is_async, called.takes_message)


class _Choice:
    """The modes that did their job, and which of them is to be preferred."""

    def __init__(self, good: Mapping[str, ModeSummary]) -> None:
        self._good = good
        self._longest_wait = {mode: one.waited or 0.0 for mode, one in good.items()}
        """Of a bystander, answered or not."""
        self._ended = {mode: one.last_ended or 0.0 for mode, one in good.items()}
        self._work = {mode: one.work or 0.0 for mode, one in good.items()}
        least = min((one.waited for one in good.values() if one.waited is not None), default=0.0)
        self._bearable = max(HELD_UP_S, NOISE * least)
        self._quickest = min(self._work, key=self._work.__getitem__, default="")
        """The mode that slows the work down least."""

    def made(self) -> str | None:
        """Return the mode to use; None where there is none to choose from."""
        waiting = [mode for mode in WAITING if mode in self._good]
        later = [mode for mode in AFTERWARDS if mode in self._good]
        if self._is_quick():
            return self._first(waiting) or self._first(later) or self._least(waiting + later)
        return self._first(later) or self._first(waiting) or self._least(later or waiting)

    def _is_quick(self) -> bool:
        return self._work.get(self._quickest, 0.0) < QUICK_S

    def _first(self, candidates: Sequence[str]) -> str | None:
        """Return the first that held up nobody, unless another one was clearly sooner done."""
        free = [mode for mode in candidates if self._is_free(mode)]
        soonest = min((self._ended[mode] for mode in free), default=0.0)
        return next((mode for mode in free if self._ended[mode] <= SLOWER * soonest), None)

    def _least(self, candidates: Sequence[str]) -> str | None:
        return min(candidates, key=self._longest_wait.__getitem__, default=None)

    def _is_free(self, mode: str) -> bool:
        return self._good[mode].waited is None or self._longest_wait[mode] < self._bearable

    def reasons(self, chosen: str) -> Iterator[str]:
        """Yield the sentences that give the evidence."""
        summary = self._good[chosen]
        waited = format_seconds(summary.median or 0.0)
        beside = ""
        if summary.waited is not None:
            beside = f", {BYSTANDER} (GET /ping) {format_seconds(summary.waited)} at most"
        took = format_seconds(self._work[chosen])
        if self._work[chosen] > SLOWER * self._work[self._quickest]:
            took += f" ({format_seconds(self._work[self._quickest])} in {self._quickest})"
        if chosen in WAITING and self._is_quick():
            yield (
                f"The work takes {took}, which a caller can wait for, and then hears whether it went well: half of "
                f"them waited {waited} or less{beside}."
            )
        elif chosen in WAITING:
            yield (
                f"The work takes {took}. Its callers waited {waited} at the median{beside}; "
                f"no mode that answers first did better here."
            )
        else:
            tasks = summary.tasks_in_a_run
            whose = "its task" if tasks == 1 else f"all {format_count(tasks, 'task')}"
            yield (
                f"Callers waited {waited} (median) for work of {took}{beside}; "
                f"{whose} had ended after {format_seconds(self._ended[chosen])}."
            )
        if not self._is_free(chosen):
            yield "That is long: of what was run, nothing held up others less."
        yield from self._passed_over(chosen)
        if summary.tasks_in_a_run == 1:
            yield "With a single request nothing was seen of how requests get in each other's way: try --count 5."
        if summary.clients_share >= MOSTLY:
            yield "Most of the callers' wait is the client's own time."

    def _passed_over(self, chosen: str) -> Iterator[str]:
        """Say what speaks against the others: those who held up everybody, and those who took longer."""
        others = [mode for mode in self._good if mode != chosen]
        if held_up := {mode: self._longest_wait[mode] for mode in others if not self._is_free(mode)}:
            limit = format_seconds(self._bearable)
            yield f"In {_listed(held_up)} {BYSTANDER} waited {_at_most(held_up)} (limit: {limit})."
        late = SLOWER * self._ended[chosen]
        if slow := {mode: self._ended[mode] for mode in others if self._is_free(mode) and self._ended[mode] > late}:
            yield f"In {_listed(slow)} the last task ended only after {_at_most(slow)}."


def _doubts(chosen: str, by_round: Sequence[str | None]) -> Iterator[str]:
    """Yield how sure the choice is: what each round alone says."""
    modes = [mode for mode in by_round if mode]
    others = sorted({mode for mode in modes if mode != chosen}, key=modes.index)
    if others:
        yield (
            f"But the rounds differ: {modes.count(chosen)} of {len(modes)} say {chosen}"
            + "".join(f", {modes.count(mode)} {mode}" for mode in others)
            + "."
        )
    if len(by_round) == 1:
        yield "Measured once; --rounds 5 says how sure."


def _listed(modes: Mapping[str, float]) -> str:
    *names, last = modes
    return f"{', '.join(names)} and {last}" if names else last


def _at_most(times: Mapping[str, float]) -> str:
    longest = format_seconds(max(times.values()))
    return f"up to {longest}" if len(times) > 1 else longest
