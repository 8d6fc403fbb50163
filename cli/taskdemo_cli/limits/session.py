"""Limit `session`: whether what a dependency with `yield` opens, such as a session, stays open while the task runs.

Checked with FastAPI's default scope and with `scope="function"`. `yes`: both stayed open until the task had ended.
`partly`: one did. `no`: neither did, so the task needs a session of its own.
"""

from taskdemo_cli.documents.limits import Cell
from taskdemo_cli.limits.evidence import counted
from taskdemo_cli.limits.trial import Trial

_SCOPES = {"request": "`Depends(session)`", "function": '`Depends(session, scope="function")`'}


def session(trial: Trial) -> Cell:
    """Start a task with each session, and compare which ends first."""
    trial.wait_for_answers([trial.send(f"/limits/session/{scope}?key=s-{scope}") for scope in _SCOPES])
    for scope in _SCOPES:
        trial.wait_for_begin(f"s-{scope}", "tracked")
    trial.wait_for_quiet(lambda: all(_ended(trial, scope) for scope in _SCOPES))
    closed = {scope: _closed(trial, scope) for scope in _SCOPES}
    count = sum(when == "after the task had ended" for when in closed.values())
    sentences = " and that of ".join(f"{_SCOPES[scope]} was closed {when}" for scope, when in closed.items())
    return counted(count, len(closed), f"The session of {sentences}.", closed=closed)


def _ended(trial: Trial, scope: str) -> bool:
    return all(trial.notes(f"s-{scope}", step, "ended") for step in ("session", "tracked"))


def _closed(trial: Trial, scope: str) -> str:
    """Return when the session was closed, in words."""
    closed = trial.when(f"s-{scope}", "session", "ended")
    began, ended = (trial.when(f"s-{scope}", "tracked", state) for state in ("started", "ended"))
    if closed is None:
        return "never"
    if began is None or closed < began:
        return "before the task began"
    return "after the task had ended" if ended is not None and ended <= closed else "while the task ran"
