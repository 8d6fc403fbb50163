"""A million tasks through one server: its memory, its books, its journal, and who follows it.

    python tests/soak/million.py [--count N] [--mode MODE]

Work of 0 s, asked by wrk, while one reader follows /events from the first task on and another asks for /tasks every
second. Exits with 1 where memory does not stay flat, the journal grows beyond its bound, or an event is missed.
"""

import argparse
import contextlib
import http.client
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))
from servers import RunningServer, serving
from taskdemo_server.journal.index import MOST_ENDED
from waiting import until

CONNECTIONS = 50
STEPS = 10
PENDING = 1000
"""Tasks that may wait; each takes some 20 kB, which would hide a leak behind chance."""
GROWTH_MB = 15
"""What memory may still grow by in the second half."""


class Follower(threading.Thread):
    """Counts what /events tells, and measures how far behind the journal it is."""

    def __init__(self, server: RunningServer) -> None:
        super().__init__(daemon=True)
        self.counts = {b"accepted": 0, b"started": 0, b"finished": 0}
        self.offset = 0
        self._port = server.port

    def run(self) -> None:
        with contextlib.suppress(http.client.HTTPException, OSError):  # The server ends with the run.
            self._follow()

    def _follow(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port)
        connection.request("GET", "/events")
        response = connection.getresponse()
        rest = b""
        while chunk := response.read1(1 << 18):
            for state in self.counts:
                self.counts[state] += chunk.count(b'"state":"%b"' % state)
                # And what lies across the border of two pieces.
                word = b'"state":"%b"' % state
                border = (rest[-40:] + chunk[:40]).count(word) - rest[-40:].count(word) - chunk[:40].count(word)
                self.counts[state] += border
            rest = rest[-2000:] + chunk
            last = rest.rfind(b"\nid: ")
            end = rest.find(b"\n", last + 1)
            if last >= 0 and end > last:
                self.offset = int(rest[last + 5 : end])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--mode", default="background")
    given = parser.parse_args()
    if shutil.which("wrk") is None:
        print("This soak run needs wrk (apt install wrk).")
        return 0
    print(f"{'tasks':>10}{'memory':>9}{'journal':>10}{'on disk':>9}{'behind':>9}{'/tasks':>9}{'tasks/s':>9}   (MB, s)")
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder), mode=given.mode, duration=0, console=False, max_pending=PENDING) as server,
    ):
        return soak(server, given.count)


def soak(server: RunningServer, count: int) -> int:
    process = psutil.Process(server.process.pid)
    follower = Follower(server)
    follower.start()
    rows: list[tuple[float, float, float]] = []
    asking = httpx.Client(base_url=server.url, timeout=60, trust_env=False)
    total = 0
    for step in range(1, STEPS + 1):
        began = time.monotonic()
        while total < count * step // STEPS:
            subprocess.run(["wrk", "-t1", f"-c{CONNECTIONS}", "-d1s", server.url], capture_output=True, check=True)
            asked = time.monotonic()
            total = int(asking.get("/tasks").headers["X-Total-Count"])
            tasks_s = time.monotonic() - asked
        there = server.journal.stat()
        behind = (asking.get("/health").json()["journal_offset"] - follower.offset) / 1e6
        rows.append((process.memory_info().rss / 1e6, there.st_blocks * 512 / 1e6, behind))
        print(
            f"{total:>10}{rows[-1][0]:>9.1f}{there.st_size / 1e6:>10.0f}{rows[-1][1]:>9.0f}{behind:>9.1f}"
            f"{tasks_s:>9.2f}{count / STEPS / (time.monotonic() - began):>9.0f}",
            flush=True,
        )
    until(lambda: follower.offset == asking.get("/health").json()["journal_offset"], 60)
    total = int(asking.get("/tasks").headers["X-Total-Count"])
    kept = min(total, MOST_ENDED)
    listed = len(asking.get("/tasks", params={"limit": MOST_ENDED, "offset": total - kept}).json())
    memory_flat = max(row[0] for row in rows[STEPS // 2 :]) - max(row[0] for row in rows[: STEPS // 2]) < GROWTH_MB
    nothing_missed = set(follower.counts.values()) == {total}
    paged = listed == kept
    print(f"followed: { {state.decode(): number for state, number in follower.counts.items()} }, of {total} tasks")
    print(f"memory flat: {memory_flat}; nothing missed: {nothing_missed}; paged: {paged}")
    if server.complained:
        print(server.complained.strip())
    return 0 if memory_flat and nothing_missed and paged else 1


if __name__ == "__main__":
    sys.exit(main())
