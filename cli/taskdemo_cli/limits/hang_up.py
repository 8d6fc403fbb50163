"""Limit `hang_up`: whether work runs to its end if its caller hangs up.

One caller hangs up before the endpoint answers, another while its task runs. `yes`: both tasks ran to their end.
`partly`: one did. `no`: neither did.
"""

from taskdemo_cli.documents.limits import Cell
from taskdemo_cli.limits.evidence import counted
from taskdemo_cli.limits.trial import SETTLE_S, Trial


def hang_up(trial: Trial) -> Cell:
    """Hang up twice, and watch whether the tasks end."""
    trial.hang_up("/limits/hang-up?key=early", lambda: False, SETTLE_S)
    trial.hang_up("/limits/track?key=later", lambda: bool(trial.notes("later")))
    keys = {"early": "before it was answered", "later": "while its task ran"}

    def ended() -> list[str]:
        return [key for key in keys if trial.notes(key, "tracked", "ended")]

    trial.follow("later", lambda: len(ended()) == len(keys))
    sentences = (
        f"{'A' if key == 'early' else 'Another'} caller hung up {when}: its task "
        f"{'finished' if key in ended() else 'never finished'}."
        for key, when in keys.items()
    )
    came = {f"ended_{key}": key in ended() for key in keys}
    return counted(sum(came.values()), len(keys), " ".join(sentences), **came)
