"""What is Celery's own: its workers over Valkey, Redis and RabbitMQ, its result backend, its messages and its tools."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest

import forked
from engines.stage import Stage, ask, free_port, left_with, own_broker, private, staging
from limits_runs import run, verdicts
from parts import REAL_BROKERS, must_listen, needs
from servers import RunningServer, Start, own_work, refusal
from taskdemo_cli.limits import backing, trial
from taskdemo_server.contract.child_process import python
from taskdemo_server.contract.modes import MODE_BY_NAME
from taskdemo_server.contract.settings import WorkerSettings, WorkSettings
from taskdemo_server.engines import valkey
from waiting import until

CELERY = MODE_BY_NAME["celery"]
pytestmark = needs(CELERY)
RABBITMQ = REAL_BROKERS["rabbitmq"]
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
    given: dict[str, Any] = {"token": "a-secret", **own_work(tmp_path, WORK)}
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
    stage.queue = "taskdemo"  # the one that `taskdemo worker` serves
    given = {"journal": str(tmp_path / "journal"), "token": "a-secret", **own_work(tmp_path, WORK)}
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
    until(lambda: "does not accept reports (HTTP 401" in worker.printed)
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
    server = start_server(mode="celery", duration=0, anew=True)
    worker = private(server)
    words = worker.cmdline()
    assert words[1:7] == ["-P", "-m", "celery", "-A", "taskdemo_server.engines.celery.engine:celery", "worker"]
    told = {"BROKER_URL": valkey.url(str(own_broker(server))), "TASK_QUEUE": server.settings.queue}
    # Of one that is named, only its answer is awaited, and not a second for any others.
    name = f"{server.settings.queue}-{worker.pid}@{socket.gethostname()}"
    asked = ["inspect", "registered", "--json", "--destination", name, "--timeout", "60"]
    command = [sys.executable, "-m", *words[3:6], *asked]
    done = subprocess.run(command, env={**os.environ, **told}, capture_output=True, text=True, timeout=90, check=True)
    [(node, said)] = json.loads(done.stdout).items()
    assert node == name
    assert said == ["taskdemo_server.engines.celery.page.work"]


# --- what `taskdemo limits` finds over real brokers ------------------------------------------------------------------


LIMITS = {"track": "no", "retry": "yes", "orchestrate": "partly", "failure": "partly", "survive_worker_kill": "yes"}
"""Verdicts over RabbitMQ, without a result backend."""


@pytest.mark.broker
def test_over_rabbitmq_no_kill_loses_a_task_failed_work_is_run_again_and_nothing_of_limits_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    must_listen("rabbitmq")
    queues: list[str] = []

    def noted() -> str:
        queues.append(backing.new_queue())
        return queues[-1]

    monkeypatch.setattr(trial, "new_queue", noted)
    try:
        document = run(tmp_path / "limits", ["celery"], list(LIMITS), broker=RABBITMQ)
    finally:
        left = left_with(RABBITMQ, queues)
    assert left == []
    assert len(set(queues)) == len(queues) == 2  # the steps share theirs
    assert verdicts(document)["celery"] == LIMITS
    cells = document.modes["celery"]
    assert cells["retry"].measured["attempts"] == 3
    assert "No result backend is configured" in cells["track"].text
    assert "The group's final step was never begun: the endpoint" in cells["orchestrate"].text
    assert set(cells["survive_worker_kill"].measured["killed"]) == {"process", "worker"}
    assert cells["survive_worker_kill"].measured["lost"] == 0


# --- what cannot be used ----------------------------------------------------------------------------------------------


TO_TYPE = "--broker redis://:PASSWORD@HOST:PORT/0 or amqp://USER:PASSWORD@HOST:PORT//"


@pytest.mark.parametrize(
    ("broker", "said"),
    [
        ("redis://127.0.0.1:{port}/0", "cannot be used"),
        ("amqp://guest:guest@127.0.0.1:{port}//", "cannot be used"),
        ("redis://nowhere.invalid:6379/0", "cannot be used"),
        ("REDIS://127.0.0.1:{port}/0", "cannot be used"),
        ("rabbit://localhost", "is not a broker for celery"),
        ("filesystem:///tmp/queue", "is not a broker for celery"),
    ],
)
def test_a_broker_that_cannot_be_used_is_one_sentence(start_server: Start, broker: str, said: str) -> None:
    sentence = refusal(start_server, mode="celery", broker=broker.format(port=free_port()))
    assert said in sentence
    assert TO_TYPE in sentence


@pytest.mark.parametrize("name", ["valkey", pytest.param("rabbitmq", marks=pytest.mark.broker)])
def test_a_wrong_password_is_said_and_never_shown(name: str, start_server: Start, stage: Stage) -> None:
    if name == "valkey":
        stage.valkey(0, "--requirepass", "right")
        broker = stage.broker.replace("//", "//:wrong-secret@")
    else:
        must_listen(name)
        broker = RABBITMQ.replace("guest@", "wrong-secret@")
    sentence = refusal(start_server, mode="celery", broker=broker)
    assert "rejects the user or password" in sentence
    assert "secret" not in sentence


@pytest.mark.parametrize(
    ("broker", "work", "said"),
    [("nonsense", "sleep", TO_TYPE), ("redis://127.0.0.1:1/0", "nowhere:work", "--work nowhere:work")],
)
def test_a_worker_that_cannot_be_started_says_why_in_one_sentence(broker: str, work: str, said: str) -> None:
    told = WorkerSettings(engine="celery", broker=broker, work=WorkSettings(mode="celery", work=work))
    process = forked.popen(python("taskdemo_server.worker", told.to_json()), stdout=PIPE, stderr=PIPE, text=True)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.count("\n")) == (2, "", 1), err
    assert err.startswith("taskdemo: ")
    assert said in err
