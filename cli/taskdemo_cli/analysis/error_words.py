"""What went wrong, in words for people: the JSON keeps the exceptions' names."""

from collections import Counter
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
"""The words for each kind of error that a load process reports."""


def error_words(kind: str, reason: str | None = None) -> str:
    """Return the words for a kind of error and its reason; a kind without words stands for itself."""
    words = ERROR_WORDS.get(kind, kind)
    if reason is None:
        return words
    # The parser of the answer says why it was incomplete.
    return reason if kind == "RemoteProtocolError" else f"{words}: {reason}"


def errors_in_words(requests: RequestCounts) -> Counter[str]:
    """Return how many requests failed of each kind of error and reason, in words."""
    found = Counter[str]()
    for kind, count in requests.errors.items():
        reasons = (requests.reasons or {}).get(kind, {})
        found.update({error_words(kind, reason): often for reason, often in reasons.items()})
        found[error_words(kind)] += count - sum(reasons.values())
    return +found
