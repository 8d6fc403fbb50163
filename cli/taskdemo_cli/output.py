"""Where a command writes: people read stdout, or with --json stderr, and a reader that leaves early ends nothing."""

import contextlib
import io
import os
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import TextIO

PLAIN_WIDTH = 100
"""Columns of human output that goes to a file or a pipe."""


class Leaving(io.TextIOBase):
    """A text stream whose reader may leave (`| head`): what follows is dropped, and said once on stderr."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.left = False

    def write(self, text: str) -> int:
        """Write, unless the reader has left."""
        if not self.left:
            try:
                self._stream.write(text)
            except BrokenPipeError:
                self._leave()
        return len(text)

    def flush(self) -> None:
        """Flush, unless the reader has left."""
        if not self.left:
            try:
                self._stream.flush()
            except BrokenPipeError:
                self._leave()

    def isatty(self) -> bool:
        """Whether people look at it live."""
        return self._stream.isatty()

    def fileno(self) -> int:
        """Return the stream's own descriptor."""
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The stream's own encoding: views fall back to ASCII where it cannot show their glyphs."""
        return self._stream.encoding or "ascii"

    def _leave(self) -> None:
        self.left = True
        # What is still buffered would fail again at the interpreter's exit.
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
        with contextlib.suppress(OSError, ValueError):
            print("taskdemo: the output's reader has left; the rest of it is dropped", file=sys.stderr)


class Output:
    """One command's output: `console` for people, `document()` for programs."""

    def __init__(self, as_json: bool) -> None:
        from rich.console import Console

        self.as_json = as_json
        self._stdout = Leaving(sys.stdout)
        human = Leaving(sys.stderr) if as_json else self._stdout
        self.console = Console(
            file=human,  # type: ignore[arg-type] # a TextIOBase, which is all that rich uses of it
            width=None if human.isatty() else PLAIN_WIDTH,
            highlight=False,
            markup=False,
            emoji=False,
        )

    def waiting(self, what: str) -> AbstractContextManager[object]:
        """Show what is waited for while the block runs; on a terminal, and gone afterwards."""
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            return self.console.status(what, spinner="dots")
        return contextlib.nullcontext()

    def document(self, chunks: Iterable[str]) -> None:
        """Print a JSON document, given in pieces, to stdout."""
        for chunk in chunks:
            self._stdout.write(chunk)
        self._stdout.write("\n")
        self._stdout.flush()
