"""Which mode to use for which need, computed from the runs of a comparison: the evidence, and what the mode gives up.

Pure. Figures choose among the modes that meet the needs. Whether a mode meets one that no comparison can show (what a
crash loses, who retries) comes from its registry entry, which the experiments of `taskdemo limits` prove. The figures
are those of ModeSummary, as in the verdicts and the table.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from taskdemo_cli.analysis import pasting
from taskdemo_cli.analysis.mode_summary import HELD_UP_S, ModeSummary, summaries
from taskdemo_cli.analysis.pasting import Function
from taskdemo_cli.analysis.rounds import by_mode, whole
from taskdemo_cli.analysis.verdicts import BYSTANDER, bounded
from taskdemo_cli.documents.comparison import Recommendation
from taskdemo_cli.documents.run import OwnFunction, RunDocument
from taskdemo_cli.stats import grouped
from taskdemo_cli.units import format_all, format_count, format_list, format_seconds, format_share
from taskdemo_server.contract.modes import MODE_BY_NAME, MODES, NEEDS

QUICK_S: Final = 0.05
"""A caller can wait for work that takes less; a shorter difference between modes means nothing."""
SLOWER: Final = 1.5
"""A mode whose last task ended later than this many times the soonest mode's, and QUICK_S later, is passed over."""
NOISE: Final = 2.0
"""A bystander's wait may be the machine's doing up to this many times the shortest one, but not beyond this many times
the limit: if bystanders waited longer in every mode, none is quiet."""
TOO_MANY: Final = 0.5
"""Work of which a larger share fails says nothing about where it should run."""
BASIS: Final = "known, not measured here; taskdemo limits measures it"
"""The basis of the list of what a mode gives up."""
WAITING: Final = tuple(
    mode.name
    for mode in sorted(MODES, key=lambda mode: mode.awaits)
    if not mode.answers_first and (mode.awaits or mode.runs != "loop")
)
"""Modes for work that a caller can wait for; those that demand least of the work come first."""
AFTERWARDS: Final = tuple(mode.name for mode in MODES if mode.answers_first)
"""Modes that answer first, in the order of what they need besides FastAPI."""
ADVISED: Final = tuple(mode.name for mode in MODES if mode.name in {*WAITING, *AFTERWARDS})
"""Modes that may be recommended: all but `blocking`."""
APART: Final = frozenset(mode.name for mode in MODES if mode.runs in {"process", "worker"})
"""Modes whose work does not share the server's interpreter."""


@dataclass(frozen=True, slots=True)
class Advice:
    """What a comparison recommends: for each need by itself, and for the named needs together, or for none."""

    each: list[Recommendation]
    one: Recommendation | None
    """None if the runs show too little."""


def recommend(runs: Sequence[RunDocument], needs: Sequence[str] = ()) -> Advice:
    """Return what one or more runs recommend for all of `needs` together.

    If no mode will do, `mode` is None and `why` gives the reason.
    """
    measured = summaries(runs)
    if why := _mostly_fails(measured):
        return Advice([], Recommendation(need=", ".join(needs), mode=None, why=why))
    good = _good(runs)
    left_out = {mode: one for mode, one in measured.items() if mode in MODE_BY_NAME and mode not in good}
    choice = _Choice(good, _function(runs[0]), left_out)
    rounds = grouped((run.round, run) for run in runs if run.mode in good and not run.interrupted)
    complete = [those for those in rounds.values() if {run.mode for run in those} == set(good)]
    by_round = [_Choice(_good(those), choice.function, left_out) for those in complete]

    def recommended(needs: Sequence[str], *, brief: bool) -> Recommendation:
        chosen = choice.made(needs)
        if chosen is None:
            return Recommendation(need=", ".join(needs), mode=None, why=" ".join(filter(None, choice.obstacles(needs))))
        doubts = _doubts(chosen, [one.made(needs) for one in by_round])
        return Recommendation(
            need=", ".join(needs),
            mode=chosen,
            why=" ".join(choice.decisive(chosen, needs) if brief else [*choice.reasons(chosen, needs), *doubts]),
            gives_up=list(dict.fromkeys(MODE_BY_NAME[chosen].gives_up.values())),
            basis=BASIS,
            code=pasting.code(chosen, choice.function),
        )

    if choice.made() is None and not needs:
        trouble = choice.trouble()
        return Advice([], Recommendation(need="", mode=None, why=trouble) if trouble else None)
    return Advice([recommended([need], brief=True) for need in NEEDS], recommended(needs, brief=False))


def _mostly_fails(measured: Mapping[str, ModeSummary]) -> str:
    """Return why nothing is recommended if the work mostly fails or is lost; else an empty string."""
    accepted, failed, lost = (
        sum(one.tasks[name] for one in measured.values()) for name in ("accepted", "failed", "lost")
    )
    if failed + lost <= TOO_MANY * accepted:
        return ""
    error = next((one.error for one in measured.values() if one.error), None)
    loss = next((one.loss for one in measured.values() if one.loss), None)
    words = [_ended_words(failed, accepted, "failed", error)] if failed else []
    words += [_ended_words(lost, accepted, "were lost", loss)] if lost else []
    return f"{' and '.join(words)}: such work cannot show where it should run."


def _ended_words(count: int, accepted: int, how: str, why: str | None) -> str:
    because = f" ({why})" if why else ""
    return f"{count:,} of {format_count(accepted, 'task')} {how}{because}"


def _good(runs: Sequence[RunDocument]) -> dict[str, ModeSummary]:
    """Return the summary of each mode that did its job; work that mostly fails says nothing about a mode."""
    counting = map(whole, by_mode(runs).values())
    did_well = [run for group in counting if all(map(_is_whole, group)) for run in group]
    return {
        mode: one
        for mode, one in summaries(did_well).items()
        if None not in {one.median, one.work} and one.tasks["failed"] <= TOO_MANY * one.tasks["accepted"]
    }


def _is_whole(run: RunDocument) -> bool:
    """Return whether every request was answered and every task ended."""
    tasks, requests = run.summary.tasks, run.summary.requests
    # A caller that waits for work which fails gets an HTTP 500: the work's fault, not the mode's.
    own = sum(count for error, count in requests.errors.items() if error != "HTTP 500")
    ended = tasks.finished + tasks.failed == tasks.accepted
    return not own and not run.not_sent and not run.interrupted and not run.timed_out and ended


def _function(run: RunDocument) -> Function:
    called = run.own_work or OwnFunction(is_async=False, takes_message=True)
    return Function(run.work or "sleep", called.is_async, called.takes_message, run.duration_s or 0.0)


class _Choice:
    """The modes that did their job, and which of them to prefer."""

    def __init__(
        self, good: Mapping[str, ModeSummary], function: Function, left_out: Mapping[str, ModeSummary]
    ) -> None:
        self._good = good
        self.function = function
        self._left_out = left_out
        """The modes that were run and did not do their job, or could not before the user interrupted it."""
        self._longest_wait = {
            mode: max(one.waited or 0.0, (one.work or 0.0) if self._holds_the_loop(mode) else 0.0)
            for mode, one in good.items()
        }
        """Of a bystander, answered or not; at least as long as work that blocks the loop."""
        self._ended = {mode: one.last_ended or 0.0 for mode, one in good.items()}
        least = min((one.waited for one in good.values() if one.waited is not None), default=0.0)
        self._bearable = max(HELD_UP_S, NOISE * min(least, HELD_UP_S))
        self._is_quick = min((one.work or 0.0 for one in good.values()), default=0.0) < QUICK_S

    def _holds_the_loop(self, mode: str) -> bool:
        """Return whether the work blocks the event loop for as long as it takes, whenever the bystanders came."""
        awaits = self.function.name == "sleep" or (self.function.is_async and not self._never_awaits(mode))
        return MODE_BY_NAME[mode].runs == "loop" and not (MODE_BY_NAME[mode].awaits and awaits)

    def _never_awaits(self, mode: str) -> bool:
        """Return whether an `async def` ran for one request after another, although all came at once."""
        one = self._good[mode]
        return self.function.is_async and one.tasks_in_a_run > 1 and one.on_loop and one.tasks["max_parallel"] == 1

    def made(self, needs: Sequence[str] = ()) -> str | None:
        """Return the best of the modes that meet all needs; None if there is none."""
        candidates = [mode for mode in self._good if not self._lacking(mode, needs)]
        waiting = [mode for mode in WAITING if mode in candidates]
        later = [mode for mode in AFTERWARDS if mode in candidates]
        if self._is_quick:  # then it takes the interpreter from nobody for long
            return self._first(waiting) or self._first(later) or self._least(waiting + later)
        later.sort(key=self._shares_interpreter)
        return self._first(later) or self._first(waiting) or self._least(later or waiting)

    def _lacking(self, mode: str, needs: Sequence[str]) -> str | None:
        """Return what the mode gives up of these needs; None if it meets them all."""
        if "quiet" in needs and not (self._is_free(mode) and not self._shares_interpreter(mode)):
            return "a server that is free for other requests"
        return next((lack for need in needs if (lack := MODE_BY_NAME[mode].lacks(need))), None)

    def _shares_interpreter(self, mode: str) -> bool:
        """Return whether the work computes and the mode runs it in the server's process, at the expense of others."""
        let_go = self._good[mode].lets_go and self._is_free(mode)
        return self._good[mode].computes and mode not in APART and not let_go

    def _first(self, candidates: Sequence[str]) -> str | None:
        """Return the first mode that held up nobody, unless another such mode was done clearly sooner."""
        free = [mode for mode in candidates if self._is_free(mode)]
        soonest = min((self._ended[mode] for mode in free), default=0.0)
        return next((mode for mode in free if not self._is_late(mode, soonest)), None)

    def _is_late(self, mode: str, soonest: float) -> bool:
        """Return whether its last task ended late, and not for lack of processes, whose number --processes sets."""
        late = self._ended[mode] > max(SLOWER * soonest, soonest + QUICK_S)
        return late and not self._good[mode].is_bounded

    def _least(self, candidates: Sequence[str]) -> str | None:
        return min(candidates, key=self._longest_wait.__getitem__, default=None)

    def _held_up(self, mode: str) -> bool:
        """Return whether a bystander was seen to wait for too long, and not only can be."""
        return (self._good[mode].waited or 0.0) >= self._bearable

    def _is_free(self, mode: str) -> bool:
        return self._good[mode].waited is None or self._longest_wait[mode] < self._bearable

    def decisive(self, chosen: str, needs: Sequence[str]) -> list[str]:
        """Return what speaks against the others or, if nothing does, the evidence for this one."""
        few = [f"{chosen} did {bounded(self._good[chosen])}."] if self._good[chosen].is_bounded else []
        return [*self._failed(chosen), *self._passed_over(chosen, needs), *few] or list(self.reasons(chosen, needs))

    def _failed(self, chosen: str) -> Iterator[str]:
        summary = self._good[chosen]
        if failed := summary.tasks["failed"]:
            words = _ended_words(failed, summary.tasks["accepted"], "failed", summary.error)
            yield f"{words}; the times are those of the others."

    def reasons(self, chosen: str, needs: Sequence[str]) -> Iterator[str]:
        """Yield the evidence, sentence by sentence: what failed comes first."""
        summary = self._good[chosen]
        yield from self._failed(chosen)
        waited = format_seconds(summary.median or 0.0)
        beside = "" if summary.waited is None else f", {BYSTANDER} at most {format_seconds(summary.waited)}"
        took = format_seconds(summary.work or 0.0)
        if chosen in WAITING and self._is_quick:
            yield (
                f"The work takes {took}, short enough for callers to wait and learn whether it succeeded: half of "
                f"them waited {waited} or less{beside}."
            )
        elif chosen in WAITING:
            yield f"The work takes {took}. Its callers waited {waited} at the median{beside}."
        else:
            tasks = summary.tasks_in_a_run
            whose = "its task" if tasks == 1 else format_all(tasks, "task")
            places = f": {bounded(summary)}" if summary.is_bounded else ""
            yield (
                f"The work takes {took}. Its callers waited {waited} (median){beside}; "
                f"{whose} had ended after {format_seconds(self._ended[chosen])}{places}."
            )
        if not self._is_free(chosen):
            shorter = [mode for mode in self._good if self._longest_wait[mode] < self._longest_wait[chosen]]
            less = f"; {format_list(shorter)}" if shorter else ", but no mode that was run"
            yield f"That is long{less} held up others less."
            if self._never_awaits(chosen):
                yield "This function never awaits: it blocks the event loop until it returns."
        if summary.computes:
            how = "releases the interpreter" if summary.lets_go else "shares the interpreter with the server"
            beside_it = "" if chosen in APART else f", and {how} meanwhile"
            yield f"The work computes {format_share(summary.cpu_share or 0.0)} of its time{beside_it}."
        yield from self._passed_over(chosen, needs)
        if summary.tasks_in_a_run == 1:
            yield "A single request cannot show how requests affect each other: try --count 5."

    def _passed_over(self, chosen: str, needs: Sequence[str]) -> Iterator[str]:
        """Yield what speaks against the others: trouble, what they give up, who held up everybody, who took longer."""
        yield from filter(None, [self.trouble()])
        yield from self._given_up(needs)
        others = [mode for mode in self._good if mode != chosen and not self._lacking(mode, needs)]
        limit = f" ({format_seconds(self._bearable)} or more is too long)"
        for is_seen in (True, False):
            long = [mode for mode in others if not self._is_free(mode) and self._held_up(mode) is is_seen]
            held_up = {mode: self._longest_wait[mode] for mode in long}
            if held_up:
                hold = _do("hold", held_up) if is_seen else f"{format_list(held_up)} can hold"
                most = format_seconds(max(held_up.values()))
                yield f"{hold} up {BYSTANDER} for up to {most}{limit}{self._why(held_up)}."
                limit = ""  # said once
        free = [mode for mode in others if self._is_free(mode)]
        if slow := {mode: self._ended[mode] for mode in free if self._is_late(mode, self._ended[chosen])}:
            latest = format_seconds(max(slow.values()))
            yield f"In {format_list(slow)} the last task did not end until {latest} after the start."

    def _why(self, held_up: Mapping[str, float]) -> str:
        """Return why the modes that await a function do not help one that cannot await; else an empty string."""
        awaited = [mode for mode in held_up if MODE_BY_NAME[mode].awaits]
        cannot = "never awaits" if any(map(self._never_awaits, awaited)) else "cannot await"
        is_known = awaited and ":" in self.function.name and (not self.function.is_async or cannot == "never awaits")
        return f": this function {cannot}, so {format_list(awaited)} cannot help" if is_known else ""

    def _given_up(self, needs: Sequence[str]) -> Iterator[str]:
        """Yield what the modes that lack a need give up, one sentence for all that give up the same."""
        lacking = grouped((lack, mode) for mode in self._good if (lack := self._lacking(mode, needs)))
        for lack, modes in lacking.items():
            yield f"{_do('give', modes)} up {lack}."

    def trouble(self) -> str:
        """Return which modes did not do their job, though nobody interrupted them; empty if there are none."""
        blamed = [mode for mode, one in self._left_out.items() if not one.is_partial]
        return f"In {format_list(blamed)}, requests failed or tasks did not finish." if blamed else ""

    def obstacles(self, needs: Sequence[str]) -> Iterator[str]:
        """Yield why no mode that was run meets all needs, and which other modes do."""
        yield self.trouble()
        if cut_short := [mode for mode, one in self._left_out.items() if one.is_partial]:
            yield f"The run of {format_list(cut_short)} was interrupted."
        known = [mode for mode in ADVISED if not any(map(MODE_BY_NAME[mode].lacks, needs))]
        certain = APART if "quiet" in needs else ADVISED  # whether others are quiet, only a measurement tells
        others = [mode for mode in known if mode in certain and mode not in {*self._good, *self._left_out}]
        if met := [mode for mode in self._good if not self._lacking(mode, needs)]:  # `blocking`, never recommended
            holds = "holds" if any(map(self._held_up, met)) else "can hold"
            only = f"Of the modes that were run, only {format_list(met)}"
            yield f"{only} meets this, but it {holds} up every other request."
        elif known and self._good:
            yield f"None of the {'others' if self._left_out else 'modes'} that were run meets this."
        elif not known:
            yield "No mode meets all of these needs: leave one out."
        yield from self._given_up(needs)
        if others:
            yield f"Of those that were not run, {format_list(others)} would: --modes {','.join(others)}."


def _doubts(chosen: str, by_round: Sequence[str | None]) -> Iterator[str]:
    """Yield how sure the choice is: what each round alone says, of those in which every mode was run."""
    votes = Counter(mode for mode in by_round if mode)
    if others := "".join(f", {count} {mode}" for mode, count in votes.items() if mode != chosen):
        yield f"But the rounds differ: {votes[chosen]} of {votes.total()} say {chosen}{others}."
    if len(by_round) == 1:
        yield "Measured once; --rounds 5 checks it."


def _do(verb: str, modes: Mapping[str, float] | Sequence[str]) -> str:
    return f"{format_list(modes)} {verb}{'' if len(modes) > 1 else 's'}"
