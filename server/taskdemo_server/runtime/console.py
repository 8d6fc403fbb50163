"""The server's output: the banner, the log of ended tasks, and what a shutdown does to tasks."""

import contextlib
import io
import logging
import os
import shlex
import shutil
import socket
import threading
from collections import deque
from typing import Any, Final, TextIO
from urllib.parse import quote, urlsplit

from taskdemo_server.access import is_loopback
from taskdemo_server.contract.modes import MODE_BY_NAME
from taskdemo_server.contract.settings import QUEUE, Settings
from taskdemo_server.contract.text import escape, shortened, without_password
from taskdemo_server.contract.whose_code import describe_error

_EVERY_S: Final = 0.05
_MOST_LINES: Final = 10_000


class Console:
    """Lines for standard output, written by a thread of its own.

    A task never waits for a slow reader, and never fails because there is none: lines wait in memory, the oldest are
    dropped if there are too many, and a closed output ends the writing. This is not logging's QueueListener, whose
    bounded queue refuses the newest line instead, and whose `stop` waits for ever if the reader has stopped.
    """

    def __init__(self, out: TextIO | None) -> None:
        self._lines: deque[str] = deque(maxlen=_MOST_LINES)
        self._encoding = (out and out.encoding) or "utf-8"
        self._closing = threading.Event()
        self.terminal = False
        self._thread: threading.Thread | None = None
        with contextlib.suppress(OSError, ValueError, AttributeError):  # There may be no output, or a closed one.
            self.terminal = out.isatty()  # type: ignore[union-attr]  # the AttributeError is suppressed
            self._file = out.fileno()  # type: ignore[union-attr]  # the AttributeError is suppressed
            self._thread = threading.Thread(target=self._write, name="console", daemon=True)
            self._thread.start()

    def say(self, line: str) -> None:
        """Queue a line, or several, to be written soon. Text from outside must be escaped first."""
        if self._thread is not None:
            self._lines.append(line)

    def say_on_signal(self, line: str) -> None:
        """Queue a line that answers a signal; on a terminal, it overwrites the echoed ^C."""
        self.say(f"\r{line}" if self.terminal else line)

    def close(self) -> None:
        """Write the remaining lines, within a second at most."""
        self._closing.set()
        if (thread := self._thread) is not None:  # it ends, and becomes None, if the output breaks
            thread.join(1.0)

    def _write(self) -> None:
        with contextlib.suppress(OSError):
            while not self._closing.wait(_EVERY_S):
                self._write_lines()
            self._write_lines()
            return
        self._thread = None
        self._lines.clear()

    def _write_lines(self) -> None:
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        if lines:
            text = ("\n".join(lines) + "\n").encode(self._encoding, "backslashreplace")
            while text:
                text = text[os.write(self._file, text) :]


def banner(settings: Settings, url: str, port: int, *, terminal: bool) -> str:
    """Return the banner: what is served here, what to expect of it, and what to type next; in colour for a terminal."""
    mode = MODE_BY_NAME[settings.mode]
    work = escape(settings.work) + ("" if (known := settings.known_duration) is None else f" of {known:g} s")
    token = f" --token {_quoted(settings.token)}" if settings.token is not None else ""
    rows = {
        "mode": f"{mode.name}: {mode.endpoint}",
        "work": f"{work}, {mode.where}",
        "url": url,
        "live": f"{url}/live" + (f"#{quote(settings.token, safe='')}" if settings.token is not None else ""),
        "docs": f"{url}/docs",
        "try": f"taskdemo fire --count 5 --port {port}{token}",
    }
    if settings.shares_broker:
        rows["worker"] = worker_command(settings, url)
    elif mode.engine is not None:
        rows["worker"] = mode.engine.format_command("N", settings.queue)
    if terminal:
        return _styled(mode.expect, rows)
    lines = [f"taskdemo serves mode {mode.name}.", mode.expect, *(f"  {name:<6} {rows[name]}" for name in rows)]
    return "\n".join(lines) + "\n"


def worker_command(settings: Settings, url: str) -> str:
    """Return the command that starts a worker for the server at `url`, whose broker is not private."""
    at = urlsplit(url)
    if is_loopback(str(at.hostname)) and not is_loopback(settings.host):
        url = f"http://{socket.gethostname()}:{at.port}"  # the worker may be on another machine
    duration = str(settings.duration).removesuffix(".0")
    given = {"queue": (settings.queue, QUEUE), "work": (settings.work, "sleep"), "duration": (duration, "1")}
    like = "".join(f" --{name} {_quoted(one)}" for name, (one, default) in given.items() if one != default)
    token = f" --token {_quoted(settings.token)}" if settings.token is not None else ""
    broker = _quoted(without_password(str(settings.broker)))
    return f"taskdemo worker --engine {settings.mode} --broker {broker}{like} --server {url}{token}"


def _quoted(word: str) -> str:
    """Return a word of a command as one would type it into a shell."""
    return shlex.quote(escape(word))


def _styled(expect: str, rows: dict[str, str]) -> str:
    # rich takes a while to import, and only a terminal needs it.
    from rich.console import Console as Terminal
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    blue, green = "#1f83c9", "#0a8f6b"  # mid-tones, as in the reports: legible on black and on white
    styles = {"url": f"bold {blue}", "live": blue, "docs": blue, "try": f"bold {green}", "mode": "bold"}
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in rows.items():
        table.add_row(name, Text(value, styles.get(name, "")))
    body = Group(Text(expect), "", table)
    panel = Panel(body, title="[bold]taskdemo[/]", title_align="left", border_style=blue, padding=(1, 2))
    # Written to memory: only the console's own thread may wait for the terminal.
    out = io.StringIO()
    width = min(shutil.get_terminal_size().columns, 100)
    Terminal(file=out, force_terminal=True, width=width, highlight=False).print(panel)
    return out.getvalue()


def _tasks(count: int) -> tuple[str, str, str, str]:
    """Return "1 task" or "N tasks", and the words that agree with it: is, it, it; or are, them, they."""
    return ("1 task", "is", "it", "it") if count == 1 else (f"{count} tasks", "are", "them", "they")


def left_behind(count: int) -> str:
    """Return the line that says that `count` tasks of this journal were lost when an earlier server died."""
    tasks, are, _, they = _tasks(count)
    return f"An earlier server died before {tasks} of this journal had ended; {they} {are} lost."


def draining(signal: str, count: int) -> str:
    """Return the line that says what the first `signal` does to `count` running tasks."""
    if count == 0:
        return f"{signal}: no task is running."
    tasks, are, them, _ = _tasks(count)
    return f"{signal}: {tasks} {are} still running; finishing {them}. {signal} again abandons {them}."


def kept(signal: str, count: int) -> str:
    """Return the line that says what the first `signal` does to `count` tasks kept by a broker that is not private."""
    if count == 0:
        return f"{signal}: no task is left with the broker."
    tasks, _, them, _ = _tasks(count)
    return f"{signal}: the broker keeps {tasks}; its workers do {them} without this server."


def drained(count: int, lost: int) -> str:
    """Return the line that says what became of `count` tasks that were still running; `lost` of them are lost."""
    if lost:
        return "It is lost." if count == 1 else f"All {count} have ended; {lost} of them {_tasks(lost)[1]} lost."
    return "It has ended; nothing is lost." if count == 1 else f"All {count} have ended; nothing is lost."


def abandoned(signal: str, count: int) -> str:
    """Return the line that says what the second `signal` does to `count` running tasks, and why."""
    if count == 0:
        return f"{signal} again: no task was left to abandon."
    tasks, are, them, _ = _tasks(count)
    return f"{signal} again: {tasks} {are} abandoned and lost: only this server knew of {them}."


class Briefly(logging.Formatter):
    """A log record as one line of escaped text: of an exception the message and the place, but no traceback.

    Hundreds of tasks may fail per second, each with sixty frames of framework code.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        text = record.getMessage().strip()
        if record.exc_info and record.exc_info[1] is not None:
            text += f": {describe_error(record.exc_info[1])}"
        return shortened(text, 1000)


LOGGING: Final[dict[str, Any]] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"briefly": {"()": "taskdemo_server.runtime.console.Briefly"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "briefly"}},
    "loggers": {"uvicorn": {"handlers": ["stderr"], "propagate": False}},
}
"""The `logging` configuration for uvicorn's log, which reports errors in requests and tasks."""
