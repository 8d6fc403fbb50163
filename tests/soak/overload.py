"""Twice the capacity for a minute, in each mode: what is refused, what memory it takes, and what is served afterwards.

    python tests/soak/overload.py [--for SECONDS] [MODE ...]

The load is an open loop with a connection for each request, as strangers would come: whoever is not answered does not
keep the next from asking. Exits with 1 where memory grows without bound, a task is lost, or a server does not recover.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers import RunningServer, serving
from taskdemo_server.contract.events import ENDED
from taskdemo_server.contract.modes import MODES
from waiting import until

DURATION_S = 0.2
THREADS = 4
MOST = 40
"""Tasks that each server takes: so few that twice the capacity reaches the bound within seconds."""
GROWTH_MB = 60


def capacity(mode: str, processes: int) -> float:
    """Return the tasks that end in a second at most; where any number run at once, as many as the bound lets in."""
    at_once = {"blocking": 1, "threadpool": THREADS, "background": THREADS, "process": processes, "celery": processes}
    return at_once.get(mode, MOST) / DURATION_S


async def ask(port: int, answers: Counter[str]) -> None:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = await reader.read(4096)
            answers[answer[9:12].decode() or "hung up"] += 1
            if answer.startswith(b"HTTP/1.1 503") and b"retry-after: 1" not in answer:
                answers["503 without Retry-After"] += 1
        finally:
            writer.close()
    except OSError as error:
        answers[type(error).__name__] += 1


async def load(port: int, rate: float, seconds: float) -> Counter[str]:
    answers: Counter[str] = Counter()
    began = time.monotonic()
    asked: set[asyncio.Task[None]] = set()
    count = 0
    while time.monotonic() - began < seconds:
        while count < rate * (time.monotonic() - began):
            task = asyncio.create_task(ask(port, answers))
            asked.add(task)
            task.add_done_callback(asked.discard)
            count += 1
        await asyncio.sleep(0.005)
    if asked:
        await asyncio.wait(asked, timeout=600)
    return answers


def memory(server: RunningServer) -> float:
    """Return the megabytes of the server's process."""
    return psutil.Process(server.process.pid).memory_info().rss / 1e6


async def measure(server: RunningServer, rate: float, seconds: float) -> tuple[Counter[str], list[float]]:
    loading = asyncio.create_task(load(server.port, rate, seconds))
    seen = []
    while not loading.done():
        seen.append(memory(server))
        await asyncio.sleep(0.25)
    return loading.result(), seen


def overload(mode: str, seconds: float, folder: Path) -> bool:
    with serving(folder, mode=mode, duration=DURATION_S, threads=THREADS, max_pending=MOST, console=False) as server:
        processes = min(8, psutil.cpu_count() or 1)
        rate = 2 * capacity(mode, processes)
        server.get()
        before = memory(server)
        answers, seen = asyncio.run(measure(server, rate, seconds))
        until(lambda: len({e.id for e in server.events() if e.state in ENDED}) == answers["200"] + 1, 120)
        accepted = server.states().count("accepted")
        began = time.monotonic()
        afterwards = [server.get().status_code for _ in range(10)]
        served_s = (time.monotonic() - began) / 10
        half = len(seen) // 2
        growth = max(seen) - before
        late_growth = max(seen[half:], default=0) - max(seen[:half], default=0)
        well = (
            growth < GROWTH_MB
            and accepted == answers["200"] + 1
            and set(answers) <= {"200", "503"}
            and set(afterwards) == {200}
        )
        print(
            f"{mode:<18}{rate:>8.0f}{answers['200']:>8}{answers['503']:>8}{before:>8.0f}{max(seen):>8.0f}"
            f"{late_growth:>8.1f}{served_s * 1000:>10.0f}  "
            f"{'all accounted for' if well else f'NOT WELL: {dict(answers)}, {accepted} accepted, then {afterwards}'}"
            f"{'; ' + server.complained.strip() if server.complained else ''}",
            flush=True,
        )
        return well


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--for", dest="seconds", type=float, default=60.0)
    parser.add_argument("modes", nargs="*", default=[mode.name for mode in MODES])
    given = parser.parse_args()
    print(f"{given.seconds:.0f} s, work of {DURATION_S} s, {THREADS} threads, at most {MOST} tasks; memory in MB")
    print(f"{'':<18}{'asked/s':>8}{'200':>8}{'503':>8}{'before':>8}{'most':>8}{'2nd half':>8}{'then, ms':>10}")
    well = True
    with tempfile.TemporaryDirectory() as folder:
        for mode in given.modes:
            well = overload(mode, given.seconds, Path(folder) / mode) and well
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
