"""Limit `track`: whether the engine can be asked for a task's state while it waits, runs, and after it has ended.

`yes`: it told these three apart. `partly`: it told two of them apart. `no`: there is nothing to ask, or it always
says the same. taskdemo's own journal is not asked: it is taskdemo's, not the engine's.
"""

from dataclasses import dataclass

from taskdemo_cli.documents.limits import Cell
from taskdemo_cli.limits.evidence import counted
from taskdemo_cli.limits.trial import SETTLE_S, Trial
from taskdemo_cli.processes import servers

_MOMENTS = {"waiting": "while it waited", "running": "while it ran", "ended": "after its end"}


@dataclass(frozen=True, slots=True)
class _Said:
    """What the engine said of a task; nothing if there was nothing to ask, or the moment was over."""

    asked: str | None = None
    """The kind of object that was asked."""
    state: str | None = None
    refused: str | None = None
    """Why it would not say."""
    late: str | None = None
    """The moment that it was when the answer came, where the task had gone on meanwhile."""


def track(trial: Trial) -> Cell:
    """Start more tasks than run at once, and ask after the last one at three moments."""
    server = trial.once(Trial.serve)
    keys = [str(number) for number in range(trial.enough(server))]
    trial.wait_for_answers([trial.send(server, f"/limits/track?key={key}") for key in keys[:-1]])
    trial.wait_for_answers([trial.send(server, f"/limits/track?key={keys[-1]}")])
    waiting = _ask_while(trial, server, keys[-1], "waiting")
    others = [_ask_while(trial, server, key, "waiting") for key in keys[:-1]] if waiting.state else []
    trial.wait_for_begin(server, keys[-1])
    running = _ask_while(trial, server, keys[-1], "running")
    trial.wait(lambda: _moment(trial, server, keys[-1]) == "ended", 30)
    trial.pause(SETTLE_S)
    ended = _ask_while(trial, server, keys[-1], "ended")
    return _cell(
        {"waiting": waiting, "running": running, "ended": ended},
        wrong=sum(one.state == running.state for one in others if one.state is not None),
    )


def _ask_while(trial: Trial, server: servers.Server, key: str, moment: str) -> _Said:
    """Ask the engine after a task while it is in that state; the answer counts if it still is afterwards."""
    if _moment(trial, server, key) != moment:
        return _Said()
    answer = trial.ask(server, f"/limits/ask?key={key}")
    if (late := _moment(trial, server, key)) != moment:
        return _Said(late=late)
    if answer.status != 200:
        return _Said()
    return _Said(answer.body["asked"], answer.body["state"], answer.body["refused"])


def _moment(trial: Trial, server: servers.Server, key: str) -> str:
    """Return where the task is according to its own notes."""
    states = [note.state for note in trial.notes(server, key)]
    return {"started": "running", "ended": "ended"}[states[-1]] if states else "waiting"


def _cell(said: dict[str, _Said], wrong: int) -> Cell:
    told = {moment: one.state for moment, one in said.items() if one.state is not None}
    asked = next((one.asked for one in said.values() if one.asked), None)
    different = len(set(told.values()))
    apart = different if different > 1 else 0
    refused = next((one.refused for one in said.values() if one.refused), None)
    if refused:
        sentences = [f"Its {asked} would not say: {refused.rstrip('.')}."]
    elif not told:
        sentences = ["The engine gives nothing by which to ask for a task."]
    elif not apart:
        moments = ", ".join(_MOMENTS[moment] for moment in told)
        sentences = [f"All there is, a {asked}, said the same {moments}: {next(iter(told.values()))!r}."]
    else:
        words = ", ".join(f"{state!r} {_MOMENTS[moment]}" for moment, state in told.items())
        never = "" if "waiting" in told or said["waiting"].late else "; it never had to wait"
        sentences = [f"Its {asked} said {words}{never}."]
    if wrong and apart:
        sentences.append(
            f"It also said {told['running']!r} of {wrong} whose work had not begun: it says so from the hand-over on."
        )
    if any(one.late == "ended" for one in said.values()):
        sentences.append("While it ran, the question was not even answered.")
    states = {moment: one.state for moment, one in said.items()}
    measured = {"asked": asked, **states, "told_apart": apart, "waiting_called_running": wrong}
    return counted(apart, len(said), " ".join(sentences), **measured)
