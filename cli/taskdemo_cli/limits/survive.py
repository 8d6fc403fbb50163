"""Limits `survive_server_kill` and `survive_worker_kill`: what becomes of accepted tasks when a process is killed.

SIGKILL, while tasks run and wait; a server that was killed is started again on its journal. `yes`: every task that
was accepted and had not ended did end. `partly`: some did. `no`: none did. One that was begun twice is counted.
"""

from concurrent.futures import Future
from dataclasses import dataclass

from taskdemo_cli import servers
from taskdemo_cli.documents import Cell
from taskdemo_cli.limits.trial import Answer, Trial
from taskdemo_cli.units import format_count

_WORK_S = 0.5
_QUIET_S = _WORK_S + 1.0
_WAITING = 4
"""Tasks beyond those that run at once."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of the tasks that were unfinished at a kill."""

    killed: str
    """What was killed, in words."""
    accepted: int
    unfinished: int
    ended: int
    ran_twice: int
    unanswered: int
    """Requests that got no answer."""
    works_again: bool
    """Whether a task that was sent afterwards did end."""


def survive_server_kill(trial: Trial) -> Cell:
    """Kill the server, and start it again."""
    server, pending = _busy(trial)
    return fate_cell(_kill_and_see(trial, server, pending, server.pid))


def survive_worker_kill(trial: Trial) -> Cell:
    """Kill the process that runs a task: often that is the server itself, which then is started again."""
    server, pending = _busy(trial)
    pid = next(task.pid for task in trial.tasks(server) if task.running)
    return fate_cell(_kill_and_see(trial, server, pending, pid))


def _busy(trial: Trial) -> "tuple[servers.Server, list[Future[Answer]]]":
    """Return a server with tasks that run and tasks that wait, and the answers to their callers."""
    server = trial.serve(duration=_WORK_S)
    pending = trial.send_tasks(server, (trial.at_once(server) or 0) + _WAITING)
    trial.wait(lambda: any(task.running for task in trial.tasks(server)), 30)
    # Callers who are answered at once are; others still wait.
    trial.wait(lambda: all(one.done() for one in pending), 0.15)
    return server, pending


def _kill_and_see(trial: Trial, server: servers.Server, pending: "list[Future[Answer]]", pid: int) -> Fate:
    if pid == server.pid:
        trial.kill(server)
        killed = "the server, in which the tasks ran," if _ran_in(trial, server, pid) else "the server"
    else:
        killed = "a process that ran a task" if trial.kill_child(server, pid) else "nothing"
    # What the killed process had to say is in the journal now.
    trial.wait(lambda: pid != server.pid or all(one.done() for one in pending), 5)
    open_ = {task.id for task in trial.tasks(server) if not task.done}
    accepted = len(trial.tasks(server))
    if pid == server.pid:
        server = trial.restart(server)

    def unfinished() -> bool:
        return any(task.id in open_ and not task.done for task in trial.tasks(server))

    trial.wait_for_quiet(server, lambda: not unfinished(), _QUIET_S)
    after = [task for task in trial.tasks(server) if task.id in open_]
    return Fate(
        killed=killed,
        accepted=accepted,
        unfinished=len(open_),
        ended=sum(task.done for task in after),
        ran_twice=sum(len(task.starts) > 1 for task in after),
        unanswered=sum(one.done() and one.result().status is None for one in pending),
        works_again=_works(trial, server),
    )


def _ran_in(trial: Trial, server: servers.Server, pid: int) -> bool:
    return any(task.pid == pid for task in trial.tasks(server) if task.starts)


def _works(trial: Trial, server: servers.Server) -> bool:
    """Tell whether a new task comes to its end."""
    known = {task.id for task in trial.tasks(server)}
    trial.send(server, "/?message=afterwards")
    return trial.wait(lambda: any(task.done for task in trial.tasks(server) if task.id not in known), 5)


def fate_cell(fate: Fate) -> Cell:
    """Return the cell."""
    lost = fate.unfinished - fate.ended
    became = f"{fate.ended} did, {lost} {'was' if lost == 1 else 'were'} lost, {fate.ran_twice} ran twice"
    whole = format_count(fate.accepted, "accepted task")
    sentences = [f"When {fate.killed} was killed, {fate.unfinished} of {whole} had not ended: afterwards {became}."]
    if fate.unanswered:
        sentences.append(f"{format_count(fate.unanswered, 'caller')} got no answer.")
    if not fate.works_again:
        sentences.append("A task sent afterwards did not end within 5 s.")
    return {
        "verdict": "partly" if fate.ended and lost else "no" if lost or not fate.unfinished else "yes",
        "measured": {
            "figure": f"{fate.ended} of {fate.unfinished}",
            "accepted": fate.accepted,
            "unfinished": fate.unfinished,
            "ended": fate.ended,
            "lost": lost,
            "ran_twice": fate.ran_twice,
            "callers_unanswered": fate.unanswered,
            "works_again": fate.works_again,
        },
        "text": " ".join(sentences),
    }
