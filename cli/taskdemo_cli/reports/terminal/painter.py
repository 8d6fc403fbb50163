"""A block of lines at the bottom of the terminal, repainted in place. Knows the terminal, not what is drawn.

rich's Live erases every line of every frame and loses its place when the terminal is resized; this one writes only
the lines that changed, so that nothing flickers and a frame over a slow connection is a few hundred bytes.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Concatenate, ParamSpec, Self, TypeVar

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from taskdemo_cli.reports.terminal.cursor import HIDE_CURSOR, SHOW_CURSOR, leaving_the_cursor
from taskdemo_cli.reports.terminal.style import ASCII, NARROWEST, UNICODE, Glyphs, encodable, say

ERASE_LINE = "\x1b[K"
ERASE_BELOW = "\x1b[J"
Live = TypeVar("Live")
Plain = TypeVar("Plain")
Asked = ParamSpec("Asked")


class Block:
    """Lines that stay in one place while a `with` lasts; afterwards they are gone, unless an exception ended it."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.glyphs: Glyphs = ASCII if console.options.ascii_only else UNICODE
        self._shown: list[Text] = []
        self._columns = 0

    @property
    def width(self) -> int:
        """Columns for a line: one less than there are, so that no line ever wraps the cursor."""
        return max(self.console.width - 1, NARROWEST)  # what is too wide is cropped

    @property
    def height(self) -> int:
        """Lines for the block, with one left for the prompt above."""
        return max(self.console.height - 1, 1)

    def __enter__(self) -> Self:
        self._stops = leaving_the_cursor(self.console, self._again)
        self._stops.__enter__()
        self._write(HIDE_CURSOR)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            # Line by line, because some terminals keep a copy of what "erase below" takes.
            erased = f"{ERASE_LINE}\r\n" * (len(self._shown) - 1) + ERASE_LINE if self._shown else ""
            self._write(self._to_top() + erased + self._to_top() + ERASE_BELOW + SHOW_CURSOR)
        else:
            self._write(("\r\n" if self._shown else "") + SHOW_CURSOR)
        self._shown = []
        self._stops.__exit__(kind, error, traceback)

    def paint(self, lines: Sequence[Text]) -> None:
        """Show these lines in place of the former ones; those beyond the terminal's height are left out."""
        # Cropped here, so that it is known how many rows each takes, and none above them is ever painted over.
        lines = [self._cropped(line) for line in lines[: self.height]]
        output = [self._to_top()]
        if self.console.width != self._columns:
            output.append(ERASE_BELOW)
            self._shown, self._columns = [], self.console.width
        for index, line in enumerate(lines):
            if index:
                output.append("\r\n")
            if index >= len(self._shown) or line != self._shown[index]:
                output.append(self._escaped(line) + ERASE_LINE)
        if len(lines) < len(self._shown):
            # The lines left over are below the last one, which may itself be unchanged.
            output.append("\r\n" + ERASE_BELOW + "\x1b[A")
        self._write("".join(output) + "\r")
        self._shown = list(lines)

    def _to_top(self) -> str:
        """Return how the cursor gets from the start of the last line to the start of the first.

        After a resize the terminal may have broken the lines anew; most terminals do, so that is what is assumed.
        """
        columns = max(self.console.width, 1)
        rows = sum(max(-(-cell_len(line.plain) // columns), 1) for line in self._shown[:-1])
        return "\r" + (f"\x1b[{rows}A" if rows else "")

    def _cropped(self, line: Text) -> Text:
        room = max(self.console.width - 1, 1)
        if cell_len(line.plain) <= room:
            return line
        line = line.copy()
        line.truncate(room, overflow="crop")
        return line

    def _again(self) -> None:
        """Begin on a new line: this was stopped, and whatever the shell has printed meanwhile stays."""
        self._shown = []
        self._columns = 0

    def _escaped(self, line: Text) -> str:
        with self.console.capture() as captured:
            self.console.print(encodable(line.copy(), self.console.encoding), end="", no_wrap=True, overflow="crop")
        return captured.get()

    def _write(self, text: str) -> None:
        self.console.file.write(text)
        self.console.file.flush()


class PlainLines:
    """A screen of plain lines, the title first; what a subclass says of a thing, it says once that is through."""

    def __init__(self, console: Console, title: str, *_: object) -> None:
        self._console = console
        self._say(title)

    def _say(self, text: str) -> None:
        say(self._console, text)

    def update(self, *_: object) -> None:
        """Nothing: its figures come when it is through."""

    def skip(self, name: str, why: str) -> None:
        """Say why a mode is left out."""
        self._say(f"  {name} skipped: {why}")


def screens(
    live: Callable[Concatenate[Block, Asked], Live], plain: Callable[Concatenate[Console, Asked], Plain]
) -> Callable[Concatenate[Console, Asked], AbstractContextManager[Live | Plain]]:
    """Return what makes the screen that is fit for a console: one in a block, or one of plain lines.

    Use that in a `with`; what it is given besides the console, it hands on.
    """

    @contextlib.contextmanager
    def screen(console: Console, /, *args: Asked.args, **more: Asked.kwargs) -> Iterator[Live | Plain]:
        if console.is_terminal and not console.is_dumb_terminal and not console.legacy_windows:
            with Block(console) as block:
                yield live(block, *args, **more)
        else:  # nothing that can move its cursor
            yield plain(console, *args, **more)

    return screen
