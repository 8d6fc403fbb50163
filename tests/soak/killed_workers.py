"""Thousands of tasks through an engine's two workers, one of which is killed every few seconds: how many are lost?

    PYTHONPATH=tests python tests/soak/killed_workers.py [--engine celery] [--broker URL] [--count 10000] [--duration S]

Without a URL on a private broker. A killed worker is replaced at once. Counts the tasks that ended, those that ran
more than once, and explains these: each must have been begun by a worker that was killed, or have been held by one.
Nothing may be lost where the registry does not say that the engine gives it up: exits with 1 where a task was, or ran
twice without such a reason. An engine that gives up what a dead worker had begun may lose that and no more; and over
Redis a worker of Celery that dies between taking a message and noting that it has it loses it, as its documentation
admits: there more lost tasks than kills are a failure. Its last line is the engine's row in docs/queues.md.
"""

import argparse
import contextlib
import json
import random
import re
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from engines.stage import Stage, all_of, left_with, staging
from servers import serving
from taskdemo_server.contract.modes import ENGINES, MODE_BY_NAME, Mode

KILL_EVERY_S = 3.0
PROCESSES = 2
CALLERS = 10
FINISHED = re.compile(rb'{"id":"(\w+)","state":"finished"')
QUIET_S = 12.0
"""Without any progress for so long, what has not ended is lost: twice what the slowest takes to deliver again."""
NUDGES = 2
"""So many tasks are sent before that is believed: some engines look for what the dead held only with the next one."""


class Worker:
    """A guarded worker, and the processes that work in it."""

    def __init__(self, stage: Stage, mode: Mode, **given: Any) -> None:
        self._guarded = stage.worker(mode, processes=PROCESSES, **given)
        stage.ready(self._guarded)
        self.main = self._guarded.program
        self.pids = self._working()

    def kill(self) -> set[int]:
        """Kill the worker's main process, whose children its guard ends; return the pids of those that worked in it."""
        with contextlib.suppress(psutil.NoSuchProcess):  # it may have died with one of its processes
            self.pids |= self._working()
            self.main.send_signal(signal.SIGKILL)
        self._guarded.wait()
        return self.pids

    def _working(self) -> set[int]:
        return {process.pid for process in all_of(self.main)}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", choices=ENGINES, default="celery")
    parser.add_argument("--broker")
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--duration", type=float, default=0.01)
    given = parser.parse_args()
    mode = MODE_BY_NAME[given.engine]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp")))
        stage = stack.enter_context(staging(folder / "stage"))
        if given.broker:
            stage.broker = given.broker
        else:
            stage.a_broker(mode)
        if stage.broker.startswith("amqp"):
            stage.stack.callback(left_with, stage.broker, [stage.queue, f"dramatiq.{stage.queue}"])
        common: dict[str, Any] = {"broker": stage.broker, "queue": stage.queue, "max_pending": 2 * given.count}
        server = stack.enter_context(serving(folder / "server", mode=mode.name, duration=given.duration, **common))
        client, journal = server.client, server.journal
        at_work = {"duration": given.duration, "journal": str(journal)}
        workers = [Worker(stage, mode, **at_work) for _ in range(2)]
        callers = stack.enter_context(ThreadPoolExecutor(CALLERS))
        for _ in range(given.count):
            callers.submit(client.get, "/", timeout=60)
        kills, killed, nudges = 0, set[int](), 0
        ends, last, next_kill = -1, time.monotonic(), time.monotonic() + KILL_EVERY_S
        while ends < given.count + nudges:
            time.sleep(0.25)
            now_ended = len(set(FINISHED.findall(journal.read_bytes())))
            if now_ended != ends:
                ends, last = now_ended, time.monotonic()
            elif time.monotonic() - last > QUIET_S:
                if nudges == NUDGES:
                    break
                nudges, last = nudges + 1, time.monotonic()
                callers.submit(client.get, "/", timeout=60)
            if next_kill <= time.monotonic() and ends < given.count and not nudges:
                killed |= workers.pop(random.randrange(2)).kill()
                kills += 1
                workers.append(Worker(stage, mode, **at_work))
                next_kill = time.monotonic() + KILL_EVERY_S
                print(f"{ends:6} ended; {kills} workers killed", flush=True)
        callers.shutdown()
        time.sleep(1)  # an event may be on its way
        with journal.open() as lines:
            events = [json.loads(line) for line in lines]
    may_lose = kills if mode.name == "celery" and not stage.broker.startswith("amqp") else 0
    if "survive_worker_kill" in mode.gives_up:
        may_lose = kills * PROCESSES
    return report(mode.name, events, kills, killed, may_lose)


def report(engine: str, events: list[dict[str, Any]], kills: int, killed: set[int], may_lose: int) -> int:
    states = Counter(event["state"] for event in events)
    runs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    ended = set()
    for event in sorted(events, key=lambda event: float(event["clock"])):
        if event["state"] == "started":
            runs[event["id"]].append(event)
        elif event["state"] == "finished":
            ended.add(event["id"])
    accepted = {event["id"] for event in events if event["state"] == "accepted"}
    lost = accepted - ended
    begun = {task for task in lost if task in runs}
    again = {task: starts for task, starts in runs.items() if len(starts) > 1}
    unexplained = {task for task, starts in again.items() if not any(start["pid"] in killed for start in starts[:-1])}
    print(f"{dict(states)}; workers killed: {kills}")
    print(f"accepted {len(accepted)}, ended {len(ended & accepted)}, lost {len(lost)} ({len(begun)} of them begun)")
    print(
        f"ran more than once {len(again)}: begun by a worker that was killed {len(again) - len(unexplained)},"
        f" unexplained {len(unexplained)}"
    )
    for task in [*sorted(lost)[:5], *sorted(unexplained)[:5]]:
        print(task, [(event["state"], event["pid"], event["clock"]) for event in events if event["id"] == task])
    print(f"| `{engine}` | {len(accepted)} | {kills} | {len(lost)} | {len(again)} |")
    return 1 if len(lost) > may_lose or unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
