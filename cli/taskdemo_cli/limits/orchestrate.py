"""Limit `orchestrate`: whether the engine keeps steps in order and passes on their results.

A chain's second step needs the first one's result; the final step of a group of three needs all three. `yes`: both ran
in order, and results were passed on. `partly`: at least one ran in order. `no`: neither did.
"""

from dataclasses import dataclass

from taskdemo_cli.documents.limits import Cell
from taskdemo_cli.limits.evidence import Note, counted
from taskdemo_cli.limits.trial import Trial
from taskdemo_cli.stats import most_at_once
from taskdemo_cli.units import format_seconds

_ANSWER_S = 1.2
"""Seconds within which a caller who waits for the whole plan is answered after its last step."""


@dataclass(frozen=True, slots=True)
class _Observation:
    """What was observed of a plan: earlier steps and a last one."""

    at_once: int = 0
    """The most earlier steps that ran at the same time."""
    refused: bool = False
    """Whether the engine, as configured, rejected the plan: the endpoint raised."""
    ran: bool = False
    """Whether all steps ran to their end."""
    in_order: bool = False
    results_passed: bool = False
    caller_waited_s: float | None = None
    """Seconds that the caller waited; None if it was answered before the last step ended."""


def orchestrate(trial: Trial) -> Cell:
    """Have the engine run the chain, then the group."""
    return _cell(
        chain=_follow(trial, "chain", ["first"], "second"),
        group=_follow(trial, "group", ["part 0", "part 1", "part 2"], "final"),
    )


def _follow(trial: Trial, plan: str, before: list[str], last: str) -> _Observation:
    pending = trial.send(f"/limits/{plan}?key={plan}")
    trial.wait_for_answers([pending])
    if pending.done() and pending.result().status == 500:
        return _Observation(refused=True)

    def over() -> bool:
        return all(trial.notes(plan, step, "ended") for step in [*before, last])

    is_over = trial.follow(plan, over)
    notes = trial.notes(plan)
    at_once = _at_once(notes, before)
    if not is_over:
        return _Observation(at_once)
    begun = {note.step: note for note in notes if note.state == "started"}
    ended = {note.step: note for note in notes if note.state == "ended"}
    results = [ended[step].result for step in before]
    given = begun[last].given
    trial.wait(pending.done, _ANSWER_S)
    waited = pending.done() and pending.result().answered >= ended[last].clock
    return _Observation(
        at_once,
        ran=True,
        in_order=begun[last].clock >= max(ended[step].clock for step in before),
        results_passed=given == results[0]
        if len(results) == 1
        else isinstance(given, list) and sorted(given) == sorted(results, key=str),
        caller_waited_s=pending.result().took if waited else None,
    )


def _at_once(notes: list[Note], steps: list[str]) -> int:
    of = [note for note in notes if note.step in steps]
    starts = sorted(note.clock for note in of if note.state == "started")
    return most_at_once(starts, sorted(note.clock for note in of if note.state != "started"))


def _cell(chain: _Observation, group: _Observation) -> Cell:
    met = [chain.in_order, chain.results_passed, group.in_order, group.results_passed]
    waited = chain.caller_waited_s
    sentences = [
        _words("The chain's second step", "the first", "its result", chain),
        _words("The group's final step", "the three parts", "their results", group),
    ]
    if group.at_once > 1:
        sentences.append(f"{group.at_once} of the parts ran at once.")
    elif group.at_once:
        sentences.append("The parts ran one after another.")
    if waited is not None:
        sentences.append(f"The caller waited for it all: {format_seconds(waited)} for the chain.")
    return counted(
        sum(met),
        len(met),
        " ".join(sentences),
        chain_in_order=chain.in_order,
        chain_results_passed=chain.results_passed,
        group_in_order=group.in_order,
        group_results_passed=group.results_passed,
        parts_at_once=group.at_once,
        caller_waited_s=waited,
    )


def _words(step: str, before: str, results: str, observed: _Observation) -> str:
    if observed.refused:
        return f"{step} was never begun: the endpoint that hands it over answered HTTP 500."
    if not observed.ran:
        return f"{step} did not finish."
    order = f"{step} waited for {before}" if observed.in_order else f"{step} did not wait for {before}"
    if observed.results_passed:
        return f"{order} and was given {results}."
    return f"{order} {'but' if observed.in_order else 'and'} was not given {results}."
