"""The handle of a load process: starts it, gives it plans, and hands over its frames.

Light on purpose: the engine, with httpx and the parser, is imported in the load process alone
(`python -m taskdemo_cli.loadgen.process`).
"""

import contextlib
import subprocess
import sys
import threading
from typing import IO

from taskdemo_cli.loadgen.protocol import Command, Frames, Gone, Plan, Stop, decode_frame, encode_command


class Loader:
    """A load process, used for one run after another. Its frames, and `Gone`, arrive in `frames` as (name, frame)."""

    def __init__(self, frames: Frames, *, name: str = "load", log: IO[bytes] | int = subprocess.DEVNULL) -> None:
        self.frames = frames
        self._name = name
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._gone: Gone | None = None

    def start(self) -> None:
        """Start the process; it is of use at once, and says `Ready` when its imports are done."""
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "taskdemo_cli.loadgen.process"],  # -P: nothing from the current folder
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
        )
        threading.Thread(target=self._follow, args=(self._process,), daemon=True).start()

    def run(self, plan: Plan) -> None:
        """Begin a run; the one before must be done. A process that is gone says so again."""
        if self._gone is not None:
            self.frames.put((self._name, self._gone))
        self._say(plan)

    def stop(self) -> None:
        """End the run now: what is in flight is reported as Cancelled, and `done` follows."""
        self._say(Stop())

    def close(self) -> None:
        """End the process, whatever it is doing."""
        process = self._process
        if process is None:
            return
        with contextlib.suppress(OSError):
            process.stdin.close()  # type: ignore[union-attr]  # opened as a pipe above
        try:
            process.wait(1)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _say(self, command: Command) -> None:
        if self._process is None or self._process.stdin is None:
            raise RuntimeError("The load process was not started")
        with contextlib.suppress(OSError):  # a process that is gone says so with its last frame
            self._process.stdin.write(encode_command(command))
            self._process.stdin.flush()

    def _follow(self, process: subprocess.Popen[bytes]) -> None:
        pipe = process.stdout
        if pipe is None:
            return
        with pipe:
            while len(head := pipe.read(4)) == 4:
                size = int.from_bytes(head, "big")
                body = pipe.read(size)
                if len(body) < size:
                    break
                self.frames.put((self._name, decode_frame(body)))
        self._gone = Gone(process.wait())
        self.frames.put((self._name, self._gone))
