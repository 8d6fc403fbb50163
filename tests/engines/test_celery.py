"""What is Celery's own: its workers over Valkey, Redis and RabbitMQ, its result backend, its messages and its tools."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import RunningServer, until
from engines.stage import Stage, free_port, must_listen, private, staging
from taskdemo_server.contract.modes import MODE_BY_NAME
from taskdemo_server.contract.settings import Settings, WorkerSettings, WorkSettings
from taskdemo_server.engines import base, valkey

pytest.importorskip("celery", reason="the extra `celery` is not installed")
pytestmark = pytest.mark.skipif(valkey.binary() is None, reason="there is no Valkey for this platform")

Start = Callable[..., RunningServer]
CELERY = MODE_BY_NAME["celery"]
REDIS = "redis://127.0.0.1:6379/11"
RABBITMQ = "amqp://guest:guest@127.0.0.1:5672//"
REFUSED = 2


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A stage with a Valkey."""
    with staging(tmp_path / "stage") as stage:
        stage.valkey()
        yield stage


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.broker) for name in ("redis", "rabbitmq")])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stage]:
    """A stage with the real broker of that name, which is left as it was."""
    with staging(tmp_path / "stage") as stage:
        must_listen(request.param)
        stage.broker = {"redis": REDIS, "rabbitmq": RABBITMQ}[request.param]
        yield stage
    clean(stage)


def clean(stage: Stage) -> None:
    """Remove what this test has left with a real broker, and nothing else: others may be using it."""
    if stage.broker == REDIS:
        import redis

        with redis.Redis.from_url(REDIS) as client:
            journals = [path.read_text() for path in stage.folder.parent.glob("server*/journal")]
            accepted = [line for text in journals for line in text.splitlines() if '"ref"' in line]
            keys = [f"celery-task-meta-{json.loads(line)['ref']}" for line in accepted]
            client.delete("nothing", *keys, *client.scan_iter(f"{stage.queue}*"))
        return
    from celery import Celery

    with Celery(broker=stage.broker).connection_for_write() as connection:
        connection.default_channel.queue_delete(stage.queue)
        connection.default_channel.exchange_delete(stage.queue)


def serve(start_server: Start, stage: Stage, **given: Any) -> RunningServer:
    return start_server(**{"mode": "celery", "broker": stage.broker, "queue": stage.queue, "duration": 0.1} | given)


def ask(server: RunningServer, **given: str) -> str:
    answer = server.get(params=given)
    assert answer.status_code == 200, answer.text
    return answer.headers["X-Task-ID"]


def states(server: RunningServer, task_id: str) -> list[str]:
    events = sorted((event for event in server.events() if event.id == task_id), key=lambda event: event.clock)
    return [event.state for event in events]


# --- workers that report to the server --------------------------------------------------------------------------------


def test_workers_share_the_tasks_report_to_the_server_and_end_as_celerys_own_do(
    start_server: Start, broker: Stage
) -> None:
    server = serve(start_server, broker, duration=0.2, token="a-secret")
    workers = [broker.worker(CELERY, duration=0.2, server=server.url, token="a-secret") for _ in range(2)]
    broker.ready(*workers)
    tasks = [ask(server, message=f"number {number}") for number in range(10)]
    server.ended(10, 20)
    assert all(states(server, task) == ["accepted", "started", "finished"] for task in tasks)
    pids = {event.pid for event in server.events() if event.state == "finished"}
    assert pids == {worker.program.children()[0].pid for worker in workers}
    lines = "".join(worker.printed for worker in workers).splitlines()
    assert sorted(line for line in lines if line.startswith("Background")) == [
        f"Background Task called! number {number}" for number in range(10)
    ]
    until(lambda: server.printed.count("Background Task called!") == 10)
    workers[0].program.send_signal(signal.SIGTERM)
    workers[1].program.send_signal(signal.SIGINT)
    assert (workers[0].wait(), workers[1].wait()) == (0, 1)
    assert server.complained == ""


def test_a_worker_whose_token_the_server_does_not_know_says_so_and_reports_nothing(
    start_server: Start, stage: Stage
) -> None:
    server = serve(start_server, stage, token="a-secret", backend="disabled://")
    worker = stage.worker(CELERY, duration=0.1, server=server.url, token="another")
    stage.ready(worker)
    task = ask(server)
    until(lambda: "does not take reports (HTTP 401" in worker.printed)
    assert states(server, task) == ["accepted"]


def test_a_running_and_a_waiting_task_are_cancelled_by_the_worker_that_has_them(
    start_server: Start, broker: Stage
) -> None:
    server = serve(start_server, broker, duration=30)
    broker.ready(*(broker.worker(CELERY, duration=30, server=server.url) for _ in range(2)))
    running = [ask(server), ask(server)]
    until(lambda: server.running() == set(running))
    waiting = ask(server)
    for task in (waiting, *running):
        assert server.client.delete(f"/tasks/{task}").status_code == 200
    server.ended(3)
    assert all(states(server, task) == ["accepted", "started", "cancelled"] for task in running)
    assert states(server, waiting) == ["accepted", "cancelled"]


EVIL = """
import os, pickle, sys
from kombu import Connection

class Evil:
    def __reduce__(self):
        return os.system, (f"touch {sys.argv[3]}",)

with Connection(sys.argv[1], transport_options=eval(sys.argv[4])) as connection:
    connection.Producer().publish(
        pickle.dumps(Evil()), exchange=sys.argv[2], routing_key=sys.argv[2],
        content_type="application/x-python-serialize", content_encoding="binary",
        headers={"id": "1", "task": "taskdemo_server.engines.celery.page.work"},
    )
"""


def test_a_message_that_is_not_json_is_refused_and_the_worker_goes_on(
    start_server: Start, broker: Stage, tmp_path: Path
) -> None:
    server = serve(start_server, broker)
    worker = broker.worker(CELERY, duration=0.1, server=server.url)
    broker.ready(worker)
    touched = tmp_path / "touched"
    options = {} if broker.broker.startswith("amqp") else {"global_keyprefix": f"{broker.queue}:"}
    arguments = [broker.broker, broker.queue, str(touched), repr(options)]
    subprocess.run([sys.executable, "-c", EVIL, *arguments], check=True, timeout=20)
    until(lambda: "Refusing to deserialize untrusted content of type pickle" in worker.printed)
    task = ask(server)
    server.ended(1)
    assert states(server, task) == ["accepted", "started", "finished"]
    assert not touched.exists()


# --- workers that do not report: the result backend knows -------------------------------------------------------------


SOMETIMES_FAILS = """
import time

def work(message):
    print("doing", message)
    if message == "bad":
        raise ValueError("no good")
    if message == "long":
        time.sleep(30)
"""


def test_the_states_of_tasks_come_from_the_result_backend_where_no_worker_reports(
    start_server: Start, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(SOMETIMES_FAILS)
    stage.queue = "taskdemo"  # the one that `taskdemo worker` serves
    worker = stage.command(CELERY, "--work", "mine:work", "--processes", "1", cwd=tmp_path)
    stage.ready(worker)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    server = serve(start_server, stage, work="mine:work")
    good, bad, long = (ask(server, message=message) for message in ("good", "bad", "long"))
    until(lambda: server.running() == {long})
    assert f"task {good[:8]} | doing good\nBackground Task called! good\n" in worker.printed
    ends = {event.id: event for event in server.ended(2)}
    assert (ends[good].state, ends[good].error) == ("finished", None)
    assert (ends[bad].state, ends[bad].error) == ("failed", "ValueError: no good")
    assert {event.host for event in ends.values()} == {"the result backend"}
    assert server.client.delete(f"/tasks/{long}").status_code == 200
    until(lambda: states(server, long) == ["accepted", "started", "cancelled"])


def test_tasks_stay_with_the_broker_and_a_server_that_was_down_learns_what_became_of_them(
    start_server: Start, stage: Stage, tmp_path: Path
) -> None:
    journal = str(tmp_path / "journal")
    server = serve(start_server, stage, journal=journal)
    tasks = {ask(server) for _ in range(6)}
    server.signal(signal.SIGINT)
    assert server.wait(3) == 130
    assert "the broker keeps 6 tasks" in server.printed
    worker = stage.worker(CELERY, duration=0.1)
    until(lambda: worker.printed.count("Background Task called!") == 6, 20)
    again = serve(start_server, stage, journal=journal)
    assert {event.id for event in again.ended(6)} == tasks
    assert "lost" not in again.states()


def test_callers_are_refused_while_the_result_backend_is_gone(start_server: Start, stage: Stage) -> None:
    with staging(stage.folder / "backend") as other:
        backend = other.valkey()
        server = serve(start_server, stage, backend=other.broker)
        ask(server)
        backend.program.kill()
        backend.wait()
        # The first one after its death is still taken: Celery notices when it lets go of that task's result.
        until(lambda: server.get().status_code == 503, 5)
        assert server.get().headers["Retry-After"] == "1"
        other.valkey(int(other.broker.rpartition(":")[2].partition("/")[0]))
        until(lambda: server.get().status_code == 200)


# --- Celery's own tools -----------------------------------------------------------------------------------------------


def test_the_application_is_an_ordinary_one_for_celerys_own_tools(start_server: Start, stage: Stage) -> None:
    server = start_server(mode="celery", duration=0)
    [folder] = {Path(server.get("/health").json()["broker"].removeprefix("redis+socket://")).parent}
    told = base.environment(valkey.url(str(folder)), None, server.settings.queue, server.settings.longest_s)
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        "taskdemo_server.engines.celery.engine:celery",
        "inspect",
        "--json",
    ]
    for question, answer in (("ping", {"ok": "pong"}), ("registered", ["taskdemo_server.engines.celery.page.work"])):
        done = subprocess.run(
            [*command, question], env={**os.environ, **told}, capture_output=True, text=True, timeout=30, check=True
        )
        [(node, said)] = json.loads(done.stdout).items()
        assert node.endswith(f"@{socket.gethostname()}")
        assert said == answer


def test_the_private_worker_is_celerys_own_command(start_server: Start) -> None:
    server = start_server(mode="celery")
    words = private(server.process.pid, "taskdemo_server.worker").cmdline()
    assert words[1:7] == ["-P", "-m", "celery", "-A", "taskdemo_server.engines.celery.engine:celery", "worker"]


# --- what cannot be used ----------------------------------------------------------------------------------------------


def refusal(program: str, broker: str, tmp_path: Path, **work: Any) -> str:
    """Start a server or a worker with this broker; return the one sentence with which it ends."""
    if program == "server":
        settings = Settings(mode="celery", journal=str(tmp_path / "j"), port=0, lifeline=False, broker=broker).to_json()
        command = ["-m", "taskdemo_server.serve", settings]
    else:
        told = WorkerSettings(engine="celery", broker=broker, work=WorkSettings(mode="celery", **work))
        command = ["-m", "taskdemo_server.worker", told.to_json()]
    began = time.monotonic()
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=20, check=False)
    assert time.monotonic() - began < 8  # two seconds, and imports on a busy machine
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (REFUSED, "", 1), done.stderr
    assert done.stderr.startswith("taskdemo: ")
    return done.stderr


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
