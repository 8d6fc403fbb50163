"""The load generators that the benchmarks compare, each as a function of a URL and a plan that returns its figures.

Those that are not on the PATH are left out with a note.
"""

import contextlib
import os
import queue
import re
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil

import measuring
from taskdemo_cli.loadgen.loader import Loader
from taskdemo_cli.loadgen.protocol import Batch, Done, Frames, Plan

FOREIGN = 0.05
PATIENCE_S = float(os.environ.get("PATIENCE_S", "60"))
Result = TypeVar("Result")
_OURSELVES = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)

Sample = tuple[Any, ...]


@dataclass(frozen=True)
class Figures:
    """Requests per second, and percentiles of the response time in seconds."""

    rate: float
    p50: float
    p99: float


@contextmanager
def serving(kind: str) -> Iterator[str]:
    """Run one of `target_app`'s servers, and yield its URL."""
    port = measuring.free_port()
    url = f"http://127.0.0.1:{port}/"
    with measuring.running("target_app.py", kind, str(port), url=url):
        yield url


def percentile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class Ours:
    """taskdemo's load processes, kept for the whole benchmark as one `compare` keeps its own."""

    def __init__(self, processes: int = 1) -> None:
        self._pairs: list[tuple[Loader, Frames]] = []
        for _ in range(processes):
            frames: Frames = queue.Queue()
            loader = Loader(frames, log=2)
            self._pairs.append((loader, frames))
        self.last = Done()
        self.peak_memory = 0

    def process_id(self) -> int:
        return self._pairs[0][0]._child.pid

    def fire(self, plan: Plan, *, keep: bool = True, only_ok: bool = True) -> tuple[list[Sample], float]:
        """Run the plan in every process; return all samples and the longest wall time."""
        samples: list[Sample] = []
        wall = 0.0
        self.peak_memory = 0
        for loader, _ in self._pairs:
            loader.run(plan)
        for _, frames in self._pairs:
            while not isinstance(frame := frames.get(timeout=60)[1], Done):
                told = frame.samples if isinstance(frame, Batch) else []
                failed = [sample for sample in told if sample[5] != 200]
                if failed and only_ok:
                    raise RuntimeError(f"{len(failed)} failed, the first: {failed[0]}")
                if keep:
                    samples += told
                else:
                    memory = psutil.Process(self.process_id()).memory_info().rss
                    self.peak_memory = max(self.peak_memory, memory)
            self.last = frame
            wall = max(wall, frame.wall)
        return samples, wall

    def __call__(self, url: str, count: int, concurrency: int) -> Figures:
        share = len(self._pairs)
        plan = Plan(url=url, count=count // share, concurrency=concurrency // share)
        samples, wall = self.fire(plan)
        times = sorted(sample[4] - sample[2] for sample in samples)
        return Figures(len(samples) / wall, percentile(times, 0.5), percentile(times, 0.99))

    def close(self) -> None:
        for loader, _ in self._pairs:
            loader.close()


def hey(url: str, count: int, concurrency: int) -> Figures:
    return _hey("-n", str(count), "-c", str(concurrency), url)


def hey_at(url: str, rate: float, seconds: float) -> Figures:
    """One worker: with several, hey's tick for all of them at once and the load comes in clumps."""
    return _hey("-n", str(int(rate * seconds)), "-c", "1", "-q", str(int(rate)), url)


def _hey(*arguments: str) -> Figures:
    report = subprocess.run(["hey", *arguments], check=True, capture_output=True, text=True).stdout
    seconds = {int(p): float(s) for p, s in re.findall(r"(\d+)% in ([\d.]+) secs", report)}
    rate = re.search(r"Requests/sec:\s+([\d.]+)", report)
    if rate is None or "[200]" not in report:
        raise RuntimeError(report)
    return Figures(float(rate[1]), seconds[50], seconds.get(99, seconds[max(seconds)]))


def wrk(url: str, count: int, concurrency: int) -> Figures:
    """By time, as wrk knows no count: as long as about `count` requests take at 6,000/s."""
    found = measuring.wrk(url, concurrency, max(1, round(count / 6000)))
    return Figures(found.rate, found.p50, found.p99)


PEERS: dict[str, Callable[[str, int, int], Figures]] = {"hey": hey, "wrk": wrk}


def installed() -> dict[str, Callable[[str, int, int], Figures]]:
    """Return the peers that are here, and print which are not."""
    here = {name: peer for name, peer in PEERS.items() if shutil.which(name) is not None}
    for name in PEERS.keys() - here.keys():
        print(f"({name} is not installed: left out)")
    return here


def median(figures: list[Figures]) -> Figures:
    return Figures(*(statistics.median(getattr(f, name) for f in figures) for name in ("rate", "p50", "p99")))


def alternate(contenders: dict[str, Callable[[], Figures]], rounds: int) -> dict[str, Figures]:
    """Let each run once unmeasured, then in turn, every other round backwards; medians.

    Waits until other programs leave the machine alone, and measures again where they used more than `FOREIGN` of it
    meanwhile; for `PATIENCE_S` in all. How many measurements had to count all the same is printed.
    """
    for run in contenders.values():
        run()
    seen: dict[str, list[Figures]] = {name: [] for name in contenders}
    give_up = time.monotonic() + PATIENCE_S
    disturbed = 0
    for at in range(rounds):
        for name in list(contenders)[:: 1 if at % 2 == 0 else -1]:
            while True:
                while time.monotonic() < give_up and _with_foreign_share(lambda: time.sleep(0.3))[1] > FOREIGN:
                    time.sleep(0.5)
                figures, share = _with_foreign_share(contenders[name])
                if share <= FOREIGN:
                    break
                if time.monotonic() >= give_up:
                    disturbed += 1
                    break
            seen[name].append(figures)
    if disturbed:
        print(f"({disturbed} of {rounds * len(contenders)} measurements were disturbed by other programs)")
    return {name: median(figures) for name, figures in seen.items()}


def _with_foreign_share(run: Callable[[], Result]) -> tuple[Result, float]:
    """Run, and return with what came out which share of the machine went to programs that are not ours."""
    begun = time.monotonic()
    before, own = psutil.cpu_times(), _own_cpu()
    result = run()
    own = _own_cpu() - own
    after = psutil.cpu_times()
    used = sum(getattr(after, kind) - getattr(before, kind) for kind in ("user", "nice", "system"))
    return result, (used - own) / ((time.monotonic() - begun) * (os.cpu_count() or 1))


def _own_cpu() -> float:
    """CPU seconds of this process and of all that it started, ended or not."""
    total = sum(resource.getrusage(who).ru_utime + resource.getrusage(who).ru_stime for who in _OURSELVES)
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            times = child.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def machine() -> str:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()) if sys.platform == "linux" else None
    return f"{os.cpu_count()} cores{', ' + model[1] if model else ''}, Python {sys.version.split()[0]}"
