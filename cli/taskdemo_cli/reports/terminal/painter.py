"""A block of lines at the bottom of the terminal, repainted in place. Knows the terminal, not what is drawn.

rich's Live erases every line of every frame and loses its place when the terminal is resized. This painter writes only
the lines that changed: nothing flickers, and a frame takes a few hundred bytes on a slow connection.
"""

import contextlib
import os
import signal
import termios
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from types import FrameType, TracebackType
from typing import Any, Final, Self, TypeAlias

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from taskdemo_cli.reports.terminal.style import NARROWEST, WIDEST, say

HIDE_CURSOR: Final = "\x1b[?25l"
SHOW_CURSOR: Final = "\x1b[?25h"
ERASE_LINE: Final = "\x1b[K"
ERASE_BELOW: Final = "\x1b[J"
_Modes: TypeAlias = list[Any]
"""The modes of a terminal, as termios has them."""


@contextlib.contextmanager
def leaving_the_cursor(console: Console, again: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Leave the terminal as it was when Ctrl-Z stops or SIGQUIT ends this process; call `again` when it continues.

    That is with its cursor, and with the echo of what is typed, which would move the lines that are repainted.
    """
    modes: _Modes | None = None

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal modes
        file = console.file.fileno()  # bypass the buffer: the signal may interrupt a write to it
        os.write(file, f"\r\n{SHOW_CURSOR}".encode())
        _set_modes(console, modes)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, stop)  # continues here after `fg`
        again()
        modes = _stop_echo(console)
        os.write(file, f"{HIDE_CURSOR}\r".encode())

    kept = {number: signal.signal(number, stop) for number in (signal.SIGTSTP, signal.SIGQUIT)}
    modes = _stop_echo(console)
    try:
        yield
    finally:
        _set_modes(console, modes)
        for number, handler in kept.items():
            signal.signal(number, handler)


def _stop_echo(console: Console) -> _Modes | None:
    """Let the terminal no longer show what is typed; return its modes before. None if it is not this command's."""
    with contextlib.suppress(OSError, termios.error):
        file = console.file.fileno()
        if os.tcgetpgrp(file) == os.getpgrp():  # a command in the background would be stopped for this
            before = termios.tcgetattr(file)
            inward, outward, control, local, *others = before
            termios.tcsetattr(file, termios.TCSANOW, [inward, outward, control, local & ~termios.ECHO, *others])
            return before
    return None


def _set_modes(console: Console, modes: _Modes | None) -> None:
    if modes is not None:
        with contextlib.suppress(OSError, termios.error):
            termios.tcsetattr(console.file.fileno(), termios.TCSANOW, modes)


class Block:
    """Lines that stay in one place during a `with` block; they are erased afterwards, unless an exception ended it."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._shown: list[Text] = []
        self._columns = 0

    @property
    def width(self) -> int:
        """Columns for a line: one less than the terminal has, so that no line wraps the cursor."""
        return min(max(self.console.width - 1, NARROWEST), WIDEST)  # too wide lines are cropped

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
            self._write(self._erased() + SHOW_CURSOR)
        else:
            self._write(("\r\n" if self._shown else "") + SHOW_CURSOR)
        self._shown = []
        self._stops.__exit__(kind, error, traceback)

    def paint(self, frame: Iterable[Text]) -> None:
        """Show these lines in place of the previous ones; those beyond the terminal's height are left out."""
        lines = list(islice(frame, self.height))
        for line in lines:  # crop to a known number of rows, so that nothing above is overwritten
            line.truncate(max(self.console.width - 1, 1), overflow="crop")
        if self.console.width == self._columns:
            output = [self._to_top()]
        else:
            output = [self._erased()]
            self._shown, self._columns = [], self.console.width
        for index, line in enumerate(lines):
            if index:
                output.append("\r\n")
            if index >= len(self._shown) or line != self._shown[index]:
                with self.console.capture() as captured:
                    self.console.print(line, end="", no_wrap=True, overflow="crop")
                output.append(captured.get() + ERASE_LINE)
        if len(lines) < len(self._shown):
            # Leftover lines are below the last one, which may itself be unchanged.
            output.append("\r\n" + ERASE_BELOW + "\x1b[A")
        self._write("".join(output) + "\r")
        self._shown = lines

    def _rows(self) -> int:
        """Return how many rows of the terminal the lines above the last one take.

        Assumes that the terminal has rewrapped the lines after a resize, as most terminals do.
        """
        columns = max(self.console.width, 1)
        return sum(max(-(-cell_len(line.plain) // columns), 1) for line in self._shown[:-1])

    def _to_top(self) -> str:
        """Return what moves the cursor from the start of the last line to the start of the first."""
        rows = self._rows()
        return "\r" + (f"\x1b[{rows}A" if rows else "")

    def _erased(self) -> str:
        """Return what erases the lines, and moves the cursor to where the first one was.

        It erases line by line, because some terminals keep a copy of what "erase below" removes.
        """
        top = self._to_top()
        return top + f"{ERASE_LINE}\r\n" * self._rows() + ERASE_LINE + top + ERASE_BELOW

    def _again(self) -> None:
        """Begin on a new line after a stop, to keep what the shell has printed meanwhile."""
        self._shown = []
        self._columns = 0

    def _write(self, text: str) -> None:
        self.console.file.write(text)
        self.console.file.flush()


class Screen(ABC):
    """What a command shows while it runs: a block of lines or, where none can be repainted, a line for each event.

    Use it in a `with` block. A subclass has methods for the events, and yields the block's current lines; `names` are
    those of the items that it shows side by side.
    """

    def __init__(self, console: Console, title: str, names: Iterable[str] = ()) -> None:
        self._console = console
        self._title = title
        self._names = list(names)
        self._block: Block | None = None

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            if self._console.is_terminal and not self._console.is_dumb_terminal:
                self._block = stack.enter_context(Block(self._console))
            self._show(self._title)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)

    def skip(self, name: str, why: str) -> None:
        """Remove one of the names; the final report says why, too."""
        self._names = [one for one in self._names if one != name]
        self._show(f"  {name} skipped: {why}")

    def _show(self, *news: str) -> None:
        """Repaint the block, or print the news."""
        if self._block is not None:
            self._block.paint(self._lines(self._block.width))
            return
        for line in news:
            say(self._console, line)

    @abstractmethod
    def _lines(self, width: int) -> Iterable[Text]: ...
