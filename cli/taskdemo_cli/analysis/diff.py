"""What changed between two saved results, beyond noise. Pure, like the verdicts.

Noise is how much rounds differ, if both results have two rounds or more. With one run each it is unknown: how much the
requests inside a run differ says nothing about how much two runs of the same thing do.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from statistics import fmean
from typing import Final, TypeAlias

from taskdemo_cli.analysis.rounds import FIGURES, by_mode, figure_of, whole
from taskdemo_cli.documents.changes import Change, ChangeOutcome, ChangesDocument
from taskdemo_cli.documents.codec import runs_of
from taskdemo_cli.documents.comparison import ComparisonDocument
from taskdemo_cli.documents.run import RunDocument, describe_work
from taskdemo_cli.stats import grouped, interval_between
from taskdemo_cli.units import format_count, format_list
from taskdemo_server.contract.text import shortened

SETTINGS: Final = ("method", "path", "message", "count", "for_s", "concurrency", "rate")


def compare_saved(old: RunDocument | ComparisonDocument, new: RunDocument | ComparisonDocument) -> ChangesDocument:
    """Return what changed from `old` to `new`. Two results of one mode each are compared whatever their modes are."""
    olds, news = ({mode: whole(runs) for mode, runs in by_mode(runs_of(document)).items()} for document in (old, new))
    pairs = [(mode, olds[mode], news[mode]) for mode in olds if mode in news]
    alone = [*_only_in("old", olds, news), *_only_in("new", news, olds)]
    if not pairs and len(olds) == len(news) == 1:
        (one,), (other,) = olds, news
        pairs, alone = [(f"{one} -> {other}", olds[one], news[other])], []
    return ChangesDocument(
        changes=[change for pair in pairs for change in _changes(pair)],
        remarks=[*_obstacles(pairs), *alone, *_others(pairs, _circumstances)],
    )


Pair: TypeAlias = tuple[str, Sequence[RunDocument], Sequence[RunDocument]]


def _only_in(which: str, these: Collection[str], others: Collection[str]) -> Iterator[str]:
    if modes := [mode for mode in these if mode not in others]:
        yield f"{format_list(modes)} {'is' if len(modes) == 1 else 'are'} only in the {which} result"


def _obstacles(pairs: Sequence[Pair]) -> list[str]:
    """Return why these results cannot be compared: runs that did not go well, or different settings."""
    not_whole = [  # their times are not those of the work
        f"{mode}: the {which} result {flaw}, so the two are not compared."
        for mode, *sides in pairs
        for which, runs in zip(("old", "new"), sides, strict=True)
        if (flaw := _flaw(runs))
    ]
    return [*not_whole, *_others(pairs, _settings)]


def _flaw(runs: Sequence[RunDocument]) -> str:
    requests = sum(run.summary.requests.total for run in runs)
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
    return format_list(flaws) if flaws else ""


def _others(pairs: Sequence[Pair], read: Callable[[RunDocument], dict[str, str]]) -> list[str]:
    """Return which of what is read of a run differs; a difference that all modes share is listed once."""
    found = [(mode, read(old), read(new)) for mode, (old, *_), (new, *_) in pairs]
    said = grouped(
        (f"{name} was {before[name]} and is {after[name]}", mode)
        for mode, before, after in found
        for name in before
        if name in after and before[name] != after[name]
    )
    return [text if len(modes) == len(pairs) else f"{', '.join(modes)}: {text}" for text, modes in said.items()]


def _settings(run: RunDocument) -> dict[str, str]:
    """Return the settings that must be the same for two results to be compared."""
    work = describe_work(shortened(run.app or run.work or "not known", 60), run.duration_s)
    settings = {name.removesuffix("_s"): getattr(run, name) for name in SETTINGS}
    return {"work": work} | {
        name: "not given" if value is None else shortened(_written(value), 60) for name, value in settings.items()
    }


def _circumstances(run: RunDocument) -> dict[str, str]:
    """Return what else may explain a difference, or be what is compared: machine, versions, threads, processes."""
    packages = run.environment.get("packages")
    found = {"taskdemo": run.taskdemo} | run.environment | (packages if isinstance(packages, dict) else {})
    found["the number of threads or processes"] = run.slots or None
    shown = {name: shortened(str(value), 60) for name, value in found.items() if value is not None}
    return {name: text for name, text in shown.items() if name != "packages"}


def _written(setting: str | float) -> str:
    return f"{setting:.12g}" if isinstance(setting, float) else str(setting)


def _changes(pair: Pair) -> Iterator[Change]:
    mode, olds, news = pair
    is_comparable = not _obstacles([pair])
    for figure in FIGURES:
        before, after = _values(olds, figure), _values(news, figure)
        if not before or not after:
            continue
        old, new = fmean(before), fmean(after)
        noise = interval_between(before, after) if len(before) >= 2 and len(after) >= 2 else None
        low, high = noise or (None, None)
        outcome: ChangeOutcome
        if not is_comparable:
            outcome = "not comparable"
        elif noise is None:
            outcome = "unknown"
        elif noise[0] <= 0 <= noise[1]:
            outcome = "within noise"
        else:
            outcome = "better" if (new > old) == (figure == "requests_per_s") else "worse"
        yield Change(mode=mode, figure=figure, old=old, new=new, low=low, high=high, outcome=outcome)


def _values(runs: Sequence[RunDocument], figure: str) -> list[float]:
    return [value for run in runs if (value := figure_of(run, figure)) is not None]
