"""Limit `middleware`: whether a task behaves behind a BaseHTTPMiddleware as it does without one.

Three checks, without it and behind it: whether the answer comes before the work ends, whether the next request on the
same connection is answered before the work ends, and whether a task runs to its end if its caller hangs up before the
answer. `yes`: all three are the same. `partly`: some are. `no`: none is.
"""

from dataclasses import asdict, astuple, dataclass

from taskdemo_cli.documents.limits import Cell
from taskdemo_cli.limits.evidence import counted
from taskdemo_cli.limits.trial import SETTLE_S, Trial
from taskdemo_cli.units import format_list


@dataclass(frozen=True, slots=True)
class _Observation:
    answer_first: bool
    next_first: bool
    outlives_caller: bool

    @property
    def words(self) -> list[str]:
        return [
            f"the answer came {'before' if self.answer_first else 'after'} the work's end",
            f"the next request on its connection was answered {'before' if self.next_first else 'after'} that",
            f"the task of a caller who hung up {'finished' if self.outlives_caller else 'never finished'}",
        ]


def middleware(trial: Trial) -> Cell:
    """Make the three checks without the middleware and behind it."""
    without, behind = _observe(trial, "/limits"), _observe(trial, "/limits/behind")
    same = [one == other for one, other in zip(astuple(without), astuple(behind), strict=True)]
    changed = [words for words, alike in zip(without.words, same, strict=True) if not alike]
    text = f"Behind a BaseHTTPMiddleware {format_list(behind.words)}{'' if changed else ': just as without one'}."
    text += f" Without one, {format_list(changed)}." if changed else ""
    return counted(sum(same), len(same), text, without=asdict(without), behind=asdict(behind))


def _observe(trial: Trial, under: str) -> _Observation:
    key = under.rpartition("/")[2]
    answers = trial.send_in_turn([f"{under}/track?key={key}", "/ping"])
    trial.hang_up(f"{under}/hang-up?key={key}-unheard", lambda: False, SETTLE_S)

    def ended() -> bool:
        return all(trial.notes(one, "tracked", "ended") for one in (key, f"{key}-unheard"))

    trial.follow(key, lambda: ended() and answers.done())
    trial.wait_for_answers([answers])
    end = trial.when(key, "tracked", "ended")
    answer, following = [end is not None and one.status == 200 and one.answered < end for one in answers.result()]
    return _Observation(answer, following, trial.when(f"{key}-unheard", "tracked", "ended") is not None)
