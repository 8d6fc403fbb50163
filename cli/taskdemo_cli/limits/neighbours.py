"""Limit `neighbours`: how long a trivial request waits while tasks compute, wherever they run.

One bystander, `GET /ping`, and the same two thresholds in every mode. `yes`: no wait was long enough to notice. `no`: a
wait was at least as long as a task computes. `partly`: in between.
"""

from taskdemo_cli.analysis.mode_summary import HELD_UP_S
from taskdemo_cli.documents.limits import Cell
from taskdemo_cli.limits.offload import TASKS, WORK_S, compute_beside_a_bystander
from taskdemo_cli.limits.trial import Trial
from taskdemo_cli.units import format_seconds


def neighbours(trial: Trial) -> Cell:
    """Measure the bystander's longest wait."""
    found = compute_beside_a_bystander(trial)
    waited = found.longest_s
    return Cell(
        verdict="yes" if waited < HELD_UP_S else "no" if waited >= WORK_S else "partly",
        measured={
            "figure": format_seconds(waited),
            "ping_max_s": waited,
            "idle_max_s": found.before_s,
        },
        text=f"While {TASKS} tasks computed {found.where}, GET /ping waited {format_seconds(waited)} at most"
        f"{'' if found.answered else ' and got no answer'} ({format_seconds(found.before_s)} before).",
    )
