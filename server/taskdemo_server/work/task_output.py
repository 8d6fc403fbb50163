"""Tells apart what tasks print at the same time, wherever they run. Standard library only.

Replaces standard output and error with streams that look up the current task in a context variable, which follows a
request into worker threads and background tasks by itself. Only servers with the user's own code need this.
"""

import contextlib
import io
import sys
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Final, TextIO

from taskdemo_server.contract.text import escape, shortened

KEPT: Final = 2000
"""Characters of one task's output to keep for the journal."""
LONGEST_LINE: Final = 500


class TaskOutput:
    """One task's output: keeps the beginning, and the end, as of a traceback; shows every line at once."""

    def __init__(self, label: str, say: Callable[[str], None] | None) -> None:
        self.closed = False
        self._label = label
        self._say = say
        self._first = self._last = ""
        self._length = 0
        self._line = ""
        self._lock = threading.Lock()

    def write(self, text: str) -> None:
        """Add printed text."""
        with self._lock:
            room = KEPT // 2 - len(self._first)
            self._first += text[:room]
            self._last = (self._last + text[room:])[-KEPT // 2 :]
            self._length += len(text)
            *lines, rest = text.split("\n")
            for line in lines:
                self._show(self._line + line)
                self._line = ""
            self._line = (self._line + rest)[-LONGEST_LINE:]

    def end(self) -> str | None:
        """Close it; return the kept text, with the number of characters left out; None if nothing was printed."""
        with self._lock:
            self.closed = True
            if self._line:
                self._show(self._line)
        missing = self._length - len(self._first) - len(self._last)
        between = f" ... {missing} characters left out ... " if missing else ""
        return f"{self._first}{between}{self._last}".rstrip("\n") or None

    def _show(self, line: str) -> None:
        # What a terminal would show of a line that was overwritten, as progress bars do.
        line = line.rstrip("\r").rpartition("\r")[2].expandtabs()
        if self._say is not None and line.strip():
            self._say(f"{self._label} | {shortened(line, LONGEST_LINE)}")


current: Final[ContextVar[TaskOutput | None]] = ContextVar("task_output", default=None)
"""Where output printed in this context belongs."""


class Bytes(io.BufferedIOBase):
    """The `buffer` of a stream: bytes that are written to it count as printed text. Some loggers write only bytes."""

    def __init__(self, stream: "Stream") -> None:
        self._text = stream

    def write(self, data: Any) -> int:
        """Write to the stream above."""
        self._text.write(bytes(data).decode(errors="replace"))
        return memoryview(data).nbytes

    def flush(self) -> None:
        """Flush the real stream."""
        self._text.flush()

    def writable(self) -> bool:
        """Return whether one can write: always."""
        return True

    def fileno(self) -> int:
        """Return the real stream's descriptor. Raises OSError if there is none."""
        return self._text.fileno()


class Stream(io.TextIOWrapper):
    """Standard output or error; what no task prints goes to the real stream, escaped.

    It has whatever applications use of the original: `buffer`, `reconfigure`, ...
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        super().__init__(Bytes(self), "utf-8")  # type: ignore[arg-type]  # any binary stream will do

    def write(self, text: str) -> int:
        """Write to the current task's output, or else to the real stream."""
        output = current.get()
        if output is not None and not output.closed:
            output.write(text)
        elif self._stream is not None:
            with contextlib.suppress(OSError, ValueError):  # closed, or nobody reads it: a print must not fail a task
                self._stream.write("\n".join(escape(line.expandtabs()) for line in text.split("\n")))
        return len(text)

    def flush(self) -> None:
        """Flush the real stream."""
        if self._stream is not None:
            with contextlib.suppress(OSError, ValueError):
                self._stream.flush()

    def isatty(self) -> bool:
        """Return whether this is a terminal: never for a task, as colours and progress bars would not show as such."""
        return current.get() is None and self._stream is not None and self._stream.isatty()

    def writable(self) -> bool:
        """Return whether one can write: always."""
        return True

    def fileno(self) -> int:
        """Return the real stream's descriptor. Raises OSError if there is none."""
        if self._stream is None:
            raise io.UnsupportedOperation("fileno")
        return self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The real stream's encoding."""
        return getattr(self._stream, "encoding", None) or "utf-8"


def tell_apart() -> None:
    """From here on in this process, tell apart what tasks print. Calling it again does no harm."""
    if not isinstance(sys.stdout, Stream):
        sys.stdout = Stream(sys.stdout)
    if not isinstance(sys.stderr, Stream):
        sys.stderr = Stream(sys.stderr)
