"""What is Celery's own: its workers over Valkey, Redis and RabbitMQ, its result backend, its messages and its tools."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
import redis

import forked
from conftest import RunningServer, until
from engines.stage import Stage, ask, free_port, left_with, must_listen, own_broker, private, staging
from limits_runs import Remembering, run, verdicts
from taskdemo_cli.limits import backing, trial
from taskdemo_cli.processes.signals import StopRequest
from taskdemo_server.contract.child_process import python
from taskdemo_server.contract.modes import MODE_BY_NAME
from taskdemo_server.contract.settings import Settings, WorkerSettings, WorkSettings
from taskdemo_server.engines import base, valkey

pytest.importorskip("celery", reason="the extra `celery` is not installed")
pytestmark = [
    pytest.mark.skipif(valkey.binary() is None, reason="there is no Valkey for this platform"),
    pytest.mark.timeout(300),
]

Start = Callable[..., RunningServer]
CELERY = MODE_BY_NAME["celery"]
RABBITMQ = "amqp://guest:guest@127.0.0.1:5672//"
REFUSED = 2
TOKEN = {"Authorization": "Bearer a-secret"}


@pytest.fixture
def stage(stage: Stage) -> Stage:
    """A stage with a Valkey."""
    stage.valkey()
    return stage


@pytest.fixture
def rabbitmq(tmp_path: Path) -> Iterator[Stage]:
    """A stage with the real RabbitMQ, which is left as it was."""
    must_listen("rabbitmq")
    with staging(tmp_path / "stage") as stage:
        stage.broker = RABBITMQ
        yield stage
    journals = [path.read_text() for path in tmp_path.glob("server*/journal")]
    refs = [json.loads(line)["ref"] for text in journals for line in text.splitlines() if '"ref"' in line]
    left_with(stage.broker, [*refs, stage.queue])


def serve(start_server: Start, stage: Stage, **given: Any) -> RunningServer:
    return start_server(**{"mode": "celery", "broker": stage.broker, "queue": stage.queue, "duration": 0.1} | given)


# --- workers that report to the server --------------------------------------------------------------------------------


EVIL = """
import os, pickle, sys
from kombu import Connection

class Evil:
    def __reduce__(self):
        return os.system, (f"touch {sys.argv[3]}",)

with Connection(sys.argv[1]) as connection:
    connection.Producer().publish(
        pickle.dumps(Evil()), exchange=sys.argv[2], routing_key=sys.argv[2],
        content_type="application/x-python-serialize", content_encoding="binary",
        headers={"id": "1", "task": "taskdemo_server.engines.celery.page.work"},
    )
"""


WORK = """
import time

def work(message):
    print("doing", message)
    time.sleep(600 if message == "long" else 0.1)
    if message == "bad":
        raise ValueError("no good")
"""


@pytest.mark.broker
def test_workers_share_tasks_cancel_those_they_have_refuse_what_is_no_json_and_end_as_celerys_own_do(
    start_server: Start, rabbitmq: Stage, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(WORK)
    given: dict[str, Any] = {"work": "mine:work", "folder": str(tmp_path), "token": "a-secret"}
    server = serve(start_server, rabbitmq, **given)
    workers = [rabbitmq.worker(CELERY, server=server.url, **given) for _ in range(2)]
    rabbitmq.ready(*workers)

    tasks = [ask(server, message=f"number {number}") for number in range(10)]
    server.ended(10)  # a busy machine may put an end before its beginning, because each comes with its own delay
    assert all(sorted(server.states(task)) == ["accepted", "finished", "started"] for task in tasks)
    pids = {event.pid for event in server.events() if event.state == "finished"}
    assert pids == {worker.program.children()[0].pid for worker in workers}
    lines = "".join(worker.printed for worker in workers).splitlines()
    assert sorted(line for line in lines if line.startswith("Background")) == [
        f"Background Task called! number {number}" for number in range(10)
    ]
    until(lambda: server.printed.count("Background Task called!") == 10)

    running = [ask(server, message="long") for _ in workers]
    until(lambda: server.running() == set(running))
    waiting = ask(server)
    for task in (waiting, *running):
        assert server.client.delete(f"/tasks/{task}", headers=TOKEN).status_code == 200
    server.ended(13)
    assert all(sorted(server.states(task)) == ["accepted", "cancelled", "started"] for task in running)
    assert server.states(waiting) == ["accepted", "cancelled"]

    touched = tmp_path / "touched"
    arguments = [rabbitmq.broker, rabbitmq.queue, str(touched)]
    subprocess.run([sys.executable, "-c", EVIL, *arguments], check=True, timeout=60)
    refused = "Refusing to deserialize untrusted content of type pickle"
    until(lambda: any(refused in worker.printed for worker in workers))
    tasks = [ask(server) for _ in range(4)]
    server.ended(17)
    assert all(sorted(server.states(task)) == ["accepted", "finished", "started"] for task in tasks)
    assert not touched.exists()

    workers[0].program.send_signal(signal.SIGTERM)
    workers[1].program.send_signal(signal.SIGINT)
    assert (workers[0].wait(), workers[1].wait()) == (0, 1)
    assert server.complained == ""


# --- workers that do not report: the result backend knows -------------------------------------------------------------


def test_tasks_stay_with_the_broker_and_a_server_that_was_down_learns_of_those_that_no_worker_may_report(
    start_server: Start, stage: Stage, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(WORK)
    stage.queue = "taskdemo"  # the one that `taskdemo worker` serves
    given = {"journal": str(tmp_path / "journal"), "work": "mine:work", "folder": str(tmp_path), "token": "a-secret"}
    server = serve(start_server, stage, **given)
    good, bad, long = (ask(server, message=message) for message in ("good", "bad", "long"))
    server.signal(signal.SIGINT)
    assert server.wait() == 130
    assert "the broker keeps 3 tasks" in server.printed

    words = ["--work", "mine:work", "--processes", "1", "--server", server.url, "--token", "another"]
    worker = stage.command(CELERY, *words, cwd=tmp_path)
    until(lambda: f"task {long[:8]} | doing long\n" in worker.printed)
    for said in (f"task {good[:8]} | doing good\n", "Background Task called! good\n"):
        assert said in worker.printed
    again = serve(start_server, stage, port=server.port, **given)
    until(lambda: "does not take reports (HTTP 401" in worker.printed)
    until(lambda: again.running() == {long})
    ends = {event.id: event for event in again.ended(2)}
    assert (ends[good].state, ends[good].error) == ("finished", None)
    assert (ends[bad].state, ends[bad].error) == ("failed", "ValueError: no good")
    assert {event.host for event in ends.values()} == {"the result backend"}
    assert again.client.delete(f"/tasks/{long}", headers=TOKEN).status_code == 200
    until(lambda: again.states(long) == ["accepted", "started", "cancelled"])


def test_callers_are_refused_while_the_result_backend_is_gone(start_server: Start, stage: Stage) -> None:
    with staging(stage.folder / "backend") as other:
        backend = other.valkey()
        server = serve(start_server, stage, backend=other.broker)
        ask(server)
        backend.program.kill()
        backend.wait()
        # The first one after its death is still taken: Celery notices when it lets go of that task's result.
        until(lambda: server.get().status_code == 503)
        assert server.get().headers["Retry-After"] == "1"
        other.valkey(int(other.broker.rpartition(":")[2].partition("/")[0]))
        until(lambda: server.get().status_code == 200)


# --- Celery's own tools -----------------------------------------------------------------------------------------------


def test_application_and_private_worker_are_ordinary_ones_for_celerys_own_tools(start_server: Start) -> None:
    server = start_server(mode="celery", duration=0)
    worker = private(server.process.pid, "taskdemo_server.worker")
    words = worker.cmdline()
    assert words[1:7] == ["-P", "-m", "celery", "-A", "taskdemo_server.engines.celery.engine:celery", "worker"]
    told = base.environment(valkey.url(str(own_broker(server))), None, server.settings.queue, 0)
    # Of one that is named, only its answer is awaited, and not a second for any others.
    name = f"{server.settings.queue}-{worker.pid}@{socket.gethostname()}"
    asked = ["inspect", "registered", "--json", "--destination", name, "--timeout", "60"]
    command = [sys.executable, "-m", *words[3:6], *asked]
    done = subprocess.run(command, env={**os.environ, **told}, capture_output=True, text=True, timeout=90, check=True)
    [(node, said)] = json.loads(done.stdout).items()
    assert node == name
    assert said == ["taskdemo_server.engines.celery.page.work"]


def test_a_worker_that_dies_while_it_looks_for_a_dead_ones_tasks_keeps_others_from_it_for_seconds(
    start_server: Start,
) -> None:
    """It holds a lock then, which its death leaves behind for as long as it was taken for."""
    server = start_server(mode="celery", duration=0)
    url = valkey.url(str(own_broker(server))).replace("redis+socket:", "unix:")
    with redis.Redis.from_url(url).monitor() as monitor:  # type: ignore[no-untyped-call]  # theirs
        commands = (one["command"] for one in monitor.listen())
        lock = next(one for one in commands if one.startswith(f"SET {server.settings.queue}:unacked_mutex "))
    assert re.search(" PX 5000( |$)", lock)


# --- what `taskdemo limits` finds over real brokers ------------------------------------------------------------------


def noted_queues(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list of the queues that experiments have from now on."""
    queues: list[str] = []

    def noted() -> str:
        queues.append(backing.new_queue())
        return queues[-1]

    monkeypatch.setattr(trial, "new_queue", noted)
    return queues


@pytest.mark.broker
def test_over_rabbitmq_no_kill_loses_a_task_failed_work_is_run_again_and_nothing_of_limits_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    must_listen("rabbitmq")
    queues = noted_queues(monkeypatch)
    try:
        document = run(tmp_path / "limits", ["celery"], ("survive_worker_kill", "retry", "track"), broker=RABBITMQ)
    finally:
        left = left_with(RABBITMQ, queues)
    assert left == []
    assert len(set(queues)) == len(queues) == 2  # the two steps share theirs
    assert verdicts(document)["celery"] == {"survive_worker_kill": "yes", "retry": "yes", "track": "no"}
    cells = document.modes["celery"]
    assert cells["retry"].measured["attempts"] == 3
    assert "No result backend is configured" in cells["track"].text
    assert set(cells["survive_worker_kill"].measured["killed"]) == {"process", "worker"}
    assert cells["survive_worker_kill"].measured["lost"] == 0


@pytest.mark.broker
def test_a_stop_in_the_middle_of_limits_leaves_nothing_with_a_real_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    must_listen("rabbitmq")
    queues = noted_queues(monkeypatch)
    stopping = StopRequest()

    def stop() -> None:
        stopping.signal = signal.SIGINT

    screen = Remembering(on_done=stop)
    try:
        document = run(tmp_path / "limits", ["celery"], ("track", "retry"), screen, stopping, broker=RABBITMQ)
    finally:
        left = left_with(RABBITMQ, queues)
    assert document.interrupted
    assert queues
    assert left == []


# --- what cannot be used ----------------------------------------------------------------------------------------------


def refusal(program: str, broker: str, tmp_path: Path, **work: Any) -> str:
    """Start a server or a worker with this broker; return the one sentence with which it ends."""
    if program == "server":
        settings = Settings(mode="celery", journal=str(tmp_path / "j"), port=0, lifeline=False, broker=broker).to_json()
        command = ["taskdemo_server.serve", settings]
    else:
        told = WorkerSettings(engine="celery", broker=broker, work=WorkSettings(mode="celery", **work))
        command = ["taskdemo_server.worker", told.to_json()]
    process = forked.popen(python(*command), stdout=PIPE, stderr=PIPE, text=True)
    out, err = process.communicate(60)  # two seconds, and imports on a busy machine
    assert (process.returncode, out, err.count("\n")) == (REFUSED, "", 1), err
    assert err.startswith("taskdemo: ")
    return str(err)


@pytest.mark.parametrize(
    ("program", "broker", "said"),
    [
        ("server", "redis://127.0.0.1:{port}/0", "cannot be used"),
        ("worker", "redis://127.0.0.1:{port}/0", "cannot be used"),
        ("server", "amqp://guest:guest@127.0.0.1:{port}//", "cannot be used"),
        ("server", "redis://nowhere.invalid:6379/0", "cannot be used"),
        ("server", "REDIS://127.0.0.1:{port}/0", "cannot be used"),
        ("server", "rabbit://localhost", "is not a broker for celery"),
        ("server", "filesystem:///tmp/queue", "is not a broker for celery"),
        ("worker", "nonsense", "is not a broker for celery"),
    ],
)
def test_a_broker_that_cannot_be_used_is_one_sentence(program: str, broker: str, said: str, tmp_path: Path) -> None:
    sentence = refusal(program, broker.format(port=free_port()), tmp_path)
    assert said in sentence
    assert "--broker redis://:PASSWORD@HOST:PORT/0 or amqp://USER:PASSWORD@HOST:PORT//" in sentence


@pytest.mark.parametrize("program", ["server", "worker"])
def test_a_wrong_password_is_said_and_never_shown(program: str, tmp_path: Path) -> None:
    with staging(tmp_path / "stage") as stage:
        stage.valkey(0, "--requirepass", "right")
        sentence = refusal(program, stage.broker.replace("//", "//:wrong-secret@"), tmp_path)
    assert "refuses the user or the password" in sentence
    assert "secret" not in sentence


@pytest.mark.broker
@pytest.mark.parametrize("program", ["server", "worker"])
def test_a_wrong_password_for_rabbitmq_is_said_and_never_shown(program: str, tmp_path: Path) -> None:
    must_listen("rabbitmq")
    sentence = refusal(program, RABBITMQ.replace("guest@", "wrong-secret@"), tmp_path)
    assert "refuses the user or the password" in sentence
    assert "secret" not in sentence


def test_a_work_that_a_worker_cannot_import_is_one_sentence(stage: Stage, tmp_path: Path) -> None:
    sentence = refusal("worker", stage.broker, tmp_path, work="nowhere:work", folder=str(tmp_path))
    assert "--work nowhere:work" in sentence
