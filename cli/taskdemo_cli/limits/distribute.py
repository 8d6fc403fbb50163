"""Limit `distribute`: whether tasks spread over machines.

Two servers run, as on two machines, and all tasks go to one of them; or, where the mode has workers of its own, two of
those. `yes`: both ran some. `no`: one ran them all.
"""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future

from taskdemo_cli.documents.limits import Cell
from taskdemo_cli.errors import UserError
from taskdemo_cli.limits.backing import MACHINES, family
from taskdemo_cli.limits.trial import WORK_S, Answer, Trial
from taskdemo_cli.processes import servers
from taskdemo_cli.units import format_count
from taskdemo_server.contract.modes import MODE_BY_NAME

_TASKS = 6
ELSEWHERE = "elsewhere"
"""The place of a process that had ended before it was looked at."""
_SLOW_WORKERS_S = 10.0
"""So long may workers that have just been started take to begin, on a busy machine."""


def distribute(trial: Trial) -> Cell:
    """Give more to do than one machine can do at once."""
    if MODE_BY_NAME[trial.mode].engine is not None:
        return _over_workers(trial)
    return _over_servers(trial)


def _over_servers(trial: Trial) -> Cell:
    """Start two servers, and give all tasks to one of them."""
    busy, idle = trial.serve(duration=WORK_S), trial.serve(duration=WORK_S)
    pending = trial.send_tasks(busy, _TASKS)
    _await(trial, busy, pending)
    # Whatever runs a task writes into the journal of the server that it belongs to.
    homes = {pid: name for name, server in (("first", busy), ("second", idle)) for pid in family(server.pid)}
    tasks = trial.tasks(busy) + trial.tasks(idle)
    ran = Counter(homes.get(task.starts[-1].pid, ELSEWHERE) for task in tasks if task.starts)
    return _cell(ran, f"Two servers ran, and all {_TASKS} tasks were given to the first")


def _over_workers(trial: Trial) -> Cell:
    """Start one server and two workers, as on two machines."""
    server = trial.serve(duration=WORK_S, workers=MACHINES)
    homes: dict[int, str] = {}

    def look() -> None:
        # At once, for a process may live for one task only.
        if any(task.starts and task.starts[-1].pid not in homes for task in trial.tasks(server)):
            homes.update({pid: worker.name for worker in trial.workers for pid in family(worker.child.pid)})

    _await(trial, server, trial.send_tasks(server, _TASKS), _SLOW_WORKERS_S, look)
    ran = Counter(homes.get(task.starts[-1].pid, ELSEWHERE) for task in trial.tasks(server) if task.starts)
    return _cell(ran, f"Two workers ran, {' and '.join(MACHINES)}, and the server accepted {_TASKS} tasks")


def _await(
    trial: Trial,
    server: servers.Server,
    pending: "list[Future[Answer]]",
    quiet: float = 2 * WORK_S + 0.8,
    look: Callable[[], None] = lambda: None,
) -> None:
    """Wait until all tasks have ended, or nothing happens any more; meanwhile `look`, again and again."""

    def over() -> bool:
        look()
        return all(one.done() for one in pending) and all(task.done for task in trial.tasks(server))

    trial.wait_for_begin(server)
    trial.wait_for_quiet(server, over, quiet)


def _cell(ran: Counter[str], setting: str) -> Cell:
    places = len(ran.keys() - {ELSEWHERE})
    if places < 2 and ran[ELSEWHERE]:
        raise UserError(
            f"where {ran[ELSEWHERE]} of {format_count(ran.total(), 'task')} ran was not seen, because the process had "
            "ended by then; run it again"
        )
    words = ", ".join(f"{name} ran {count}" for name, count in sorted(ran.items()))
    return Cell(
        verdict="yes" if places > 1 else "no",
        measured={"figure": f"{places} of 2", "ran_on": places, "tasks": ran.total(), "by_place": dict(ran)},
        text=f"{setting}: {words}.",
    )
