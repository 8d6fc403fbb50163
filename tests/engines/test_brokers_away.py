"""A broker of others without a worker, or one that is mute, dead or full for a while: who is told, and what goes on."""

import shlex
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import redis

from commands import taskdemo
from engines.stage import EVERY_ENGINE, FIRST_WITH, Guarded, Stage, ask, of, parameters, staging
from parts import THERE
from servers import RunningServer, own_work, serving
from taskdemo_server.contract.modes import Mode
from waiting import until

pytestmark = pytest.mark.timeout(400)

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
"""Why a Redis takes no more, how to make it so, and how to end that; to an engine they are alike: each has one."""


@dataclass
class Workless:
    """A server that has a task, which nobody does yet."""

    stage: Stage
    broker: Guarded | None
    server: RunningServer


@pytest.fixture(scope="module")
def workless(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Workless]]:
    """One of each engine: that nobody works for them shows after a while, beside each other."""
    folder, made = tmp_path_factory.mktemp("workless"), {}
    work = own_work(folder, WORK)
    with ExitStack() as stack:
        for mode in THERE:
            stage = stack.enter_context(staging(folder / mode.name))
            broker = None
            if of(mode).private_broker == "valkey":
                broker = stage.valkey()
            else:
                stage.a_broker(mode)
            given: dict[str, Any] = {"mode": mode.name, "broker": stage.broker, "queue": stage.queue, **work}
            server = stack.enter_context(serving(stage.folder / "server", **given))
            ask(server)
            made[mode.name] = Workless(stage, broker, server)
        yield made


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
            refused = beside.submit(server.burst, CALLERS)
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
    assert {answer.status_code for answer in server.burst(CALLERS)} == {200}
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
        assert {answer.status_code for answer in server.burst(CALLERS)} == {503}
        go.touch()
        until(lambda: reason in worker.printed)
        client.execute_command(*take.split())
    until(lambda: server.get().status_code == 200)
    task = ask(server)
    until(lambda: "finished" in server.states(task) or worker.guard.poll() == 1)


@pytest.mark.parametrize("mode", parameters([FIRST_WITH["valkey"], FIRST_WITH["file"]]))
def test_who_fires_or_compares_where_no_worker_answers_is_soon_told_what_to_type(
    mode: Mode, workless: dict[str, Workless]
) -> None:
    stage, server, began = workless[mode.name].stage, workless[mode.name].server, time.monotonic()
    known_at_once = server.get("/health").json()["worker"] is False
    to_type = f"start one with: taskdemo worker --engine {mode.name} --broker {stage.broker}"
    with ThreadPoolExecutor(1) as beside:
        fired = beside.submit(taskdemo, "fire", "--port", str(server.port), "--count", "2")
        compared = taskdemo("compare", "--modes", mode.name, "--broker", stage.broker, "--count", "2")
    assert time.monotonic() - began < of(mode).begins_within_s + 40  # on a slow machine
    assert (compared.returncode, to_type in " ".join(compared.stderr.split())) == (2, True)
    assert "--server" not in compared.stderr  # its own server is gone by now
    said = fired.result().stdout + fired.result().stderr
    assert fired.result().returncode == (2 if known_at_once else 1)  # it was refused, or given up while it waited
    assert "".join(to_type.split()) in "".join(said.split())  # it may be wrapped


@pytest.mark.parametrize("mode", EVERY_ENGINE)
def test_that_no_worker_answers_is_said_and_callers_are_refused_while_the_broker_is_mute_dead_or_full(
    mode: Mode, workless: dict[str, Workless]
) -> None:
    stage, broker, server = workless[mode.name].stage, workless[mode.name].broker, workless[mode.name].server
    worker_command = f"taskdemo worker --engine {mode.name} --broker {shlex.quote(stage.broker)} --queue {stage.queue} "
    no_worker = f"no worker answers on this broker; start one with: {worker_command}"
    until(lambda: no_worker in server.complained)  # once, or once more where an answer came late

    def nothing_else() -> bool:
        return set(server.complained.splitlines()) == set(said.splitlines())

    assert f"--server {server.url}\n" in server.complained
    assert server.get("/health").json()["worker"] is not True
    said = server.complained

    if broker is not None:
        refuses_while_mute(broker, server)
    worker = stage.worker(mode, "mine:work", folder=str(stage.folder.parent), server=server.url)
    stage.ready(worker)
    server.ended(server.states().count("accepted"))
    assert nothing_else()
    if broker is None:
        return  # what follows needs a Valkey

    broker.program.kill()
    broker.wait()
    for answer in server.burst(CALLERS):
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    stage.valkey(int(stage.broker.rpartition(":")[2].partition("/")[0]))
    until(lambda: server.get().status_code == 200)
    after = ask(server)
    until(lambda: "finished" in server.states(after))
    assert worker.guard.poll() is None
    assert nothing_else()

    refuses_while_full(stage, server, worker, *REFUSALS[THERE.index(mode) % len(REFUSALS)])
    if worker.guard.poll() is None:  # A worker's answer is refused, too: on a slow machine that is noticed meanwhile.
        assert nothing_else()
    else:  # as Celery's does
        until(lambda: server.complained.count(no_worker) >= 2)
