"""Limit `session`: whether what a dependency with `yield` opens, a session, say, is open as long as the task runs.

Once as FastAPI does it by default, once with `scope="function"`. `yes`: both were open until the task had ended.
`partly`: one was. `no`: neither was, so that the task needs a session of its own.
"""

from taskdemo_cli.documents.limits import Cell
from taskdemo_cli.limits.evidence import counted
from taskdemo_cli.limits.trial import Trial
from taskdemo_cli.processes.servers import Server

_SCOPES = {"request": "`Depends(session)`", "function": '`Depends(session, scope="function")`'}


def session(trial: Trial) -> Cell:
    """Start a task beside each, and see which ends first."""
    server = trial.once(Trial.serve)
    trial.wait_for_answers([trial.send(server, f"/limits/session/{scope}?key=s-{scope}") for scope in _SCOPES])
    for scope in _SCOPES:
        trial.wait_for_begin(server, f"s-{scope}", "tracked")
    trial.wait_for_quiet(server, lambda: all(_ended(trial, server, scope) for scope in _SCOPES), trial.step_quiet)
    closed = {scope: _closed(trial, server, scope) for scope in _SCOPES}
    count = sum(when == "after the task had ended" for when in closed.values())
    sentences = " and that of ".join(f"{_SCOPES[scope]} was closed {when}" for scope, when in closed.items())
    return counted(count, len(closed), f"The session of {sentences}.", closed=closed)


def _ended(trial: Trial, server: Server, scope: str) -> bool:
    return all(trial.notes(server, f"s-{scope}", step, "ended") for step in ("session", "tracked"))


def _closed(trial: Trial, server: Server, scope: str) -> str:
    """Return when the session was closed, in words."""
    closed = [note.clock for note in trial.notes(server, f"s-{scope}", "session", "ended")]
    began, ended = (
        [note.clock for note in trial.notes(server, f"s-{scope}", "tracked", state)] for state in ("started", "ended")
    )
    if not closed:
        return "never"
    if not began or closed[0] < began[0]:
        return "before the task began"
    return "after the task had ended" if ended and ended[0] <= closed[0] else "while the task ran"
