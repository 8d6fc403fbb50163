"""Limit `distribute`: whether tasks spread over machines.

Two servers stand for two machines, and one of them gets all tasks; if the mode has workers of its own, two workers of
one server stand for them. `yes`: both ran some tasks. `no`: one ran them all.
"""

from collections import Counter

from taskdemo_cli.documents.limits import Cell
from taskdemo_cli.errors import UserError
from taskdemo_cli.limits.backing import MACHINES, family
from taskdemo_cli.limits.trial import WORK_S, Trial
from taskdemo_cli.units import format_count, format_list

_TASKS = (6, 12, 24)
"""Tasks to send; more if only one of two workers ran any, because on a busy machine the other may be late."""
ELSEWHERE = "elsewhere"
"""Where a task ran whose process had ended before we looked it up."""
_SLOW_WORKERS_S = 10.0
"""Seconds that newly started workers may take to begin on a busy machine."""


def distribute(trial: Trial) -> Cell:
    """Send more tasks than one machine runs at once, to one of two servers or to a server with two workers."""
    servers: dict[str, int] = {}
    if trial.has_workers:
        trial.serve(workers=MACHINES)
        setting = f"Two workers ran, {format_list(MACHINES)}, and the server accepted {{}} tasks"
    else:
        second, first = trial.serve(), trial.serve()
        servers = {"first": first.pid, "second": second.pid}
        setting = "Two servers ran, first and second, and all {} tasks were given to first"
    homes: dict[int, str] = {}

    def over() -> bool:
        # Look them up now: a process may live for one task only.
        if any(task.starts and task.starts[-1].pid not in homes for task in trial.tasks()):
            machines = servers or {worker.name: worker.child.pid for worker in trial.workers}
            homes.update({pid: name for name, main in machines.items() for pid in family(main)})
        return all(one.done() for one in pending) and all(task.done for task in trial.tasks())

    for count in _TASKS:
        pending = trial.send_tasks(count)
        trial.follow(None, over, _SLOW_WORKERS_S if trial.has_workers else 2 * WORK_S + 0.8)
        tasks = trial.tasks()
        ran = Counter(homes.get(task.starts[-1].pid, ELSEWHERE) for task in tasks if task.starts)
        if not trial.has_workers or len(ran.keys() - {ELSEWHERE}) > 1:
            break
    return _cell(ran, setting.format(len(tasks)))


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
