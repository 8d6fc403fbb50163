"""What a run costs the process that keeps it: memory and CPU time, with a task for each request.

    python tests/benchmarks/recording.py [COUNT ...]

Each row is a fresh process: it takes in what a load process and a journal would report, ends the run, and writes it as
JSON into memory.
"""

import random
import resource
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
import samples
from taskdemo_cli.loadgen.protocol import Batch
from taskdemo_cli.reports import files
from taskdemo_server.contract.events import TaskEvent

BATCH = 1000


def record(count: int) -> None:
    """Record a run of `count` requests, and print what it took."""
    chance = random.Random(1)
    recorded = samples.recorder([], count=count)
    fold = 0.0
    for first in range(1, count + 1, BATCH):
        numbers = range(first, min(first + BATCH, count + 1))
        ids = {n: f"{chance.getrandbits(128):032x}" for n in numbers}
        batch = [samples.sample(n, n * 1e-4 + 0.004, sent=n * 1e-4, task=ids[n]) for n in numbers]
        events: list[TaskEvent] = []
        for n in numbers:
            events += samples.events_of(ids[n], n * 1e-4, n * 1e-4 + 0.001, n * 1e-4 + 1)
        began = time.process_time()
        for event in events:
            recorded.event(event)
        recorded.load(Batch(batch, [], numbers[-1]))
        fold += time.process_time() - began
    began = time.process_time()
    run = recorded.finish(samples.facts("background", count))
    finish = time.process_time() - began
    began = time.process_time()
    files.save(run, "/dev/shm/taskdemo-recording.json")
    write = time.process_time() - began
    Path("/dev/shm/taskdemo-recording.json").unlink()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(f"{count:>12,}{peak:>10.0f}{fold / count * 1e6:>10.2f}{finish:>10.2f}{write:>10.2f}", flush=True)


def main() -> None:
    """Print a row for each count."""
    counts = [int(argument) for argument in sys.argv[1:]] or [1_000, 100_000, 1_000_000]
    print(f"{'requests':>12}{'peak MB':>10}{'us each':>10}{'end s':>10}{'write s':>10}", flush=True)
    for count in counts:
        subprocess.run([sys.executable, __file__, "one", str(count)], check=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        record(int(sys.argv[2]))
    else:
        main()
