"""The command line's half of the load: what to fire (`Plan`) and the handle of the process that fires it (`Loader`).

Light on purpose: the engine, with httpx and the parser, is imported in the load process alone
(`python -m taskdemo_cli.load`). Knows pipes and frames; knows no screen and no statistics.

The protocol: one JSON command a line on the process's standard input, frames (four bytes of big-endian length,
then a marshalled dict) on its standard output; both ends are the same Python. The end of standard input
ends the process at once.
"""

import contextlib
import json
import marshal
import queue
import subprocess
import sys
import threading
from dataclasses import asdict, dataclass, field
from typing import IO, Any, Final, Self

Frame = dict[str, Any]
Frames = queue.Queue[tuple[str, Frame]]

LATE_S: Final = 0.002
"""A send that happens later than this after its planned time counts as late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one run fires. Closed loop with `concurrency`, open loop with `rate`; times in seconds, rates per second."""

    url: str
    message: str | None = None
    """Goes along as `?message=`; `{n}` in it becomes the request's number, from 1."""
    count: int | None = None
    for_s: float | None = None
    """Begin requests for this long, as the alternative to `count`."""
    concurrency: int | None = None
    rate: float | None = None
    timeout_s: float | None = None
    """The whole run's deadline: requests in flight end with ReadTimeout, the rest is not sent."""
    headers: dict[str, str] = field(default_factory=dict)
    until_stopped: bool = False
    """Begin requests until `stop`."""

    def to_json(self) -> str:
        """Return the plan as one line of JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read `to_json()` back."""
        return cls(**json.loads(text))


class Loader:
    """A load process, used for one run after another. Its frames arrive in `frames` as (name, frame).

    Beside the frames of the protocol there is {"kind": "gone", "returncode": n}: the process has ended.
    """

    def __init__(self, frames: Frames, *, name: str = "load", log: IO[bytes] | int = subprocess.DEVNULL) -> None:
        self.frames = frames
        self._name = name
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process; it is of use at once, and says {"kind": "ready"} when its imports are done."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "taskdemo_cli.load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
        )
        threading.Thread(target=self._follow, args=(self._process,), daemon=True).start()

    def run(self, plan: Plan) -> None:
        """Begin a run; the one before must be done."""
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
        self.frames.put((self._name, {"kind": "gone", "returncode": process.wait()}))


def raise_file_limit() -> int:
    """Raise this process's limit of open files as far as it may, and return it."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return 1_000_000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 1_000_000) if hard != resource.RLIM_INFINITY else 1_000_000
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return 1_000_000 if soft == resource.RLIM_INFINITY else soft
    for limit in (wanted, 10_240):  # macOS says "unlimited" and grants OPEN_MAX
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            return limit
    return soft


if __name__ == "__main__":
    from taskdemo_cli.generator import main

    main()
