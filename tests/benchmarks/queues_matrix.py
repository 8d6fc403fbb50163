"""Prints the table of docs/queues.md, from what taskdemo itself measures of every queue engine that is installed here.

By hand: `PYTHONPATH=tests python tests/benchmarks/queues_matrix.py`, on a quiet machine; it takes some four minutes.
Beside `compare --modes queues` (once with work of half a second, once with a thousand tasks that do nothing) and
`limits --modes queues` it starts each engine's server once more, for the memory of its private worker and broker.
"""

import json
import subprocess
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from commands import TASKDEMO
from servers import serving
from taskdemo_server.contract.modes import ENGINES, MODE_BY_NAME

WORKER, BROKER = "taskdemo_server.worker", "taskdemo_server.engines."
TASKS = 1000


def taskdemo(*arguments: str) -> dict[str, Any]:
    command = [TASKDEMO, *arguments, "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def memory(mode: str) -> tuple[float, float]:
    """Return the MB that an idle private worker and its broker take (PSS: what processes share is counted once)."""
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), anew=True, mode=mode) as server:
        taken = {WORKER: 0.0, BROKER: 0.0}
        for guard in psutil.Process(server.process.pid).children():
            of = next((name for name in taken if any(word.startswith(name) for word in guard.cmdline())), None)
            if of is not None:
                taken[of] += sum(one.memory_full_info().pss for one in guard.children(recursive=True)) / 1e6
        return taken[WORKER], taken[BROKER]


def milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"


def row(mode: str, burst: dict[str, Any], drain: dict[str, Any], cells: dict[str, Any]) -> list[str]:
    engine = MODE_BY_NAME[mode].engine
    assert engine is not None
    package = engine.packages[0]
    version = burst["environment"]["packages"].get(package, "?")
    begun = min((task["started_s"] - task["accepted_s"] for task in burst["tasks"] if task["started_s"]), default=None)
    ended = [task["ended_s"] for task in drain["tasks"] if task["ended_s"] is not None]
    refused = drain["summary"]["requests"]["failed"]
    worker, broker = memory(mode)
    return [
        f"`{mode}` {version}",
        milliseconds(burst["summary"]["response_s"]["p50"]),
        milliseconds(begun),
        f"{burst['summary']['tasks']['last_ended_s']:.2f} s",
        f"{len(ended) / max(ended):.0f}" + (f" ({refused} refused)" if refused else ""),
        f"{worker:.0f} + {broker:.0f} MB",
        *(f"{cell['verdict']}, {cell['measured']['figure']}" for cell in cells.values()),
    ]


def main() -> None:
    burst = taskdemo("compare", "--modes", "queues", "--count", "5", "--duration", "0.5")
    drain = taskdemo("compare", "--modes", "queues", "--count", str(TASKS), "--duration", "0")
    limits = taskdemo("limits", "--modes", "queues")
    runs, drains = ({run["mode"]: run for run in one["runs"]} for one in (burst, drain))
    modes = [mode for mode in ENGINES if mode in runs and mode in drains and mode in limits["modes"]]
    head = ["", "answered (p50 of 5)", "first begun after", "last of 5 ended", "tasks/s", "worker + broker"]
    head += [limit.replace("_", " ") for limit in next(iter(limits["modes"].values()))]
    rows = [row(mode, runs[mode], drains[mode], limits["modes"][mode]) for mode in modes]
    machine = burst["environment"]
    print(f"Measured {datetime.now(UTC):%Y-%m-%d}:", machine["python"], machine["platform"], machine["cpus"], "CPUs.\n")
    for line in zip(head, *rows, strict=True):  # an engine a column
        print(f"| {' | '.join(line)} |")
        if line[0] == "":
            print(f"| {' | '.join('---' for _ in line)} |")
    for one in limits["failed"] + limits["skipped"]:
        print(f"\nnot measured: {one}")


if __name__ == "__main__":
    main()
