"""The handle of a load process: starts it, gives it plans, and hands over its frames.

Light on purpose: the engine, with httpx and the parser, is imported in the load process alone
(`python -m taskdemo_cli.loadgen.process`).
"""

import contextlib
import json
import marshal
import subprocess
import sys
import threading
from dataclasses import asdict
from typing import IO

from taskdemo_cli.loadgen.protocol import Frame, Frames, Plan


class Loader:
    """A load process, used for one run after another. Its frames arrive in `frames` as (name, frame).

    Beside the frames of the protocol there are {"kind": "gone", "returncode": n}: the process has ended; and
    {"kind": "refused", "why": text}: this plan cannot be fired, and the next one may be.
    """

    def __init__(self, frames: Frames, *, name: str = "load", log: IO[bytes] | int = subprocess.DEVNULL) -> None:
        self.frames = frames
        self._name = name
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._gone: Frame | None = None

    def start(self) -> None:
        """Start the process; it is of use at once, and says {"kind": "ready"} when its imports are done."""
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
        self._say({"cmd": "run", **asdict(plan)})

    def stop(self) -> None:
        """End the run now: what is in flight is reported as Cancelled, and `done` follows."""
        self._say({"cmd": "stop"})

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

    def _say(self, command: dict[str, object]) -> None:
        if self._process is None or self._process.stdin is None:
            raise RuntimeError("The load process was not started")
        with contextlib.suppress(OSError):  # a process that is gone says so with its last frame
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
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
                self.frames.put((self._name, marshal.loads(body)))  # noqa: S302 - from our own child
        self._gone = {"kind": "gone", "returncode": process.wait()}
        self.frames.put((self._name, self._gone))
