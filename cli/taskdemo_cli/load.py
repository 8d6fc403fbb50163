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
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

Frame = dict[str, Any]
Frames = queue.Queue[tuple[str, Frame]]

LATE_S: Final = 0.002
"""Open loop: a send that happens later than this after its planned time counts as late."""

CALIBRATION_S: Final = 0.15
CALIBRATION_LIMIT_S: Final = 2.0
SPARE_FILES: Final = 64
_ENOUGH_FILES: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What one run fires. Closed loop with `concurrency`, open loop with `rate`; times in seconds, rates per second."""

    url: str
    method: str = "GET"
    body: str | None = None
    """Its bytes, each as the character of that number (Latin-1), so that a plan is JSON whatever they are."""
    message: str | None = None
    """Goes along as `?message=`; `{n}` in it becomes the request's number, from 1."""
    count: int | None = None
    for_s: float | None = None
    """Begin requests for this long, as the alternative to `count`."""
    concurrency: int | None = None
    rate: float | None = None
    timeout_s: float | None = None
    """The whole run's deadline: requests in flight end with ReadTimeout, the rest is not sent."""
    headers: Sequence[tuple[str, str]] = ()
    """Instead of ours where the names are the same; one name may come several times."""
    until_stopped: bool = False
    """Begin requests until `stop`."""
    through_httpx: bool = False
    """Use httpx's own transport although ours would do; so that its overhead can be measured."""


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
            [sys.executable, "-P", "-m", "taskdemo_cli.load"],  # -P: nothing from the current folder
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


def needs_httpx(url: str) -> bool:
    """Say whether `url` is beyond our own transport: https, or behind the environment's proxy."""
    return urlsplit(url).scheme != "http" or proxy_for(url) is not None


def proxy_for(url: str) -> str | None:
    """Return the proxy that the environment (http_proxy, no_proxy, ...) names for `url`; never one for loopback."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in {"localhost", "::1"} or host.startswith("127.") or proxy_bypass(host):
        return None
    proxies = getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")


def raise_file_limit() -> int:
    """Raise this process's limit of open files as far as it may, and return it; children started later inherit it."""
    if sys.platform == "win32":  # which has no such limit
        return _ENOUGH_FILES
    else:  # noqa: RET505  else the type checker, told of a Windows, finds the rest unreachable
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = _ENOUGH_FILES if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH_FILES)
        if soft == resource.RLIM_INFINITY or soft >= wanted:
            return wanted
        for limit in (wanted, 10_240):  # macOS says "unlimited" and grants OPEN_MAX
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
                return limit
        return soft


def capacity_problem(plan: Plan) -> str | None:
    """Say in one sentence why this machine cannot open the plan's connections, or return None.

    An open loop opens connections as it needs them and makes its sends wait (and counts them as late) where no
    more can be opened, so only a closed loop can ask for too many.
    """
    if plan.rate is not None:
        return None
    wanted = plan.concurrency or plan.count or 1
    if plan.count is not None:
        wanted = min(wanted, plan.count)
    files = raise_file_limit() - SPARE_FILES
    if files < 1:
        return f"the limit of open files leaves none for connections; raise it first: ulimit -n {wanted + SPARE_FILES}"
    if wanted > files:
        return (
            f"{wanted} connections at once are more than the {files} that this machine's limit of open files allows; "
            f"type --concurrency {files}, or raise the limit first: ulimit -Hn {wanted + SPARE_FILES} (as root)"
        )
    ports = _ephemeral_ports()
    if wanted > ports:
        return (
            f"{wanted} connections at once are more than the {ports} local ports that this machine has; "
            f"type --concurrency {ports}, or widen net.ipv4.ip_local_port_range with sysctl (as root)"
        )
    return None


def _ephemeral_ports() -> int:
    try:
        low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    except (OSError, ValueError):  # not Linux: the range IANA names, which macOS and Windows use
        return 65_535 - 49_152
    return int(high) - int(low)


def calibrate(loader: Loader, plan: Plan, requests_per_s: float) -> float | None:
    """Measure the client's own share of a response time, in seconds (median), in about 0.25 s.

    The load process, which must be idle, repeats the plan's pattern against a bare server that answers one request
    after another at `requests_per_s`, the pace that the run reached: so the connections, the queueing and the
    number of answers that arrive together are the run's. The bare server says how long it had each request;
    the rest of each response time was spent in the client (and in the kernel between the two).
    Very slow paces are hastened to stay in time, which makes the figure larger, never smaller. A small burst is fired
    several times, and the least of their medians counts: what else runs here only ever adds. None if it failed.
    """
    callers = plan.concurrency or plan.count or 1
    if plan.rate is not None:
        count = max(1, min(plan.count or 10_000, int(CALIBRATION_S * plan.rate)))
        service_s = 0.0
    else:
        count = max(callers, int(CALIBRATION_S * requests_per_s))
        count = min(count, plan.count or count)
        service_s = min(1 / requests_per_s if requests_per_s else 1.0, CALIBRATION_S / count)
    bare = subprocess.Popen(
        [sys.executable, "-I", "-S", str(Path(__file__).with_name("bare.py")), repr(service_s)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    frames: Frames = queue.Queue()
    elsewhere, loader.frames = loader.frames, frames
    medians: list[float] = []
    try:
        port = int(bare.stdout.readline())  # type: ignore[union-attr]  # opened as a pipe above
        again = Plan(
            url=f"http://127.0.0.1:{port}/",
            count=count,
            concurrency=None if plan.rate else callers,
            rate=plan.rate,
            timeout_s=CALIBRATION_LIMIT_S,
            through_httpx=plan.through_httpx or needs_httpx(plan.url),
        )
        end = time.monotonic() + CALIBRATION_S
        while not medians or time.monotonic() < end:
            if not (shares := _shares(loader, again, frames)):
                break
            medians.append(max(0.0, statistics.median(shares)))
    except (ValueError, queue.Empty):
        return None
    finally:
        loader.frames = elsewhere
        bare.kill()
        bare.communicate()
    return min(medians, default=None)


def _shares(loader: Loader, plan: Plan, frames: Frames) -> list[float]:
    """Fire the plan at the bare server, and return what of each response time was not its."""
    shares: list[float] = []
    loader.run(plan)
    while True:
        _, frame = frames.get(timeout=2 * CALIBRATION_LIMIT_S)
        if frame["kind"] == "batch":
            for _, _, sent, _, done, status, _, stamps in frame["samples"]:
                if status == 200:
                    came, answered = map(float, stamps.split())
                    shares.append((done - sent) - (answered - came))
        elif frame["kind"] in {"done", "gone", "refused"}:
            return shares


if __name__ == "__main__":
    from taskdemo_cli.load_process import main

    main()
