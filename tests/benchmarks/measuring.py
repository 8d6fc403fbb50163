"""What benchmarks share: a program that runs as long as a block, what can be awaited of it, and wrk."""

import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TASKDEMO = str(Path(sys.executable).with_name("taskdemo"))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def until(what: str, condition: Callable[[], object], within: float = 60.0) -> None:
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"This takes too long: {what}")
        time.sleep(0.005)


def serves(url: str) -> bool:
    try:
        urllib.request.urlopen(url).read()
    except urllib.error.HTTPError:  # it wants its token
        return True
    except OSError:
        return False
    return True


@contextmanager
def running(
    *arguments: str, url: str = "", log: Path | None = None, **options: Any
) -> Iterator["subprocess.Popen[str]"]:
    """Run Python with these arguments until the end of the block, which begins when it serves this URL, if it does.

    `log`: the file to which what it prints is added.
    """
    command, usual = [sys.executable, *arguments], {"cwd": HERE, "stdin": subprocess.PIPE, "text": True}
    with log.open("ab") if log else nullcontext() as file:
        streams = {"stdout": file, "stderr": file} if log else {}
        process = subprocess.Popen(command, start_new_session=True, **{**usual, **streams, **options})
    try:
        if url:
            until(f"{url} is served", lambda: serves(url))
        yield process
    finally:
        process.terminate()
        process.communicate()  # closes its standard input, which a guarded worker lives by


@dataclass(frozen=True)
class Wrk:
    """What wrk says: requests per second, how many were answered, and percentiles of their times in seconds."""

    rate: float
    count: int
    p50: float
    p99: float


def wrk(url: str, connections: int, seconds: int = 1) -> Wrk:
    """Ask with so many connections for so long."""
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", url]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in report or "Socket errors" in report:
        print(report, file=sys.stderr)
    units = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
    latency = {p: float(v) * units[u] for p, v, u in re.findall(r"(\d+)%\s+([\d.]+)(us|ms|s)", report)}
    rate, count = re.search(r"Requests/sec:\s+([\d.]+)", report), re.search(r"(\d+) requests in", report)
    if rate is None or count is None:
        raise RuntimeError(report)
    return Wrk(float(rate[1]), int(count[1]), latency["50"], latency["99"])
