"""Limit `late_error`: whether a task runs if its endpoint raises after it has handed the task over.

One endpoint raises an HTTPException, one another error; a third request succeeds. `yes`: the tasks of both ran.
`partly`: one did. `no`: neither did.
"""

from taskdemo_cli.documents.limits import Cell
from taskdemo_cli.limits.evidence import counted
from taskdemo_cli.limits.trial import Trial

_ERRORS = ("HTTPException", "RuntimeError")


def late_error(trial: Trial) -> Cell:
    """Send a request that succeeds, and two that fail after they have handed their tasks over."""
    beside = trial.send("/limits/track?key=beside")
    answers = {error: trial.ask(f"/limits/late-error?key={error}&error={error}") for error in _ERRORS}
    trial.wait_for_answers([beside])

    def ran() -> list[str]:
        return [error for error in _ERRORS if trial.notes(error)]

    trial.follow("beside", lambda: len(ran()) == len(_ERRORS))
    sentences = (
        f"{error}: its caller saw {f'HTTP {answer.status}' if answer.status else 'no answer'}, "
        f"and the task {'ran' if error in ran() else 'never ran'}."
        for error, answer in answers.items()
    )
    text = f"The endpoint raised after it had handed its task over. {' '.join(sentences)}"
    statuses = {error: answer.status for error, answer in answers.items()}
    return counted(len(ran()), len(_ERRORS), text, ran=ran(), statuses=statuses)
