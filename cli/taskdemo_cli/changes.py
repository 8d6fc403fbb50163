"""What changed between two saved results, beyond noise. Pure, like the verdicts.

Noise is what rounds differ by, where both results have two rounds or more. With one run each, only the spread of the
requests inside a run is known, which says nothing of how much two runs of the same thing differ: the text says so.
"""

import random
from collections.abc import Sequence
from statistics import fmean
from typing import Final, Literal, TypedDict

from taskdemo_cli.documents import ComparisonDocument, RunDocument
from taskdemo_cli.statistics import interval_between, nearest_rank
from taskdemo_cli.units import format_count, format_seconds, format_share
from taskdemo_cli.verdicts import FIGURES, by_mode, figure_of
from taskdemo_server.visible import shortened

SETTINGS: Final = ("count", "for_s", "concurrency", "rate", "path")
"""What two results must have in common, beside the work, to be compared."""
DRAWN: Final = 2000
"""So many requests of a run, evenly chosen, are enough to know the spread inside it."""
RESAMPLES: Final = 400
NAMES: Final = {
    "response_s.p50": "median response",
    "response_s.p95": "95 % of the responses within",
    "response_s.max": "slowest response",
    "completion_s.p50": "median time to the task's end",
    "bystander_s.max": "slowest answer to the bystander",
    "requests_per_s": "requests per second",
}
ROWS_OF: Final = {"response_s.p50": 500, "response_s.p95": 950}
"""The figures whose spread inside one run can be drawn from its requests, with their thousandths."""


class Change(TypedDict):
    """One figure of one mode, old and new; `low` and `high` bound new - old, None where no noise is known."""

    mode: str
    figure: str
    old: float
    new: float
    low: float | None
    high: float | None
    noise_from: Literal["rounds", "requests"] | None
    outcome: Literal["better", "worse", "within noise", "unknown"]
    text: str


class ChangesDocument(TypedDict):
    """Two saved results side by side."""

    changes: list[Change]
    remarks: list[str]
    """What makes the two hard to compare: other settings, modes that only one has."""


def compare_saved(
    old: RunDocument | ComparisonDocument, new: RunDocument | ComparisonDocument, seed: int = 0
) -> ChangesDocument:
    """Return what changed from `old` to `new`. Two results of one mode each are compared whatever their modes are."""
    olds, news = by_mode(_runs(old)), by_mode(_runs(new))
    remarks: list[str] = []
    pairs = [(mode, olds[mode], news[mode]) for mode in olds if mode in news]
    if not pairs and len(olds) == len(news) == 1:
        (one,), (other,) = olds, news
        pairs = [(f"{one} -> {other}", olds[one], news[other])]
    else:
        remarks += [f"{mode} is only in the old result" for mode in olds if mode not in news]
        remarks += [f"{mode} is only in the new result" for mode in news if mode not in olds]
    changes: list[Change] = []
    for mode, before_runs, after_runs in pairs:
        before, after = _work_of(before_runs[0]), _work_of(after_runs[0])
        other_work = f"These two did different work ({before}; {after}): the changes need not be the server's."
        if before != after and other_work not in remarks:
            remarks.insert(0, other_work)
        remarks += [text for text in _other_settings(mode, before_runs[0], after_runs[0]) if text not in remarks]
        for figure in FIGURES:
            change = _change(mode, figure, before_runs, after_runs, seed)
            if change is not None:
                changes.append(change)
    return {"changes": changes, "remarks": remarks}


def _work_of(run: RunDocument) -> str:
    work = shortened(run["work"] or run.get("app") or "not known", 60)
    return work if run["duration_s"] is None else f"{work} of {format_seconds(run['duration_s'])}"


def _runs(document: RunDocument | ComparisonDocument) -> list[RunDocument]:
    return document["runs"] if document["kind"] == "comparison" else [document]


def _other_settings(mode: str, old: RunDocument, new: RunDocument) -> list[str]:
    before: dict[str, object] = {**old}
    after: dict[str, object] = {**new}
    return [
        f"{mode}: {name} was {before.get(name)} and is {after.get(name)}"
        for name in SETTINGS
        if before.get(name) != after.get(name)
    ]


def _change(
    mode: str, figure: str, olds: Sequence[RunDocument], news: Sequence[RunDocument], seed: int
) -> Change | None:
    before = [value for run in olds if (value := figure_of(run, figure)) is not None]
    after = [value for run in news if (value := figure_of(run, figure)) is not None]
    if not before or not after:
        return None
    old, new = fmean(before), fmean(after)
    low: float | None = None
    high: float | None = None
    noise_from: Literal["rounds", "requests"] | None = None
    if len(before) >= 2 and len(after) >= 2:
        noise_from = "rounds"
        low, high = interval_between(before, after, seed)
    elif figure in ROWS_OF and len(olds) == len(news) == 1:
        noise_from = "requests"
        low, high = _spread_inside(olds[0], news[0], ROWS_OF[figure], seed)
    outcome: Literal["better", "worse", "within noise", "unknown"]
    if low is None or high is None:
        outcome = "unknown"
    elif low <= 0 <= high:
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
        "noise_from": noise_from,
        "outcome": outcome,
        "text": _text(figure, old, new, noise_from, outcome),
    }


def _spread_inside(old: RunDocument, new: RunDocument, thousandths: int, seed: int) -> tuple[float, float]:
    """Return the percentile bootstrap's 95 % interval for the difference of a percentile, over requests."""
    source = random.Random(seed)  # noqa: S311  # statistics, not secrets
    before, after = _responses(old), _responses(new)

    def drawn(values: Sequence[float]) -> float:
        return nearest_rank(sorted(source.choices(values, k=len(values))), thousandths)

    differences = sorted(drawn(after) - drawn(before) for _ in range(RESAMPLES))
    return nearest_rank(differences, 25), nearest_rank(differences, 975)


def _responses(run: RunDocument) -> list[float]:
    rows = run["requests"]
    step = max(len(rows) // DRAWN, 1)
    drawn = (rows[at]["response_s"] for at in range(0, len(rows), step))
    known = [response for response in drawn if response is not None]
    if known:
        return known
    return [response for row in rows if (response := row["response_s"]) is not None]


def _text(figure: str, old: float, new: float, noise_from: str | None, outcome: str) -> str:
    shown = format_count if figure == "requests_per_s" else format_seconds
    noise = {
        "rounds": "within the noise of the rounds" if outcome == "within noise" else f"{outcome}, beyond noise",
        "requests": (
            "within the noise of the requests"
            if outcome == "within noise"
            else f"{outcome} by more than requests of one run differ; how much runs differ takes --rounds to know"
        ),
        None: "one run each, so the noise is not known; two results of --rounds 5 tell it",
    }[noise_from]
    of = " of a round" if noise_from == "rounds" and figure.endswith(".max") else ""
    return f"{NAMES[figure]}{of}: {shown(old)}, now {shown(new)}{_by(old, new)}: {noise}"


def _by(old: float, new: float) -> str:
    if old <= 0 or new <= 0 or old == new:
        return ""
    factor = max(old, new) / min(old, new)
    if factor < 2:
        return f" ({'+' if new > old else '-'}{format_share(abs(new - old) / old)})"
    return f" ({format_count(round(factor, 1))} times {'more' if new > old else 'less'})"
