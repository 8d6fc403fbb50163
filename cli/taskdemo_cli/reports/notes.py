"""Notes on a document's figures, in words for people: above all, what makes the document incomplete."""

from collections.abc import Iterator
from typing import Final, NamedTuple

from taskdemo_cli.documents.codec import AnyDocument, runs_of
from taskdemo_cli.documents.limits import LimitsDocument, limit_name
from taskdemo_cli.documents.run import RunDocument, name_of
from taskdemo_cli.stats import grouped
from taskdemo_cli.units import format_count, format_share, format_were

BUSY: Final = 0.7
"""If others use this share of the processors or more, the measured processes often wait for one."""
INTERRUPTED: Final = "Interrupted: this is what was found by then."


class Note(NamedTuple):
    """A note on one mode, or on the whole document."""

    about: str
    """The mode; empty for the whole document."""
    text: str
    is_doubt: bool = True
    """Whether it makes the figures doubtful; otherwise it says why there are none."""


def notes(document: AnyDocument) -> Iterator[Note]:
    """Yield the notes on a document, those that make its figures doubtful first."""
    runs = runs_of(document)
    if not runs and getattr(document, "interrupted", False):
        yield Note("", INTERRUPTED)
    for run in runs:
        about = "" if isinstance(document, RunDocument) else name_of(run)
        first = [INTERRUPTED] if about and run.interrupted else []  # a single run's verdict begins with that
        for text in (*first, *_shortfalls(run)):
            yield Note(about, f"round {run.round}: {text}" if run.round > 1 else text)
    if (share := max((run.others_share or 0.0 for run in runs), default=0.0)) >= BUSY:
        said = f"The machine was busy: others used {format_share(share)} of its processors"
        yield Note("", f"{said}. Times may be longer than on an idle one; run it again.")
    for skipped in getattr(document, "skipped", ()):
        yield Note(skipped.mode, f"was skipped: {skipped.why}", is_doubt=False)
    if isinstance(document, LimitsDocument):
        causes = grouped(((failed.mode, failed.why), limit_name(failed.limit)) for failed in document.failed)
        for (mode, why), names in causes.items():
            were = "was" if len(names) == 1 else "were"
            yield Note(mode, f"{', '.join(names)} {were} not carried out: {why}", is_doubt=False)


def _shortfalls(run: RunDocument) -> Iterator[str]:
    """Yield why a run is incomplete, and what else affects its times."""
    if run.timed_out:
        yield "Timed out: --timeout ended this run early."
    if run.ended_because is not None:
        yield f"The run ended early: {run.ended_because.rstrip('.')}."
    if run.not_sent:
        yield f"{format_were(run.not_sent, 'request')} never sent."
    if run.unreported:
        yield f"The outcome of {format_count(run.unreported, 'sent request')} is unknown."
    if run.late_sends:
        yield _late_words(run)
    if run.proxy:
        yield f"Sent through the proxy {run.proxy} of the environment; its time is included."


def _late_words(run: RunDocument) -> str:
    """Return why requests were sent later than planned, and how many for each reason."""
    reasons = (
        (run.late_connecting, "while a connection was opened"),
        (run.late_unconnected, "because no more connections could be opened (ulimit -n)"),
        (run.late_sends - run.late_connecting - run.late_unconnected, "because this client or its machine was busy"),
    )
    found = [(count, words) for count, words in reasons if count > 0]
    why = f", {found[0][1]}" if len(found) == 1 else ": " + ", ".join(f"{count:,} {words}" for count, words in found)
    late = f"{run.late_sends:,} of {format_count(len(run.requests), 'request')}"
    return f"{late} {'was' if run.late_sends == 1 else 'were'} sent later than planned{why}."


def warm_up_words(count: int) -> str:
    """Return words for a warm-up of `count` requests."""
    requests = format_count(count, "uncounted request")
    return f"{requests} whose work does nothing (--cold leaves that out)"
