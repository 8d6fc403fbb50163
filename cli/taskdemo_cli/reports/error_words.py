"""What went wrong, in words for people: the JSON keeps the exceptions' names.

Draws documents and computes nothing.
"""

from typing import Final

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


def error_words(kind: str) -> str:
    """Return what a kind of error means, for people; a kind that has no words is its own."""
    return ERROR_WORDS.get(kind, kind)
