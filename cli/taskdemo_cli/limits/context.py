"""Limit `context`: whether work sees context variables that were set on the way to its endpoint.

`yes`: it saw all of them. `partly`: some. `no`: none.
"""

from taskdemo_cli.documents.limits import Cell
from taskdemo_cli.limits.evidence import counted
from taskdemo_cli.limits.trial import Trial


def context(trial: Trial) -> Cell:
    """Set a context variable in each of several places, and have a task record which it sees."""
    trial.wait_for_answers([trial.send("/limits/behind/context?key=context")])
    trial.wait_for_begin("context")
    found = trial.notes("context")[0].context
    seen, unseen = ([name for name, so in found.items() if so is which] for which in (True, False))
    sentences = [f"The work saw the variable that was set by {', and by '.join(seen)}."] if seen else []
    if unseen:
        sentences.append(f"{'It' if seen else 'The work'} saw none that was set by {', or by '.join(unseen)}.")
    return counted(len(seen), len(found), " ".join(sentences), seen=seen, unseen=unseen)
