"""Child processes of a command or of a server, whatever they run: one way to start, await and end them.

A child ends when its standard input does, so none outlives its starter. Each has its own session: the terminal's Ctrl-C
and hang-up reach only the command or the server, which decides what to do.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final, cast

from taskdemo_server.contract.settings import environment_with
from taskdemo_server.contract.text import shortened

END_TIMEOUT_S: Final = 3.0
"""Seconds that a child has to end after its standard input is closed; then it is killed."""


def python(*arguments: str) -> list[str]:
    """Return the command that runs our module in this interpreter; `-P` keeps the current folder out of `sys.path`."""
    return [sys.executable, "-P", "-m", *arguments]


class Child:
    """A process that was started here.

    `told`: its settings, passed in its environment. `errors`: where its standard error goes; a file is appended to.
    With `tidy`, its temporary files go beside that file, because nothing cleans up after a SIGKILL. `says_ready`: it
    prints a line when it is ready.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        told: str | None = None,
        stdout: int | None = subprocess.DEVNULL,
        errors: Path | IO[bytes] | int | None = subprocess.DEVNULL,
        tidy: bool = False,
        says_ready: bool = False,
    ) -> None:
        environment = None if told is None else environment_with(told)
        if tidy and isinstance(errors, Path):
            environment = {**(environment or os.environ), "TMPDIR": str(errors.parent)}
        with errors.open("ab") if isinstance(errors, Path) else contextlib.nullcontext(errors) as stderr:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if says_ready else stdout,
                stderr=stderr,
                env=environment,
                start_new_session=True,
            )
        self._input = cast("IO[bytes]", self._process.stdin)
        self.output = cast("IO[bytes]", self._process.stdout)
        """The pipe that it writes to, if started with `stdout=PIPE`."""
        self.ready_line: str | None = None
        """The line that says it is ready; None before that, empty if it ended instead."""
        if says_ready:
            self._reader = threading.Thread(target=self._read_ready_line, name="await a child", daemon=True)
            self._reader.start()

    @property
    def pid(self) -> int:
        """Its process id, which is also the id of its process group."""
        return self._process.pid

    def poll(self) -> int | None:
        """Return its exit code; None while it runs."""
        return self._process.poll()

    def wait(self) -> int:
        """Wait until it has ended; return its exit code."""
        return self._process.wait()

    def await_ready_line(self, timeout: float) -> str:
        """Return the line that says it is ready; empty if there is none within `timeout` seconds."""
        self._reader.join(timeout)
        return self.ready_line or ""

    def why_not_ready(self, timeout: float, errors: Path) -> str:
        """Return why it was not ready within `timeout` seconds, with its last words, as the end of a sentence."""
        how = f"was not ready within {timeout:g} s" if self.ready_line is None else "did not start"
        return f"{how}: {last_line(errors) or 'it said nothing'}"

    def send(self, line: bytes) -> None:
        """Write to its standard input. A child that is gone is noticed when its answer does not come."""
        with contextlib.suppress(OSError):
            self._input.write(line)
            self._input.flush()

    def signal(self, number: int) -> None:
        """Pass on a signal that its starter received."""
        self._process.send_signal(number)

    def end(self) -> None:
        """End it, and what is left of its process group.

        Closes its standard input, and kills it if it does not end in time. A child that ends by itself leaves nothing
        behind, but one that was killed leaves what its work had started.
        """
        with contextlib.suppress(OSError):
            self._input.close()
        try:
            self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
        with contextlib.suppress(OSError):
            try:
                os.kill(self.pid, 0)  # if this succeeds, another process has the id now, and maybe the group
            except ProcessLookupError:
                os.killpg(self.pid, signal.SIGKILL)

    def kill(self) -> None:
        """Kill it and its process group at once."""
        if self.poll() is None:
            with contextlib.suppress(OSError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()

    def _read_ready_line(self) -> None:
        with self.output as lines:
            self.ready_line = os.fsdecode(lines.readline()).strip()  # a folder's name in it may not be UTF-8


def last_line(errors: Path) -> str:
    """Return the last line of a standard-error file, taskdemo's rather than a library's; safe to show, maybe empty."""
    with contextlib.suppress(OSError):
        lines = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        own = (line for line in reversed(lines) if line.startswith("taskdemo: "))
        last = next(own, lines[-1] if lines else "")
        return shortened(last.removeprefix("taskdemo: "), 300)  # printing it adds that again
    return ""
