"""A command's output: for people on stdout, or on stderr with --json. A reader that leaves ends the command."""

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

if TYPE_CHECKING:  # slow to import
    from taskdemo_cli.documents.changes import ChangesDocument
    from taskdemo_cli.documents.codec import AnyDocument

PLAIN_WIDTH = 100
"""Columns of human output to a file or a pipe, unless COLUMNS says otherwise."""


class OutputStream(io.TextIOBase):
    """A text stream whose reader may leave; later output is dropped.

    `stream` is None if there never was one. Raises Stopped when the reader has left, and UserError when a result cannot
    be written otherwise, as on a full disk. A closed terminal raises nothing: its SIGHUP asks the command to shut down.
    """

    def __init__(self, stream: TextIO | None, *, is_result: bool = True) -> None:
        self._stream = stream
        self._is_result = is_result

    def write(self, text: str) -> int:
        """Write, unless the reader has left."""
        if self._stream is not None:
            try:
                _write_whole(self._stream, text)
            except OSError as error:
                self._give_up(self._stream, error)
        return len(text)

    def flush(self) -> None:
        """Flush, unless the reader has left."""
        if self._stream is not None:
            try:
                self._stream.flush()
            except OSError as error:
                self._give_up(self._stream, error)

    def isatty(self) -> bool:
        """Return whether this is a terminal that is still open."""
        return self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        """Return the stream's file descriptor. Raises OSError if there is none."""
        return super().fileno() if self._stream is None else self._stream.fileno()

    def _give_up(self, stream: TextIO, error: OSError) -> None:
        self._stream = None
        stderr.send_nowhere(stream)
        if error.errno == errno.EPIPE:
            raise Stopped(signal.SIGPIPE)  # as other tools end when their reader leaves (`| head`)
        if self._is_result and error.errno != errno.EIO:
            raise UserError(f"the output could not be written ({error.strerror}); redirect it elsewhere", FAILED)


def _write_whole(stream: TextIO, text: str) -> None:
    """Write a whole text to a stream.

    Without a buffer (PYTHONUNBUFFERED, as in many containers) a write may be partial, as when a signal interrupts it
    or the disk is full, and the text stream drops the rest: https://github.com/python/cpython/issues/85393
    """
    encoding = stream.encoding or "utf-8"
    data = text.encode(encoding, "replace")  # what the encoding lacks becomes a question mark
    raw = getattr(stream, "buffer", None)
    if not isinstance(raw, io.FileIO):
        stream.write(data.decode(encoding))
        return
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(raw.fileno(), rest) :]


def complain(sentence: str, more: Iterable[str] = ()) -> None:
    """Write one sentence to stderr, and lines below it, all escaped; drop them if nobody reads stderr."""
    stderr.complain("\n".join([f"taskdemo: {escape(sentence)}", *(f"  {escape(line)}" for line in more)]))


class Output:
    """One command's output: `console` for people and, with --json, the document for programs on stdout."""

    def __init__(self, as_json: bool) -> None:
        from rich.console import Console

        from taskdemo_cli.reports.terminal.style import NARROWEST

        self.as_json = as_json
        self._stdout = sys.stdout if isinstance(sys.stdout, OutputStream) else OutputStream(sys.stdout)
        human = OutputStream(sys.stderr, is_result=False) if as_json else self._stdout
        columns = os.environ.get("COLUMNS", "").lstrip("0")  # 0 means unknown
        width = int(columns) if columns.isdecimal() and len(columns) < 5 else PLAIN_WIDTH
        self.console = Console(
            file=human,  # type: ignore[arg-type] # a TextIOBase is all that rich needs
            width=None if human.isatty() else max(width, NARROWEST),
            # FORCE_COLOR adds colour to a pipe, but does not make it a terminal to repaint.
            force_terminal=human.isatty(),
            color_system="auto" if human.isatty() or not os.environ.get("FORCE_COLOR") else "standard",
            highlight=False,
            markup=False,
            emoji=False,
        )

    @contextlib.contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Show on a terminal what the command waits for, while the block runs."""
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            from rich.text import Text  # a str would be read as markup

            from taskdemo_cli.reports.terminal.painter import leaving_the_cursor

            with leaving_the_cursor(self.console), self.console.status(Text(escape(what)), spinner="dots"):
                yield
        else:
            yield

    def show(self, document: "AnyDocument | ChangesDocument") -> None:
        """Print the result: drawn for people or, with --json, as one JSON document."""
        # Import here: these are slow to import, and --help must be fast.
        if not self.as_json:
            from taskdemo_cli.reports.terminal.documents import drawing

            self.console.print(drawing(document))
            return
        from taskdemo_cli.documents.codec import json_chunks

        for chunk in json_chunks(document):
            self._stdout.write(chunk)
        self._stdout.flush()

    def wrote(self, path: str) -> None:
        """Tell people that a file was written, which they may want to open next."""
        self.console.file.write(f"wrote {escape(path)}\n")
        self.console.file.flush()
