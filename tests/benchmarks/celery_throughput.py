"""Mode `celery` beside bare Celery on the same private Valkey: publishes per second, and completions per second.

    python tests/benchmarks/celery_throughput.py [publish|complete]

publish: `GET /` of a server, asked by wrk, against `task.delay()` in a loop of a bare application; no worker runs.
complete: our worker with a server that journals its events, against a bare Celery worker, each with tasks of 0 s that
wait already; the bare one once with the guarantees that ours gives (acks_late, prefetch 1, STARTED stored), once with
Celery's defaults. Medians of alternated rounds. Exits with 1 where the ratio is below what it must be.
"""

import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

ROUNDS = 5
SECONDS = 2
CONNECTIONS = 50
TASKS = 4000
SKIPPED = 300
"""Completions before the clock starts: the worker warms up."""
PUBLISH, COMPLETE = 0.8, 0.9

BARE = """
import sys, time
from celery import Celery
url, what, guarantees = sys.argv[1:]
app = Celery("bare", broker=url, backend=url)
app.conf.broker_connection_retry_on_startup = True
if guarantees == "same":
    app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1, task_track_started=True,
                    task_reject_on_worker_lost=True)

@app.task(name="bare.work")
def work(message, kind="sleep", duration=0.0):
    pass

if what == "delay":
    for _ in range(100):
        work.delay("hello", "sleep", 0.0)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < float(guarantees):
        work.delay("hello", "sleep", 0.0)
        count += 1
    print(count / (time.perf_counter() - start))
elif what == "fill":
    for _ in range(int(guarantees)):
        work.apply_async(("hello", "sleep", 0.0), ignore_result=None)
else:
    app.Worker(concurrency=2, loglevel="CRITICAL", quiet=True, without_gossip=True, without_mingle=True).start()
"""


@contextmanager
def running(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-P", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        assert process.stdin
        process.stdin.close()
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def serving(url: str, folder: Path) -> Iterator[tuple[str, Path]]:
    announce, journal = folder / "announce", folder / "journal"
    for path in (announce, journal):
        path.unlink(missing_ok=True)
    settings = {
        "mode": "celery",
        "duration": 0.0,
        "port": 0,
        "max_pending": 10_000_000,
        "broker": url,
        "announce": str(announce),
        "journal": str(journal),
    }
    with running("-m", "taskdemo_server", json.dumps(settings | {"console": False})):
        while not announce.exists():
            time.sleep(0.01)
        yield json.loads(announce.read_text())["url"], journal


def ask(url: str) -> float:
    out = subprocess.run(
        ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", url], capture_output=True, text=True, check=True
    ).stdout
    assert "Non-2xx" not in out, out
    assert "Socket errors" not in out, out
    rate = re.search(r"Requests/sec:\s+([\d.]+)", out)
    assert rate, out
    return float(rate[1])


def delay(url: str) -> float:
    arguments = [sys.executable, "-P", "-c", BARE, url, "delay", str(SECONDS)]
    return float(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout)


def publish(url: str, client: "redis.Redis", folder: Path) -> bool:
    rates: dict[str, list[float]] = {"bare": [], "ours": []}
    with serving(url, folder) as (base, _):
        ask(base)
        for round_ in range(ROUNDS):
            for name in ("bare", "ours") if round_ % 2 else ("ours", "bare"):
                client.flushall()
                rates[name].append(delay(url) if name == "bare" else ask(base))
    bare, ours = statistics.median(rates["bare"]), statistics.median(rates["ours"])
    print(
        f"publishes/s     task.delay() in a loop {bare:6.0f}   GET / {ours:6.0f}   ratio {ours / bare:.2f}", flush=True
    )
    return ours / bare >= PUBLISH


def complete_bare(url: str, client: "redis.Redis", guarantees: str) -> float:
    client.flushall()
    subprocess.run([sys.executable, "-P", "-c", BARE, url, "fill", str(TASKS)], check=True)
    with running("-c", BARE, url, "work", guarantees):

        def when(count: int) -> float:
            while sum(1 for key in client.scan_iter("celery-task-meta-*", 5000)) < count:
                time.sleep(0.02)
            return time.perf_counter()

        start = when(SKIPPED)
        return (TASKS - SKIPPED) / (when(TASKS) - start)


def complete_ours(url: str, client: "redis.Redis", folder: Path) -> float:
    client.flushall()
    with serving(url, folder) as (base, journal):
        subprocess.run(["hey", "-n", str(TASKS), "-c", "50", base], check=True, stdout=subprocess.DEVNULL)
        worker = {"broker": url, "private": True, "concurrency": 2, "duration": 1.0}
        with running("-m", "taskdemo_server.worker", json.dumps(worker)):
            while journal.read_bytes().count(b'"finished"') < TASKS:
                time.sleep(0.1)
        ended = sorted(json.loads(line)["clock"] for line in journal.open() if '"finished"' in line)
    assert len(ended) == TASKS, f"{len(ended)} ends of {TASKS} tasks: an event was written twice"
    return (TASKS - SKIPPED) / float(ended[-1] - ended[SKIPPED - 1])


def complete(url: str, client: "redis.Redis", folder: Path) -> bool:
    rates: dict[str, list[float]] = {"defaults": [], "same": [], "ours": []}
    for round_ in range(ROUNDS):
        names = list(rates)
        for name in names[round_ % 3 :] + names[: round_ % 3]:
            rate = complete_ours(url, client, folder) if name == "ours" else complete_bare(url, client, name)
            rates[name].append(rate)
    defaults, same, ours = (statistics.median(rates[name]) for name in ("defaults", "same", "ours"))
    for name, bare in (("the same guarantees", same), ("Celery's defaults", defaults)):
        print(f"completions/s   bare worker, {name:<20}{bare:6.0f}   ours {ours:6.0f}   ratio {ours / bare:.2f}")
    return ours / same >= COMPLETE


def main() -> int:
    what = sys.argv[1:] or ["publish", "complete"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "valkey").mkdir(mode=0o700)
        with running("-m", "taskdemo_server.broker", str(folder / "valkey")) as broker:
            assert broker.stdout
            url = broker.stdout.readline().strip()
            client = redis.Redis(unix_socket_path=url.removeprefix("redis+socket://"))
            results = []
            if "publish" in what:
                results.append(publish(url, client, folder))
            if "complete" in what:
                results.append(complete(url, client, folder))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
