"""Messages on standard error, if anything reads it. Standard library only: server and command line share it."""

import contextlib
import os
import sys
from typing import Final, TextIO

from taskdemo_server.contract.text import escape

COULD_NOT_RUN: Final = 2
"""The exit code of a server or a worker that could not start."""


def complain(text: str) -> None:
    """Print a sentence, or several lines, on standard error. Text from outside must have been escaped."""
    if sys.stderr is not None:  # print would use stdout instead
        try:
            print(text, file=sys.stderr, flush=True)
        except (OSError, ValueError):
            send_nowhere(sys.stderr)


def refuse(sentence: str) -> int:
    """Say why a server or a worker cannot run; return its exit code."""
    complain(f"taskdemo: {escape(sentence)}")
    return COULD_NOT_RUN


def send_nowhere(stream: TextIO | int) -> None:
    """Discard what is buffered for a stream, or is written to a descriptor, and what follows; reading it finds nothing.

    If a stream's reader, terminal or disk accepts no more, Python would otherwise try to write it again at exit, fail,
    and turn the exit code into 120.
    """
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, stream if isinstance(stream, int) else stream.fileno())
        os.close(nowhere)
