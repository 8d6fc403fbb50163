"""Mode `celery` beside the same FastAPI and Celery application written by hand (handwritten_celery.py), in one run.

    python tests/benchmarks/celery_beside_handwritten.py [--rounds 15] [--drains 5]

Both have the same private Valkey, a queue each, and a worker with two processes; the work takes 0 s. In turn: the
median response time of bursts of 5, 50 and 500 requests, by `taskdemo fire`; and the tasks per second of a worker that
finds 1,000 waiting, from the 100th on. Medians of the rounds, and of the ratios of each round, whose two measurements
follow one another. Exits with 1 where a ratio is off by more than 10 %.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from measuring import TASKDEMO, free_port, running, until
from taskdemo_server.contract.settings import Settings, WorkerSettings, WorkSettings

BURSTS = (5, 50, 500)
TASKS, SKIPPED = 1000, 100
PROCESSES = 2
WITHIN = 0.1
TOKEN = "not told"
"""Without it `fire` cannot tell taskdemo's server from any other: it sends no bystanders, and follows no events."""


@dataclass
class Side:
    """One of the two applications: how to start its worker, and where it is served."""

    name: str
    url: str
    queue: str
    worker: tuple[str, ...]
    variables: dict[str, str]
    folder: Path
    client: "redis.Redis"

    def left(self) -> int:
        """Return how many tasks wait, or are being done."""
        prefix = f"{self.queue}:"
        with self.client.pipeline() as pipe:
            pipe.llen(f"{prefix}{self.queue}")
            pipe.hlen(f"{prefix}unacked")
            return sum(pipe.execute())

    def fire(self, count: int, *more: str) -> float:
        """Send a burst, and return the median response time in seconds."""
        command = [TASKDEMO, "fire", "--json", "--no-wait", "--url", f"{self.url}/", "--count", str(count), *more]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            sys.exit(f"{self.name}: {done.stderr}")
        return float(json.loads(done.stdout)["summary"]["response_s"]["p50"])

    @contextmanager
    def working(self) -> Iterator[None]:
        """Run the worker."""
        log = self.folder / "log"
        size = log.stat().st_size
        with running(*self.worker, log=log, env={**os.environ, **self.variables}):
            until("a worker is ready", lambda: b" ready." in log.read_bytes()[size:])
            yield

    def drain(self) -> float:
        """Let a worker do the tasks that wait for it; return how many it did in a second."""
        self.fire(TASKS, "--concurrency", "40")
        until(f"{TASKS} tasks wait for {self.name}", lambda: self.left() == TASKS)
        with self.working():
            until(f"{self.name} has begun", lambda: self.left() <= TASKS - SKIPPED)
            began, first = time.perf_counter(), self.left()
            until(f"{self.name} has ended", lambda: self.left() == 0)
            return first / (time.perf_counter() - began)


def start_sides(stack: ExitStack, folder: Path) -> list[Side]:
    for name in ("valkey", "taskdemo", "handwritten"):
        (folder / name).mkdir(mode=0o700)
    valkey = stack.enter_context(
        running("-m", "taskdemo_server.engines.valkey", str(folder / "valkey"), stdout=subprocess.PIPE)
    )
    assert valkey.stdout
    broker = valkey.stdout.readline().strip()
    client = redis.Redis(unix_socket_path=broker.removeprefix("redis+socket://"))
    ports = {name: free_port() for name in ("taskdemo", "handwritten")}
    journal = str(folder / "taskdemo" / "journal")
    work = WorkSettings(mode="celery", duration=0.0, journal=journal)
    common = {"broker": broker, "backend": "disabled://", "queue": "taskdemo"}
    more = {**common, "journal": journal, "token": TOKEN}
    # As `fire` and `compare` start it: the one written by hand prints nothing either.
    server = Settings(mode="celery", port=ports["taskdemo"], duration=0.0, console=False, **more)  # type: ignore[arg-type]  # all are texts
    worker = WorkerSettings(engine="celery", work=work, processes=PROCESSES, private=True, **common)
    variables = {"BROKER_URL": broker, "DURATION_S": "0"}
    by_hand = ("-m", "uvicorn", "handwritten_celery:app", "--port", str(ports["handwritten"]), "--log-level", "error")
    urls = {name: f"http://127.0.0.1:{port}" for name, port in ports.items()}
    programs: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
        "taskdemo": (("-m", "taskdemo_server.serve", server.to_json()), {}),
        "handwritten": ((*by_hand, "--no-access-log"), variables),
    }
    for name, (words, more_variables) in programs.items():
        env, log = {**os.environ, **more_variables}, folder / name / "log"
        stack.enter_context(running(*words, url=f"{urls[name]}/openapi.json", log=log, env=env))
    commands = {
        "taskdemo": ("-m", "taskdemo_server.worker", worker.to_json()),
        "handwritten": (
            *("-m", "celery", "-A", "handwritten_celery:celery", "worker", "--concurrency", str(PROCESSES)),
            *("--loglevel", "INFO", "--without-gossip", "--without-mingle"),
        ),
    }
    return [Side(name, urls[name], name, commands[name], programs[name][1], folder / name, client) for name in commands]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--drains", type=int, default=5)
    given = parser.parse_args()
    bursts: dict[tuple[str, int], list[float]] = {}
    drains: dict[str, list[float]] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp")))
        sides = start_sides(stack, folder)
        with ExitStack() as workers:
            for side in sides:
                workers.enter_context(side.working())
            for round_ in range(given.rounds + 1):  # the first one warms up
                for count in BURSTS:
                    for side in sides if round_ % 2 else reversed(sides):
                        until("all bursts have ended", lambda: all(one.left() == 0 for one in sides))
                        median = side.fire(count)
                        if round_:
                            bursts.setdefault((side.name, count), []).append(median)
            until("all bursts have ended", lambda: all(one.left() == 0 for one in sides))
        for round_ in range(given.drains):
            for side in sides if round_ % 2 else reversed(sides):
                drains.setdefault(side.name, []).append(side.drain())
    well = True
    print(f"medians of {given.rounds} bursts and {given.drains} drains at each, in turn, and medians of their ratios")
    print(f"{'':<28}{'by hand':>12}{'taskdemo':>12}{'ratio':>8}")
    rows = [
        (f"p50 of a burst of {count}, ms", 1e3, bursts["handwritten", count], bursts["taskdemo", count])
        for count in BURSTS
    ]
    for label, scale, by_hand, ours in [
        *rows,
        (f"tasks/s, {TASKS} of 0 s", 1.0, drains["handwritten"], drains["taskdemo"]),
    ]:
        ratio = statistics.median(mine / other for mine, other in zip(ours, by_hand, strict=True))
        off = abs(ratio - 1) > WITHIN
        well = well and not off
        medians = "".join(f"{scale * statistics.median(side):>12.1f}" for side in (by_hand, ours))
        print(f"{label:<28}{medians}{ratio:>8.2f}{'  off by more than 10 %' if off else ''}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
