"""Requests per second of each mode with work of 0 s, beside the same page served by uvicorn without taskdemo.

    python tests/benchmarks/server_overhead.py [MODE ...]

Both run the same page under the same uvicorn, and print to a file; wrk asks them in turn, and the medians are compared.
Also counts the events that ours has journaled: three for each answer, none lost. Exits with 1 where a ratio is below
0.9.
"""

import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

import measuring
from measuring import free_port, running
from taskdemo_server.contract.modes import MODE_BY_NAME, MODES
from taskdemo_server.contract.settings import WORK, WorkSettings

ROUNDS = 7
SECONDS = 1
CONNECTIONS = 50
MUST_REACH = 0.9


@contextmanager
def serving(arguments: list[str], port: int, folder: Path) -> Iterator[psutil.Process]:
    work = WorkSettings(mode="", duration=0.0, console=True)
    url, env = f"http://127.0.0.1:{port}/openapi.json", {**os.environ, WORK: work.to_json()}
    with running(*arguments, url=url, log=folder / f"{port}.out", env=env) as process:
        yield psutil.Process(process.pid)


def wait_until_idle(process: psutil.Process) -> float:
    """Wait until the tasks that the last burst left behind have ended; return the CPU seconds used so far."""
    before = -1.0
    while True:
        used = sum(sum(one.cpu_times()[:2]) for one in [process, *process.children(recursive=True)])
        if used - before <= 0.01:
            return used
        before = used
        time.sleep(0.2)


def ask(port: int) -> measuring.Wrk:
    return measuring.wrk(f"http://127.0.0.1:{port}/", CONNECTIONS, SECONDS)


class Side:
    """One of the two servers of a mode, and what was measured of it."""

    def __init__(self, port: int, process: psutil.Process) -> None:
        self.port = port
        self.process = process
        self.rates: list[float] = []
        self.cpu_us: list[float] = []
        """CPU microseconds for an answer and its task, of the server and its processes."""
        self.answered = 0

    def burst(self) -> None:
        before = wait_until_idle(self.process)
        found = ask(self.port)
        self.rates.append(found.rate)
        self.cpu_us.append((wait_until_idle(self.process) - before) / found.count * 1e6)
        self.answered += found.count


def median_ratio(ours: list[float], bare: list[float]) -> float:
    """Of each round's two bursts, which ran one after the other; the first round warms up."""
    return statistics.median(mine / other for mine, other in zip(ours[1:], bare[1:], strict=True))


def measure(mode: str, folder: Path) -> tuple[Side, Side, Counter[str]]:
    bare_port, port = free_port(), free_port()
    journal = folder / f"{port}.journal"
    settings = {"mode": mode, "journal": str(journal), "duration": 0.0, "port": port}
    page = f"{MODE_BY_NAME[mode].page}:app"
    bare_arguments = ["-m", "uvicorn", page, "--port", str(bare_port), "--log-level", "error", "--no-access-log"]
    with (
        serving([*bare_arguments, "--ws", "none", "--no-proxy-headers"], bare_port, folder) as bare_process,
        serving(["-m", "taskdemo_server.serve", json.dumps(settings)], port, folder) as process,
    ):
        bare, ours = Side(bare_port, bare_process), Side(port, process)
        for round_ in range(ROUNDS + 1):
            for side in (bare, ours) if round_ % 2 else (ours, bare):
                side.burst()
    with journal.open() as lines:
        return bare, ours, Counter(json.loads(line)["state"] for line in lines)


def main() -> int:
    if shutil.which("wrk") is None:
        print("This benchmark needs wrk (apt install wrk).")
        return 0
    well = True
    print(f"{ROUNDS} bursts of {SECONDS} s at each in turn, {CONNECTIONS} at once: medians, and medians of the ratios")
    print(f"{'mode':<18}{'requests/s':>10}{'':>20}{'CPU us/request':>24}{'':>12}  events")
    print(f"{'':<18}{'bare':>10}{'taskdemo':>10}{'ratio':>10}{'bare':>12}{'taskdemo':>12}{'ratio':>12}  a request")
    with tempfile.TemporaryDirectory() as folder:
        for mode in sys.argv[1:] or [mode.name for mode in MODES if mode.engine is None]:
            bare, ours, states = measure(mode, Path(folder))
            # wrk ends with requests under way that it does not count, at most one a connection and burst.
            uncounted = states["accepted"] - ours.answered
            complete = states["accepted"] == states["started"] == states["finished"]
            complete = complete and 0 <= uncounted <= CONNECTIONS * (ROUNDS + 1)
            ratio = median_ratio(ours.rates, bare.rates)
            well = well and complete and ratio >= MUST_REACH
            figures = (
                f"{statistics.median(bare.rates):>10.0f}{statistics.median(ours.rates):>10.0f}{ratio:>10.2f}"
                f"{statistics.median(bare.cpu_us):>12.0f}{statistics.median(ours.cpu_us):>12.0f}"
                f"{median_ratio(bare.cpu_us, ours.cpu_us):>12.2f}"
            )
            books = "3, none lost" if complete else f"LOST: {ours.answered} answers, {dict(states)}"
            print(f"{mode:<18}{figures}  {books}", flush=True)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
