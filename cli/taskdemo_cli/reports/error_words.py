"""What went wrong, in words for people: the JSON keeps the exceptions' names."""

from typing import Final

from taskdemo_cli.documents.run import RequestCounts, RunDocument
from taskdemo_cli.units import format_count

ERROR_WORDS: Final = {
    "Cancelled": "not answered when it was stopped",
    "ConnectError": "could not connect",
    "ConnectTimeout": "no connection in time",
    "LocalProtocolError": "could not be sent",
    "PoolTimeout": "never sent: every connection was busy",
    "ReadError": "connection lost",
    "ReadTimeout": "no answer in time",
    "RemoteProtocolError": "connection closed without a whole answer",
    "WriteError": "connection lost",
    "WriteTimeout": "could not be sent in time",
}
"""By the kinds of error that a load process reports."""


def error_words(kind: str, reason: str | None = None) -> str:
    """Return what a kind of error means, for people, and its cause; a kind that has no words is its own."""
    words = ERROR_WORDS.get(kind, kind)
    if reason is None:
        return words
    # Why an answer was no whole one is said by whoever read it.
    return reason if kind == "RemoteProtocolError" else f"{words}: {reason}"


def errors_in_words(requests: RequestCounts) -> list[tuple[str, int]]:
    """Return what went wrong, by kind and cause, and how often; the most frequent first."""
    found: list[tuple[str, int]] = []
    for kind, count in requests.errors.items():
        reasons = (requests.reasons or {}).get(kind, {})
        found += [(error_words(kind, reason), often) for reason, often in reasons.items()]
        if (rest := count - sum(reasons.values())) > 0:
            found.append((error_words(kind), rest))
    return sorted(found, key=lambda one: -one[1])


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


def _late_words(run: RunDocument) -> str:
    """Return why requests were sent later than planned, and how many for which reason."""
    reasons = (
        (run.late_connecting, "while their connection was opened"),
        (run.late_unconnected, "because no more connections could be opened (ulimit -n)"),
        (run.late_sends - run.late_connecting - run.late_unconnected, "because this client was busy"),
    )
    why = ", ".join(f"{count:,} {words}" for count, words in reasons if count > 0)
    late = f"{run.late_sends:,} of {format_count(len(run.requests), 'request')}"
    return f"{late} {'was' if run.late_sends == 1 else 'were'} sent later than planned: {why}."
