"""What keeps a document from being a whole one, in words for people."""

from collections.abc import Iterable
from typing import Final

from taskdemo_cli.documents.run import RunDocument
from taskdemo_cli.units import format_count, format_share

BUSY: Final = 0.7
"""Where others use this share of the processors or more, what is measured waits for one again and again."""
INTERRUPTED: Final = {
    "run": "Interrupted: these are the figures up to then.",
    "limits": "Interrupted: these are the experiments that were through by then.",
    "capacity": "Interrupted: these are the limits and the steps up to then.",
    "scan": "Interrupted: this is what was found by then.",
}
"""What is said of a document that a stop cut short, by its kind."""


def shortfalls(run: RunDocument) -> list[str]:
    """Return why a run is not a whole one, a sentence each."""
    said = ["Timed out: --timeout ended this run before it was through."] if run.timed_out else []
    if run.ended_because is not None:
        said.append(run.ended_because)
    if run.not_sent:
        said.append(f"{format_count(run.not_sent, 'request')} {'was' if run.not_sent == 1 else 'were'} never sent.")
    if run.unreported:
        said.append(f"What became of {format_count(run.unreported, 'sent request')} is not known.")
    if run.late_sends:
        said.append(_late_words(run))
    return said


def busy_words(runs: Iterable[RunDocument]) -> list[str]:
    """Return a sentence where the machine was busy with others as some of these runs began."""
    share = max((run.others_share or 0.0 for run in runs), default=0.0)
    if share < BUSY:
        return []
    said = f"The machine was busy: others used {format_share(share)} of its processors"
    return [f"{said}. Times may be longer than on a free one; run it again."]


def _late_words(run: RunDocument) -> str:
    """Return why requests were sent later than planned, and how many for which reason."""
    reasons = (
        (run.late_connecting, "while their connection was opened"),
        (run.late_unconnected, "because no more connections could be opened (ulimit -n)"),
        (run.late_sends - run.late_connecting - run.late_unconnected, "because this client or its machine was busy"),
    )
    found = [(count, words) for count, words in reasons if count > 0]
    why = f", {found[0][1]}" if len(found) == 1 else ": " + ", ".join(f"{count:,} {words}" for count, words in found)
    late = f"{run.late_sends:,} of {format_count(len(run.requests), 'request')}"
    return f"{late} {'was' if run.late_sends == 1 else 'were'} sent later than planned{why}."
