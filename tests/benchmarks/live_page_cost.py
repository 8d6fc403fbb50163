"""What an open live page costs its server, as a share of what an answer and its task cost it.

    PYTHONPATH=tests python tests/benchmarks/live_page_cost.py

Bursts with and without a browser differ by more than that on a machine whose cores the browser shares. So each part is
counted by itself, in the server's CPU time: the page at rest, and the events that it is sent, written into the journal
by this script. Exits with 1 where both come to more than 3 % at full load.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil

import chromium
from server_overhead import ask, wait_until_idle
from servers import RunningServer, serving
from taskdemo_server.contract.events import Place, TaskEvent
from waiting import until

BURSTS = 7
TASKS = 33_000
AT_REST_S = 10.0
MOST = 0.03


def cpu_s(process: psutil.Process) -> float:
    return float(sum(process.cpu_times()[:2]))


def at_rest(process: psutil.Process) -> float:
    """The share of a core that the server takes while nothing is asked of it."""
    time.sleep(2)
    before = cpu_s(process)
    time.sleep(AT_REST_S)
    return (cpu_s(process) - before) / AT_REST_S


def report_tasks(server: RunningServer) -> None:
    """Write the events of many tasks into the journal, some 8,000 in a second."""
    place = Place("background", "host", 1, "thread 1")
    with server.journal.open("ab", buffering=0) as journal:
        for first in range(0, TASKS, 33):
            lines = [
                TaskEvent(f"{n:016x}", state, time.time(), time.monotonic(), *place, message="Hello").to_line()
                for n in range(first, first + 33)
                for state in ("accepted", "started", "finished")
            ]
            journal.write(b"".join(lines))
            time.sleep(0.01)


def main() -> int:
    program = chromium.found()
    assert program is not None, "needs Chromium"
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(Path(folder) / "asked", mode="background", duration=0.0) as asked,
        serving(Path(folder) / "shown", mode="background", duration=0.0) as shown,
        chromium.browser(program, Path(folder)) as browser,
    ):
        process = psutil.Process(asked.process.pid)
        costs = []
        for _ in range(BURSTS):
            before = wait_until_idle(process)
            count = ask(asked.port).count
            costs.append((wait_until_idle(process) - before) / count)
        request_s = statistics.median(costs)

        process = psutil.Process(shown.process.pid)
        alone = at_rest(process)
        browser.show(f"{shown.url}/live", 1280)
        rest = at_rest(process) - alone
        before, begun = cpu_s(process), time.monotonic()
        report_tasks(shown)
        until(
            lambda: browser.evaluate(
                f"document.getElementById('ended').textContent.replace('\u2009', '') === '{TASKS}'"
            ),
            60,
        )
        task_s = (cpu_s(process) - before - (alone + rest) * (time.monotonic() - begun)) / TASKS
    share = rest + task_s / request_s
    print(
        f"an answer and its task: {request_s * 1e6:.0f} us;"
        f" the page: {rest:.2%} of a core at rest, {task_s * 1e6:.1f} us a task"
    )
    print(f"at full load: {share:.1%}")
    return 0 if share <= MOST else 1


if __name__ == "__main__":
    sys.exit(main())
