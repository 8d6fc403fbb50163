"""Where a command writes: people read stdout, or with --json stderr. A reader that leaves ends the command."""

import contextlib
import errno
import io
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TextIO

from taskdemo_cli.errors import FAILED, UserError
from taskdemo_cli.processes.signals import Stopped
from taskdemo_server.contract import stderr
from taskdemo_server.contract.text import escape

if TYPE_CHECKING:  # they take their time to load
    from taskdemo_cli.documents.changes import ChangesDocument
    from taskdemo_cli.documents.codec import AnyDocument

PLAIN_WIDTH = 100
"""Columns of human output that goes to a file or a pipe, where COLUMNS does not say otherwise."""


class OutputStream(io.TextIOBase):
    """A text stream whose other end may go away; what is written after that is dropped.

    `stream` is None where there was none from the start. Raises Stopped where the reader has left, and UserError where
    the disk is full. A terminal that was closed raises nothing: its hang-up asks the command to stop in order.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, if there is still somebody who takes it."""
        if self._stream is not None:
            try:
                _write_whole(self._stream, text)
            except OSError as error:
                self._give_up(self._stream, error)
        return len(text)

    def flush(self) -> None:
        """Flush, if there is still somebody who takes it."""
        if self._stream is not None:
            try:
                self._stream.flush()
            except OSError as error:
                self._give_up(self._stream, error)

    def isatty(self) -> bool:
        """Whether people look at it live."""
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        """Return the stream's own descriptor. Raises OSError where there is none."""
        return super().fileno() if self._stream is None else self._stream.fileno()

    def _give_up(self, stream: TextIO, error: OSError) -> None:
        self._stream = None
        stderr.send_nowhere(stream)
        if error.errno == errno.EPIPE:
            raise Stopped(signal.SIGPIPE)  # what ends other tools whose reader has left (`| head`)
        if error.errno != errno.EIO:
            raise UserError(f"the output could not be written ({error.strerror}); redirect it elsewhere", FAILED)


def _write_whole(stream: TextIO, text: str) -> None:
    """Write a text to a stream, all of it.

    Without a buffer (PYTHONUNBUFFERED, as in many containers) one write may take only a part, as when a signal
    interrupts it or the disk is full, and the text stream drops the rest: https://github.com/python/cpython/issues/85393
    """
    encoding = stream.encoding or "utf-8"
    data = text.encode(encoding, "replace")  # what a terminal cannot show is a question mark
    raw = getattr(stream, "buffer", None)
    if not isinstance(raw, io.FileIO):
        stream.write(data.decode(encoding))
        return
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(raw.fileno(), rest) :]


def complain(sentence: str, more: Iterable[str] = ()) -> None:
    """Write one sentence to stderr, and lines below it, made safe to show, if somebody takes them."""
    stderr.complain("\n".join([f"taskdemo: {escape(sentence)}", *(f"  {escape(line)}" for line in more)]))


class Output:
    """One command's output: `console` for people, and on stdout with --json the document for programs."""

    def __init__(self, as_json: bool) -> None:
        from rich.console import Console

        from taskdemo_cli.reports.terminal.style import NARROWEST

        self.as_json = as_json
        self._stdout = sys.stdout if isinstance(sys.stdout, OutputStream) else OutputStream(sys.stdout)
        human = OutputStream(sys.stderr) if as_json else self._stdout
        columns = os.environ.get("COLUMNS", "").lstrip("0")  # 0: whoever has set it did not know
        width = int(columns) if columns.isdecimal() and len(columns) < 5 else PLAIN_WIDTH
        self.console = Console(
            file=human,  # type: ignore[arg-type] # a TextIOBase, which is all that rich uses of it
            width=None if human.isatty() else max(width, NARROWEST),
            # Colour is one thing, a terminal another: FORCE_COLOR colours a pipe, and repaints nothing in it.
            force_terminal=human.isatty(),
            color_system="auto" if human.isatty() or not os.environ.get("FORCE_COLOR") else "standard",
            highlight=False,
            markup=False,
            emoji=False,
        )

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Show what is waited for while the block runs; on a terminal, and gone afterwards."""
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            from rich.text import Text  # a str would be read as markup

            from taskdemo_cli.reports.terminal.painter import leaving_the_cursor

            with leaving_the_cursor(self.console), self.console.status(Text(escape(what)), spinner="dots"):
                yield
        else:
            yield

    def show(self, document: "AnyDocument | ChangesDocument") -> None:
        """Print the result: drawn for people, or with --json as one document."""
        # What these import takes its time to load, and --help is to be quick.
        if not self.as_json:
            from taskdemo_cli.reports.terminal.documents import drawing

            self.console.print(drawing(document))
            return
        from taskdemo_cli.documents.codec import json_chunks

        for chunk in json_chunks(document):
            self._stdout.write(chunk)
        self._stdout.flush()

    def wrote(self, path: str) -> None:
        """Say that a file was written, where people look: what they open next."""
        self.console.file.write(f"wrote {escape(path)}\n")
        self.console.file.flush()
