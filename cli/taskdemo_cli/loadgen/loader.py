"""The handle of a load process: starts it, sends it plans, and forwards its frames.

Light on purpose: only the load process (`python -m taskdemo_cli.loadgen.process`) imports the engine, with httpx
and the parser.
"""

import subprocess
import threading
from typing import IO

from taskdemo_cli.loadgen.protocol import Frames, Gone, Plan, Stop, decode_frame, encode_command
from taskdemo_server.contract.child_process import Child, python


class Loader:
    """A load process, used for one run after another. Its frames, and `Gone`, arrive in `frames` as (name, frame).

    It accepts plans at once, and sends `Ready` when its imports are done.
    """

    def __init__(self, frames: Frames, *, name: str = "load", log: IO[bytes] | int = subprocess.DEVNULL) -> None:
        self.frames = frames
        self._name = name
        self.started = threading.Event()
        """Set once the process has sent its first frame, `Ready`, or has ended."""
        self._gone: Gone | None = None
        self._child = Child(python("taskdemo_cli.loadgen.process"), stdout=subprocess.PIPE, errors=log)
        threading.Thread(target=self._follow, daemon=True).start()

    def run(self, plan: Plan) -> None:
        """Begin a run; the previous one must be done. If the process has ended, `Gone` arrives again."""
        if self._gone is not None:
            self.frames.put((self._name, self._gone))
        self._child.send(encode_command(plan))

    def stop(self) -> None:
        """End the run now: requests in flight end as Cancelled, and `Done` follows."""
        self._child.send(encode_command(Stop()))

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._child.end()

    def _follow(self) -> None:
        with self._child.output as pipe:
            while len(head := pipe.read(4)) == 4:
                size = int.from_bytes(head, "big")
                body = pipe.read(size)
                if len(body) < size:
                    break
                self.frames.put((self._name, decode_frame(body)))
                self.started.set()
        self._gone = Gone(self._child.wait())
        self.frames.put((self._name, self._gone))
        self.started.set()
