"""What changed between two saved results, beyond noise. Pure, like the verdicts.

Noise is what rounds differ by, where both results have two rounds or more. With one run each it is not known: how much
the requests inside a run differ says nothing of how much two runs of the same thing do.
"""

from collections.abc import Sequence
from statistics import fmean
from typing import Final, Literal, TypeAlias, TypedDict

from taskdemo_cli.analysis.rounds import FIGURES, NAMES, by_mode, figure_of
from taskdemo_cli.documents.comparison import ComparisonDocument
from taskdemo_cli.documents.pairing import runs_of
from taskdemo_cli.documents.run import RunDocument
from taskdemo_cli.stats import grouped, interval_between
from taskdemo_cli.units import format_count, format_seconds, format_share
from taskdemo_server.contract.text import shortened

SETTINGS: Final = ("method", "path", "message", "count", "for_s", "concurrency", "rate")
"""What two results must have in common to be compared, besides their work."""
_NAMES: Final = {"for_s": "--for"}
"""What a setting is called whose name is no word."""


ChangeOutcome: TypeAlias = Literal["better", "worse", "within noise", "unknown", "not comparable"]


class Change(TypedDict):
    """One figure of one mode, old and new; `low` and `high` bound new - old, None where no noise is known."""

    mode: str
    figure: str
    old: float
    new: float
    low: float | None
    high: float | None
    noise_from: Literal["rounds"] | None
    outcome: ChangeOutcome
    text: str


class ChangesDocument(TypedDict):
    """Two saved results side by side."""

    changes: list[Change]
    remarks: list[str]
    """What makes the two hard to compare, the gravest first: other work, other settings, modes that only one has."""


def compare_saved(old: RunDocument | ComparisonDocument, new: RunDocument | ComparisonDocument) -> ChangesDocument:
    """Return what changed from `old` to `new`. Two results of one mode each are compared whatever their modes are."""
    olds, news = by_mode(runs_of(old)), by_mode(runs_of(new))
    alone: list[str] = []
    pairs = [(mode, olds[mode], news[mode]) for mode in olds if mode in news]
    if not pairs and len(olds) == len(news) == 1:
        (one,), (other,) = olds, news
        pairs = [(f"{one} -> {other}", olds[one], news[other])]
    else:
        alone += [f"{mode} is only in the old result" for mode in olds if mode not in news]
        alone += [f"{mode} is only in the new result" for mode in news if mode not in olds]
    changes = (_change(mode, figure, *sides) for mode, *sides in pairs for figure in FIGURES)
    return {
        "changes": [change for change in changes if change is not None],
        "remarks": [*_not_whole(pairs), *_other_work(pairs), *_other_settings(pairs), *alone],
    }


Pair: TypeAlias = tuple[str, Sequence[RunDocument], Sequence[RunDocument]]


def _not_whole(pairs: Sequence[Pair]) -> list[str]:
    """Return which results are not of a whole run that went well: their times are not those of the work's answers."""
    return [
        f"{mode}: the {which} result {flaw}, so nothing of the two is called better or worse."
        for mode, *sides in pairs
        for which, runs in zip(("old", "new"), sides, strict=True)
        if (flaw := _flaw(runs))
    ]


def _flaw(runs: Sequence[RunDocument]) -> str:
    requests = sum(run.summary.requests.ok + run.summary.requests.failed for run in runs)
    failed = sum(run.summary.requests.failed for run in runs)
    tasks = [run.summary.tasks for run in runs]
    bad = sum(one.failed + one.cancelled + one.lost for one in tasks)
    flaws = []
    if failed:
        flaws.append(f"has {failed:,} of {format_count(requests, 'request')} that failed")
    if bad:
        flaws.append(f"has {bad:,} of {format_count(sum(one.accepted for one in tasks), 'task')} that did not finish")
    if any(run.interrupted or run.timed_out or run.ended_because for run in runs):
        flaws.append("was cut short")
    return " and ".join(flaws)


def _are_alike(olds: Sequence[RunDocument], news: Sequence[RunDocument]) -> bool:
    """Tell whether two results can be compared with each other: whole runs of the same work and requests."""
    if _flaw(olds) or _flaw(news):
        return False
    return _work(olds[0]) == _work(news[0]) and all(
        getattr(olds[0], name) == getattr(news[0], name) for name in SETTINGS
    )


def _other_work(pairs: Sequence[Pair]) -> list[str]:
    """Return, where the servers had other work to do, that the changes need not be theirs."""
    works = {(_work(old[0]), _work(new[0])): None for _, old, new in pairs if _work(old[0]) != _work(new[0])}
    return [
        f"These two did different work ({before}; {after}): the changes need not be the server's."
        for before, after in works
    ]


def _work(run: RunDocument) -> str:
    what = shortened(run.app or run.work or "work that is not known", 60)
    return what if run.duration_s is None else f"{what} of {format_seconds(run.duration_s)}"


def _other_settings(pairs: Sequence[Pair]) -> list[str]:
    """Return which settings differ; one that differs alike in every mode is told once."""
    said = grouped(
        (f"{_NAMES.get(name, name)} was {_setting(name, before)} and is {_setting(name, after)}", mode)
        for mode, (old, *_), (new, *_) in pairs
        for name in SETTINGS
        if (before := getattr(old, name)) != (after := getattr(new, name))
    )
    return [text if len(modes) == len(pairs) else f"{', '.join(modes)}: {text}" for text, modes in said.items()]


def _setting(name: str, value: str | float | None) -> str:
    if value is None:
        return "not given"
    if isinstance(value, str):
        return shortened(value, 60)
    return f"{value:,} s" if name.endswith("_s") else f"{value:,}"


def _change(mode: str, figure: str, olds: Sequence[RunDocument], news: Sequence[RunDocument]) -> Change | None:
    before = [value for run in olds if (value := figure_of(run, figure)) is not None]
    after = [value for run in news if (value := figure_of(run, figure)) is not None]
    if not before or not after:
        return None
    old, new = fmean(before), fmean(after)
    noise = interval_between(before, after) if len(before) >= 2 and len(after) >= 2 else None
    low, high = noise or (None, None)
    outcome: ChangeOutcome
    if not _are_alike(olds, news):
        outcome = "not comparable"
    elif noise is None:
        outcome = "unknown"
    elif noise[0] <= 0 <= noise[1]:
        outcome = "within noise"
    else:
        outcome = "better" if (new > old) == (figure == "requests_per_s") else "worse"
    return {
        "mode": mode,
        "figure": figure,
        "old": old,
        "new": new,
        "low": low,
        "high": high,
        "noise_from": "rounds" if noise else None,
        "outcome": outcome,
        "text": _text(figure, old, new, outcome),
    }


def _text(figure: str, old: float, new: float, outcome: str) -> str:
    shown = format_count if figure == "requests_per_s" else format_seconds
    noise = {
        "unknown": "the noise is not known, which takes two rounds or more of both; save both with --rounds 5",
        "within noise": "within the noise of the rounds",
        "not comparable": "the two results are not comparable",
    }.get(outcome, f"{outcome}, beyond noise")
    of = ", in a round" if outcome != "unknown" and figure.endswith(".max") else ""
    return f"{NAMES[figure]}{of}: {shown(old)}, now {shown(new)}{_by(old, new)}: {noise}"


def _by(old: float, new: float) -> str:
    if old <= 0 or new <= 0 or old == new:
        return ""
    factor = max(old, new) / min(old, new)
    if factor < 2:
        return f" ({'+' if new > old else '-'}{format_share(abs(new - old) / old)})"
    return f" ({format_count(round(factor, 1))} times {'more' if new > old else 'less'})"
