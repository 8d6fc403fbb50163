"""The handle of a load process: starts it, gives it plans, and hands over its frames.

Light on purpose: the engine, with httpx and the parser, is imported in the load process alone
(`python -m taskdemo_cli.loadgen.process`).
"""

import json
import marshal
import subprocess
import threading
from dataclasses import asdict
from typing import IO

from taskdemo_cli.loadgen.protocol import Frame, Frames, Plan
from taskdemo_cli.processes.children import Child, python


class Loader:
    """A load process, used for one run after another. Its frames arrive in `frames` as (name, frame).

    Beside the frames of the protocol there are {"kind": "gone", "returncode": n}: the process has ended; and
    {"kind": "refused", "why": text}: this plan cannot be fired, and the next one may be.
    """

    def __init__(self, frames: Frames, *, name: str = "load", log: IO[bytes] | int = subprocess.DEVNULL) -> None:
        self.frames = frames
        self._name = name
        self._log = log
        self._child: Child | None = None
        self._gone: Frame | None = None

    def start(self) -> None:
        """Start the process; it is of use at once, and says {"kind": "ready"} when its imports are done."""
        command = python("taskdemo_cli.loadgen.process")
        self._child = Child(command, stdout=subprocess.PIPE, errors=self._log)
        threading.Thread(target=self._follow, args=(self._child,), daemon=True).start()

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
        if self._child is not None:
            self._child.end()

    def _say(self, command: dict[str, object]) -> None:
        if self._child is None:
            raise RuntimeError("The load process was not started")
        self._child.send(json.dumps(command).encode() + b"\n")

    def _follow(self, child: Child) -> None:
        with child.output as pipe:
            while len(head := pipe.read(4)) == 4:
                size = int.from_bytes(head, "big")
                body = pipe.read(size)
                if len(body) < size:
                    break
                self.frames.put((self._name, marshal.loads(body)))  # noqa: S302 - from our own child
        self._gone = {"kind": "gone", "returncode": child.wait()}
        self.frames.put((self._name, self._gone))
