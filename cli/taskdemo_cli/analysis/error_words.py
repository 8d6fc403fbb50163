"""What went wrong, in words for people: the JSON keeps the exceptions' names."""

from typing import Final

from taskdemo_cli.documents.run import RequestCounts

ERROR_WORDS: Final = {
    "Cancelled": "not answered when it was stopped",
    "ConnectError": "could not connect",
    "ConnectTimeout": "no connection in time",
    "PoolTimeout": "never sent: every connection was busy",
    "ReadError": "connection lost",
    "ReadTimeout": "no answer in time",
    "RemoteProtocolError": "connection closed without a whole answer",
    "WriteError": "connection lost",
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
