"""Limit `track`: whether the engine reports a task's state while it waits, while it runs, and after it has ended.

`yes`: it distinguished all three. `partly`: it distinguished two. `no`: there is nothing to ask, or it always gives the
same state. The journal does not count: it is taskdemo's, not the engine's.
"""

from typing import Any

from taskdemo_cli.documents.limits import Cell
from taskdemo_cli.limits.evidence import counted
from taskdemo_cli.limits.trial import SETTLE_S, Trial

_MOMENTS = {"waiting": "while it waited", "running": "while it ran", "ended": "after its end"}
_TRIES = 3
"""On a busy machine, a worker may begin or end a task before we ask the engine about it."""


def track(trial: Trial) -> Cell:
    """Start more tasks than run at once, and ask about the last one at three moments."""
    said: dict[str, dict[str, Any]] = {}
    for go in range(_TRIES):
        before = len(said)
        *others, last = [f"{go}.{number}" for number in range(trial.enough)]
        trial.wait_for_answers([trial.send(f"/limits/track?key={key}") for key in others])
        trial.wait_for_answers([trial.send(f"/limits/track?key={last}")])
        _ask_while(trial, last, "waiting", said)
        trial.wait_for_begin(last)
        _ask_while(trial, last, "running", said)
        trial.wait(lambda key=last: _moment(trial, key) == "ended", 30)  # type: ignore[misc]
        trial.pause(SETTLE_S)
        _ask_while(trial, last, "ended", said)
        if said.keys() == _MOMENTS.keys() or (go and len(said) == before):
            break
    return _cell({moment: said.get(moment, {}) for moment in _MOMENTS})


def _ask_while(trial: Trial, key: str, moment: str, said: dict[str, dict[str, Any]]) -> None:
    """Record the engine's answer in `said`, if the task is at `moment` both before and after the question."""
    if _moment(trial, key) == moment:
        answer = trial.ask(f"/limits/ask?key={key}")
        if _moment(trial, key) == moment:
            said[moment] = answer.body if answer.status == 200 else {}


def _moment(trial: Trial, key: str) -> str:
    """Return the task's moment, a key of `_MOMENTS`, from its own notes."""
    states = [note.state for note in trial.notes(key)]
    return {"started": "running", "ended": "ended"}[states[-1]] if states else "waiting"


def _cell(said: dict[str, dict[str, Any]]) -> Cell:
    states = {moment: one.get("state") for moment, one in said.items()}
    told = {moment: state for moment, state in states.items() if state is not None}
    asked = next((one["asked"] for one in said.values() if one.get("asked")), None)
    refused = next((one["refused"] for one in said.values() if one.get("refused")), None)
    different = len(set(told.values()))
    apart = different if different > 1 else 0
    if refused:
        text = f"Its {asked} gave no answer: {refused.rstrip('.')}."
    elif not told:
        text = "The engine offers no way to ask about a task."
    elif not apart:
        moments = ", ".join(_MOMENTS[moment] for moment in told)
        text = f"All there is to ask, a {asked}, gave the same answer {moments}: {next(iter(told.values()))!r}."
    else:
        text = f"Its {asked} said {', '.join(f'{state!r} {_MOMENTS[moment]}' for moment, state in told.items())}."
    return counted(apart, len(said), text, asked=asked, **states, told_apart=apart)
