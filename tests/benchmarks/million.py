"""A million requests: the load process's memory and its cost per request, beside those of shorter runs.

    python tests/benchmarks/million.py [COUNT ...]

Against nginx. The last rows are the runs that make the most garbage: a refused connection and a new connection
for each request; the collector is off during a run, so memory would show what they leave.
"""

import socket
import sys

import psutil

from contenders import Ours, machine, serving
from taskdemo_cli.loadgen.protocol import Plan


def main() -> None:
    print(machine())
    counts = [int(argument) for argument in sys.argv[1:]] or [1_000, 10_000, 100_000, 1_000_000]
    ours = Ours()
    process = psutil.Process(ours.process_id())

    def row(title: str, plan: Plan) -> None:
        _, wall = ours.fire(plan, keep=False, only_ok=False)
        cpu = (ours.last.cpu_share or 0.0) * wall / (plan.count or 1)
        peak = ours.peak_memory / 1e6
        after = process.memory_info().rss / 1e6
        print(f"{title:30}{(plan.count or 0) / wall:12.0f}{cpu * 1e6:14.1f}{peak:12.1f}{after:12.1f}")

    print(f"{'':30}{'requests/s':>12}{'CPU us each':>14}{'peak MB':>12}{'after MB':>12}")
    try:
        with serving("nginx") as url:
            for count in counts:
                row(f"{count:,} requests", Plan(url=url, count=count, concurrency=50))
            close = [("Connection", "close")]
            row("20,000 connections", Plan(url=url, count=20_000, concurrency=50, headers=close))
        with socket.create_server(("127.0.0.1", 0)) as taken:
            refusing = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        row("50,000 refused", Plan(url=refusing, count=50_000, concurrency=50))
    finally:
        ours.close()


if __name__ == "__main__":
    main()
