"""Limit `retry`: whether the engine itself reruns work that fails.

`yes`: it did, until the work succeeded. `partly`: it did, but not until the work succeeded. `no`: it did not.
"""

from taskdemo_cli.documents.limits import Cell
from taskdemo_cli.limits.trial import Trial
from taskdemo_cli.units import format_count, format_list, format_seconds

WATCHED_S = 2.8
"""Seconds without another attempt after which none is expected."""
WORKER_WATCHED_S = 8.0
"""The same with workers: some look for due tasks every 5 s."""


def retry(trial: Trial) -> Cell:
    """Start work whose first two attempts fail, and watch for retries."""
    trial.send("/limits/retry?key=retry")

    def succeeded() -> bool:
        return trial.when("retry", "flaky", "ended") is not None

    watched_s = WORKER_WATCHED_S if trial.workers else WATCHED_S
    trial.follow("retry", succeeded, watched_s)
    starts = [note.clock for note in trial.notes("retry", "flaky", "started")]
    failures = [note.clock for note in trial.notes("retry", "flaky", "failed")]
    # An attempt whose process died has neither failed nor ended.
    delays = [start - failure for start, failure in zip(starts[1:], failures, strict=False)]
    return _cell(len(starts), delays, watched_s, succeeded=succeeded())


def _cell(attempts: int, delays: list[float], watched_s: float, *, succeeded: bool) -> Cell:
    after = f" after {format_list(map(format_seconds, delays))}" if delays else ""
    if attempts < 2:
        text = f"It failed and was not retried within {format_seconds(watched_s)}."
    elif succeeded:
        text = f"It failed twice, was retried automatically{after}, and then succeeded."
    else:
        text = f"It was retried automatically{after}, but never succeeded."
    return Cell(
        verdict="yes" if attempts > 1 and succeeded else "partly" if attempts > 1 else "no",
        measured={
            "figure": format_count(attempts, "run"),
            "attempts": attempts,
            "delays_s": delays,
            "succeeded": succeeded,
            "watched_s": watched_s,
        },
        text=text,
    )
