"""A broker of others without a worker, or one that is mute, dead or full for a while: who is told, and what goes on."""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from subprocess import CompletedProcess
from typing import Any

import httpx
import pytest
import redis

from commands import taskdemo
from conftest import RunningServer, serving, until
from engines.stage import EVERY_ENGINE, THERE, Guarded, Stage, ask, of, staging
from taskdemo_server.contract.modes import Mode

pytestmark = [pytest.mark.parametrize("mode", EVERY_ENGINE), pytest.mark.timeout(400)]

CALLERS = 20
WORK = """
import os, time

def work(message):
    while message.startswith("/") and not os.path.exists(message):
        time.sleep(0.01)
"""
"""What has the path of a file for a message lasts until that is there."""

REFUSALS = [
    ("maxmemory", "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0"),
    ("read only replica", "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE"),
    ("good replicas", "CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0"),
]
"""Why a Redis takes no more, how to make it so, and how to end that."""


@dataclass
class Workless:
    """A server that has a task, and somebody who fires at it; nobody does their tasks yet."""

    stage: Stage
    broker: Guarded | None
    server: RunningServer
    fired: "Future[CompletedProcess[str]]"
    compared: "Future[tuple[CompletedProcess[str], float]]"
    """With the seconds that it took."""


@pytest.fixture(scope="module")
def workless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Workless]]:
    """One of each engine: that nobody works for them shows after a while, beside each other."""
    folder, made = tmp_path_factory.mktemp("workless"), {}
    (folder / "mine.py").write_text(WORK)
    with ExitStack() as stack:
        callers = stack.enter_context(ThreadPoolExecutor(2 * len(THERE)))
        for mode in THERE:
            stage = stack.enter_context(staging(folder / mode.name))
            broker = None
            if of(mode).private_broker == "valkey":
                broker = stage.valkey()
            else:
                stage.a_broker(mode)
            given: dict[str, Any] = {"mode": mode.name, "broker": stage.broker, "queue": stage.queue}
            given |= {"work": "mine:work", "folder": str(folder)}
            server = stack.enter_context(serving(stage.folder / "server", **given))
            ask(server)
            fired = callers.submit(taskdemo, "fire", "--port", str(server.port), "--count", "2")
            compared = callers.submit(compare, mode, stage.broker)
            made[mode.name] = Workless(stage, broker, server, fired, compared)
        yield made


def compare(mode: Mode, broker: str) -> "tuple[CompletedProcess[str], float]":
    began = time.monotonic()
    done = taskdemo("compare", "--modes", mode.name, "--broker", broker, "--count", "2")
    return done, time.monotonic() - began


def answers(server: RunningServer) -> list[httpx.Response]:
    """Ask from many callers at the same time."""
    with (
        httpx.Client(base_url=server.url, timeout=30, trust_env=False) as client,
        ThreadPoolExecutor(CALLERS) as callers,
    ):
        return list(callers.map(lambda _: client.get("/"), range(CALLERS)))


def bystander_s(server: RunningServer) -> float:
    asked = time.monotonic()
    assert server.get("/ping").status_code == 200
    return time.monotonic() - asked


def refuses_while_mute(broker: Guarded, server: RunningServer) -> None:
    """See that callers are refused soon, that others do not notice, and that callers are taken again."""
    broker.program.suspend()
    try:
        began = time.monotonic()
        with ThreadPoolExecutor(1) as beside:
            refused = beside.submit(answers, server)
            # A loop that waited for the broker itself would be late each time; a busy machine is so now and then.
            assert any(bystander_s(server) < 1 for _ in range(3))
        for answer in refused.result():
            assert answer.status_code == 503
            assert answer.headers["Retry-After"] == "1"
            assert answer.json() == {"detail": "The broker does not take the task."}
            assert "X-Task-ID" not in answer.headers
        assert time.monotonic() - began < 15  # 3 s at most, and 20 callers on a slow machine
    finally:
        broker.program.resume()
    accepted = server.states().count("accepted")
    until(lambda: server.get().status_code == 200)
    assert {answer.status_code for answer in answers(server)} == {200}
    assert server.states().count("accepted") == accepted + CALLERS + 1


def refuses_while_full(
    stage: Stage, server: RunningServer, worker: Guarded, reason: str, refuse: str, take: str
) -> None:
    """See that callers are refused while a task runs, and that its worker goes on afterwards, or ends."""
    go = stage.folder / reason
    running = ask(server, message=str(go))
    until(lambda: running in server.running())
    with redis.Redis.from_url(stage.broker) as client:
        client.execute_command(*refuse.split())
        assert {answer.status_code for answer in answers(server)} == {503}
        go.touch()
        until(lambda: reason in worker.printed)
        client.execute_command(*take.split())
    until(lambda: server.get().status_code == 200)
    task = ask(server)
    until(lambda: "finished" in server.states(task) or worker.guard.poll() == 1)


def test_that_no_worker_answers_is_said_and_callers_are_refused_while_the_broker_is_mute_dead_or_full(
    mode: Mode, workless: dict[str, Workless]
) -> None:
    stage, broker, server = workless[mode.name].stage, workless[mode.name].broker, workless[mode.name].server
    worker_command = f"taskdemo worker --engine {mode.name} --broker {stage.broker} --queue {stage.queue} "
    no_worker = f"no worker answers on this broker; start one with: {worker_command}"
    until(lambda: no_worker in server.complained)
    assert f"--server {server.url}\n" in server.complained
    compared, took = workless[mode.name].compared.result()
    assert (compared.returncode, "start one with: taskdemo worker" in compared.stderr) == (2, True)
    assert took < of(mode).begins_within_s + 40  # beside the others, on a slow machine
    done = workless[mode.name].fired.result()
    assert done.returncode in {1, 2}  # refused, or given up while it waited
    assert "".join(no_worker.split()) in "".join((done.stdout + done.stderr).split())  # it may be wrapped
    said = server.complained

    if broker is not None:
        refuses_while_mute(broker, server)
    worker = stage.worker(mode, "mine:work", folder=str(stage.folder.parent), server=server.url)
    stage.ready(worker)
    server.ended(server.states().count("accepted"))
    assert server.complained == said
    if broker is None:
        return  # what follows needs a Valkey

    broker.program.kill()
    broker.wait()
    for answer in answers(server):
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    stage.valkey(int(stage.broker.rpartition(":")[2].partition("/")[0]))
    until(lambda: server.get().status_code == 200)
    after = ask(server)
    until(lambda: "finished" in server.states(after))
    assert worker.guard.poll() is None
    assert server.complained == said

    for refusal in REFUSALS:
        refuses_while_full(stage, server, worker, *refusal)
        if worker.guard.poll() is None:
            assert server.complained == said
        else:  # as Celery's does
            until(lambda: server.complained.count(no_worker) == 2)
            return
