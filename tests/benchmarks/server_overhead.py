"""Requests per second of each mode with work of 0 s, beside the bare tutorial endpoint of that mode.

    python tests/benchmarks/server_overhead.py [MODE ...]

Both serve under the same uvicorn and print to a file; wrk asks them in turn, and the medians are compared. Also
counts the events that ours has journaled: three for each answer, none lost. Exits with 1 where a ratio is below 0.9.
"""

import json
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

ROUNDS = 5
SECONDS = 1
CONNECTIONS = 50
MUST_REACH = 0.9
MODES = ["blocking", "async", "threadpool", "background", "background-async", "process"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def serving(arguments: list[str], port: int, folder: Path) -> Iterator[psutil.Process]:
    with (folder / f"{port}.out").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=out, start_new_session=True
        )
        try:
            for _ in range(1000):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/openapi.json").read()
                    break
                except OSError:
                    time.sleep(0.02)
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait()


def wait_until_idle(process: psutil.Process) -> None:
    """Wait until the tasks that the last burst left behind have ended."""
    before = -1.0
    while True:
        used = sum(sum(one.cpu_times()[:2]) for one in [process, *process.children(recursive=True)])
        if used - before <= 0.01:
            return
        before = used
        time.sleep(0.2)


def ask(port: int, seconds: float = SECONDS) -> tuple[float, int]:
    """Return the requests per second, and how many were answered."""
    out = subprocess.run(
        ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", f"http://127.0.0.1:{port}/"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        print(out, file=sys.stderr)
    rate, count = re.search(r"Requests/sec:\s+([\d.]+)", out), re.search(r"(\d+) requests in", out)
    assert rate, out
    assert count, out
    return float(rate[1]), int(count[1])


def measure(mode: str, folder: Path) -> tuple[float, float, int, Counter[str]]:
    bare_port, port = free_port(), free_port()
    journal = folder / f"{port}.journal"
    settings = {"mode": mode, "journal": str(journal), "duration": 0.0, "port": port}
    bare_app = str(Path(__file__).with_name("bare_app.py"))
    rates: dict[str, list[float]] = {"bare": [], "ours": []}
    answered = 0
    with (
        serving([bare_app, mode, str(bare_port)], bare_port, folder) as bare,
        serving(["-m", "taskdemo_server", json.dumps(settings)], port, folder) as ours,
    ):
        ask(bare_port)
        wait_until_idle(bare)
        answered += ask(port)[1]
        wait_until_idle(ours)
        for round_ in range(ROUNDS):
            for name in ("bare", "ours") if round_ % 2 else ("ours", "bare"):
                if name == "bare":
                    rates[name].append(ask(bare_port)[0])
                    wait_until_idle(bare)
                else:
                    rate, count = ask(port)
                    rates[name].append(rate)
                    answered += count
                    wait_until_idle(ours)
    states = Counter(json.loads(line)["state"] for line in journal.open())
    return statistics.median(rates["bare"]), statistics.median(rates["ours"]), answered, states


def main() -> int:
    if shutil.which("wrk") is None:
        print("This benchmark needs wrk (apt install wrk).")
        return 0
    modes = sys.argv[1:] or MODES
    well = True
    print(f"{'mode':<18}{'bare':>8}{'taskdemo':>10}{'ratio':>8}   requests/s, {CONNECTIONS} at once; events per answer")
    with tempfile.TemporaryDirectory() as folder:
        for mode in modes:
            bare, ours, answered, states = measure(mode, Path(folder))
            # wrk ends with requests under way that it does not count, at most one a connection and burst.
            complete = states["accepted"] == states["started"] == states["finished"] and 0 <= states[
                "accepted"
            ] - answered <= CONNECTIONS * (ROUNDS + 1)
            well = well and complete and ours / bare >= MUST_REACH
            books = "3, none lost" if complete else f"LOST: {answered} answers, {dict(states)}"
            print(f"{mode:<18}{bare:>8.0f}{ours:>10.0f}{ours / bare:>8.2f}   {books}", flush=True)
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
