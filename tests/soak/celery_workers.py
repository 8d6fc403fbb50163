"""Ten thousand tasks through two Celery workers, one of which is killed every few seconds: nothing may be lost.

    python tests/soak/celery_workers.py [--broker URL] [--count 10000]

Without a URL on a Valkey of its own. A killed worker is replaced at once. Counts the tasks that ended, those that ran
more than once, and explains these: each must have been begun by a worker that was killed, or have been held by one.
Exits with 1 where a task was lost, or ran twice without such a reason.
"""

import argparse
import json
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import ExitStack
from pathlib import Path

KILL_EVERY_S = 3.0
DURATION_S = 0.01
QUIET_S = 30.0
"""Without any progress for so long, what has not ended is lost: four times what Redis takes to deliver again."""


def start(stack: ExitStack, module: str, argument: str, out: int = subprocess.DEVNULL) -> "subprocess.Popen[bytes]":
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", module, argument], stdin=subprocess.PIPE, stdout=out, start_new_session=True
    )

    def end() -> None:
        assert process.stdin
        process.stdin.close()
        process.kill()
        process.wait()

    stack.callback(end)
    return process


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--broker")
    parser.add_argument("--count", type=int, default=10_000)
    given = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = given.broker
        if broker is None:
            (folder / "b").mkdir(mode=0o700)
            valkey = start(stack, "taskdemo_server.broker", str(folder / "b"), subprocess.PIPE)
            assert valkey.stdout
            broker = valkey.stdout.readline().decode().strip()
        common = {"broker": broker, "queue": f"taskdemo-soak-{secrets.token_hex(4)}", "duration": DURATION_S}
        server = {"mode": "celery", "journal": str(folder / "journal"), "announce": str(folder / "announce"), "port": 0}
        start(stack, "taskdemo_server", json.dumps(common | server | {"max_pending": 2 * given.count}))
        names = (f"host{number}" for number in range(1, 1_000_000))

        def worker() -> "tuple[str, subprocess.Popen[bytes]]":
            name = next(names)
            settings = common | {"name": name, "private": True, "concurrency": 2}
            return name, start(stack, "taskdemo_server.worker", json.dumps(settings))

        workers = [worker(), worker()]
        while not (folder / "announce").exists():
            time.sleep(0.1)
        url = json.loads((folder / "announce").read_text())["url"]
        firing = subprocess.Popen(["hey", "-n", str(given.count), "-c", "10", url], stdout=subprocess.PIPE, text=True)
        killed: dict[str, float] = {}
        ends, last, next_kill = -1, time.monotonic(), time.monotonic() + KILL_EVERY_S
        while ends < given.count and time.monotonic() - last < QUIET_S:
            time.sleep(0.25)
            now_ended = (folder / "journal").read_bytes().count(b'"finished"')
            if now_ended != ends:
                ends, last = now_ended, time.monotonic()
            if time.monotonic() >= next_kill and ends < given.count:
                next_kill = time.monotonic() + KILL_EVERY_S
                name, victim = workers.pop(random.randrange(2))
                victim.send_signal(signal.SIGKILL)
                killed[name] = time.monotonic()
                workers.append(worker())
                print(f"{ends:6} ended; killed {name}", flush=True)
        time.sleep(1)  # an event may be on its way
        firing.wait()
        if broker.startswith("amqp"):
            stack.callback(clean, broker, common["queue"], str(folder / "journal"))
        return report([json.loads(line) for line in (folder / "journal").open()], killed)


def clean(broker: str, queue: object, journal: str) -> None:
    from kombu.connection import Connection
    from taskdemo_server.celery_app import events_queue

    with Connection(broker) as connection:
        connection.default_channel.queue_delete(queue)
        connection.default_channel.queue_delete(f"celeryev.{events_queue(journal)}")
        connection.default_channel.exchange_delete(queue)


def report(events: list[dict[str, str]], killed: dict[str, float]) -> int:
    states = Counter(event["state"] for event in events)
    runs: dict[str, list[dict[str, str]]] = defaultdict(list)
    ended = set()
    for event in events:
        if event["state"] == "started":
            runs[event["id"]].append(event)
        elif event["state"] == "finished":
            ended.add(event["id"])
    accepted = {event["id"] for event in events if event["state"] == "accepted"}
    lost = accepted - ended
    again = {task: starts for task, starts in runs.items() if len(starts) > 1}
    unexplained = {
        task for task, starts in again.items() if not any(start["where"].split()[0] in killed for start in starts[:-1])
    }
    print(f"{dict(states)}; workers killed: {len(killed)}")
    print(f"accepted {len(accepted)}, ended {len(ended & accepted)}, lost {len(lost)}")
    print(
        f"ran more than once {len(again)}: begun by a worker that was killed {len(again) - len(unexplained)}, ", end=""
    )
    print(f"unexplained {len(unexplained)}")
    for task in [*sorted(lost)[:5], *sorted(unexplained)[:5]]:
        print(task, [(event["state"], event["where"], event["clock"]) for event in events if event["id"] == task])
    return 1 if lost or unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
