"""Limit `distribute`: whether tasks spread over machines.

Two servers run, as on two machines, and all tasks go to one of them. `yes`: both ran some. `no`: one ran them all.
"""

from collections import Counter

from taskdemo_cli.documents import Cell
from taskdemo_cli.limits.trial import Trial, family

_WORK_S = 0.3
_TASKS = 6


def distribute(trial: Trial) -> Cell:
    """Give one of two servers more to do than it can do at once."""
    busy, idle = trial.serve(duration=_WORK_S), trial.serve(duration=_WORK_S)
    pending = trial.send_tasks(busy, _TASKS)

    def over() -> bool:
        return all(one.done() for one in pending) and all(task.done for task in trial.tasks(busy))

    trial.wait_for_quiet(busy, over, 2 * _WORK_S + 0.8)
    # Whatever runs a task writes into the journal of the server that it belongs to.
    homes = {pid: name for name, server in (("first", busy), ("second", idle)) for pid in family(server)}
    tasks = trial.tasks(busy) + trial.tasks(idle)
    ran = Counter(homes.get(task.pid, "elsewhere") for task in tasks if task.starts)
    return spread_cell(dict(ran), "server", "All were given to the first.")


def spread_cell(ran: dict[str, int], what: str, how: str) -> Cell:
    """Return the cell for tasks that ran so often on each of two, which are called `what`."""
    places = len(ran)
    total = sum(ran.values())
    words = ", ".join(f"{count} on the {name}" for name, count in sorted(ran.items())) or "none ran"
    return {
        "verdict": "yes" if places > 1 else "no",
        "measured": {"figure": f"{places} of 2", "ran_on": places, "tasks": total, "by_place": ran},
        "text": f"Of {total} tasks, with two {what}s running, these ran: {words}. {how}",
    }
