"""Thousands of tasks through two Celery workers, one of which is killed every few seconds: how many are lost?

    python tests/soak/celery_workers.py [--broker URL] [--count 10000]

Without a URL on a Valkey of its own. A killed worker is replaced at once. Counts the tasks that ended, those that ran
more than once, and explains these: each must have been begun by a worker that was killed, or have been held by one.
Over RabbitMQ nothing may be lost: exits with 1 where a task was, or ran twice without such a reason. Over Redis a
worker that dies between taking a message and noting that it has it loses it, as Celery's documentation admits: there
the loss is counted, and only a task that ran twice without a reason, or more lost tasks than kills, is a failure.
"""

import argparse
import json
import random
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil

from taskdemo_server.contract.settings import Settings, WorkerSettings

KILL_EVERY_S = 3.0
DURATION_S = 0.01
FINISHED = re.compile(rb'{"id":"(\w+)","state":"finished"')
QUIET_S = 30.0
"""Without any progress for so long, what has not ended is lost: four times what Redis takes to deliver again."""


def start(stack: ExitStack, module: str, argument: str, out: int = subprocess.DEVNULL) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", module, argument],
        stdin=subprocess.PIPE,
        stdout=out,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def end() -> None:
        assert process.stdin
        process.stdin.close()
        process.wait()

    stack.callback(end)
    return process


class Worker:
    """A guarded worker, and the processes that work in it."""

    def __init__(self, stack: ExitStack, settings: WorkerSettings) -> None:
        self._guard = start(stack, "taskdemo_server.worker", settings.to_json(), subprocess.PIPE)
        assert self._guard.stdout
        self._guard.stdout.readline()
        self.main = psutil.Process(self._guard.pid).children()[0]
        self.pids = {child.pid for child in self.main.children()}

    def kill(self) -> set[int]:
        """Kill the worker's main process, whose children end with it; return the pids of those that worked in it."""
        self.pids |= {child.pid for child in self.main.children()}
        self.main.send_signal(signal.SIGKILL)
        self._guard.wait()
        return self.pids


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker")
    parser.add_argument("--count", type=int, default=10_000)
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/tmp")))
        broker = given.broker
        if broker is None:
            (folder / "b").mkdir(mode=0o700)
            valkey = start(stack, "taskdemo_server.engines.valkey", str(folder / "b"), subprocess.PIPE)
            assert valkey.stdout
            broker = valkey.stdout.readline().decode().strip()
        queue, journal = f"taskdemo-soak-{secrets.token_hex(4)}", folder / "journal"
        common: dict[str, Any] = {"broker": broker, "backend": "disabled://", "queue": queue}
        server = Settings(
            mode="celery",
            journal=str(journal),
            announce=str(folder / "announce"),
            port=0,
            duration=DURATION_S,
            max_pending=2 * given.count,
            **common,
        )
        worker = WorkerSettings(engine="celery", work=server.work_settings, processes=2, private=True, **common)
        if broker.startswith("amqp"):
            stack.callback(clean, broker, queue)
        start(stack, "taskdemo_server", server.to_json())
        workers = [Worker(stack, worker), Worker(stack, worker)]
        while not (folder / "announce").exists():
            time.sleep(0.1)
        url = json.loads((folder / "announce").read_text())["url"]
        firing = subprocess.Popen(["hey", "-n", str(given.count), "-c", "10", url], stdout=subprocess.PIPE, text=True)
        kills, killed = 0, set[int]()
        ends, last, next_kill = -1, time.monotonic(), time.monotonic() + KILL_EVERY_S
        while ends < given.count and time.monotonic() - last < QUIET_S:
            time.sleep(0.25)
            now_ended = len(set(FINISHED.findall(journal.read_bytes())))
            if now_ended != ends:
                ends, last = now_ended, time.monotonic()
            if next_kill <= time.monotonic() < last + KILL_EVERY_S and ends < given.count:
                killed |= workers.pop(random.randrange(2)).kill()
                kills += 1
                workers.append(Worker(stack, worker))
                next_kill = time.monotonic() + KILL_EVERY_S
                print(f"{ends:6} ended; {kills} workers killed", flush=True)
        firing.communicate()
        time.sleep(1)  # an event may be on its way
        with journal.open() as lines:
            return report([json.loads(line) for line in lines], kills, killed, may_lose=not broker.startswith("amqp"))


def clean(broker: str, queue: str) -> None:
    from celery import Celery

    with Celery(broker=broker).connection_for_write() as connection:
        connection.default_channel.queue_delete(queue)
        connection.default_channel.exchange_delete(queue)


def report(events: list[dict[str, Any]], kills: int, killed: set[int], *, may_lose: bool) -> int:
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
    return 1 if len(lost) > (kills if may_lose else 0) or unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
