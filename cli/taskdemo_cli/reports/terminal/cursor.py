"""The terminal's cursor: hidden while lines are repainted, and shown again however the process stops."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.console import Console

HIDE_CURSOR: Final = "\x1b[?25l"
SHOW_CURSOR: Final = "\x1b[?25h"


@contextlib.contextmanager
def leaving_the_cursor(console: "Console", again: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Show the cursor, which the block hides, where Ctrl-Z stops or SIGQUIT ends this process; `again`: it goes on."""

    def stop(number: int, _frame: FrameType | None) -> None:
        file = console.file.fileno()  # past the buffer, in the middle of whose write this may come
        os.write(file, f"\r\n{SHOW_CURSOR}".encode())
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, stop)  # here after `fg`
        again()
        os.write(file, f"{HIDE_CURSOR}\r".encode())

    kept = {number: signal.signal(number, stop) for number in (signal.SIGTSTP, signal.SIGQUIT)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
