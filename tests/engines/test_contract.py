"""What every engine of the registry promises of tasks: one suite over all, each with a broker and worker of its own."""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import psutil
import pytest

from conftest import RunningServer, gone, serving, until
from engines.stage import EVERY_ENGINE, Stage, all_of, ask, of, own_broker, private
from taskdemo_server.contract.modes import Mode

pytestmark = pytest.mark.parametrize("mode", EVERY_ENGINE, scope="module")


OWN_WORK = """
import pathlib, sys, threading, time

class Two(Exception):
    def __init__(self, url, status):
        super().__init__(f"{url}: {status}")

def work(message):
    print("trying", message)
    while message.startswith("hello") and not pathlib.Path(__file__).with_name("go").exists():
        time.sleep(0.05)
    time.sleep(0.3)
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
    "bad": "ValueError: no good",
    "exits": "SystemExit: config missing",
    "interrupts": "KeyboardInterrupt",
    "cannot be pickled": "ValueError: ('a lock', ",
    "cannot be unpickled": "Two: http://example.test/: 404",
}


@pytest.fixture(scope="module")
def server(mode: Mode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server for all the tests, which leave it as it was."""
    folder = tmp_path_factory.mktemp(mode.name)
    (folder / "mine.py").write_text(OWN_WORK)
    with serving(folder / "server", mode=mode.name, work="mine:work", folder=str(folder)) as server:
        yield server


def test_a_task_is_answered_at_once_and_done_by_a_worker(mode: Mode, server: RunningServer) -> None:
    began = time.monotonic()
    answer = server.get(params={"message": "hello \x1b[31m world"})
    assert answer.json() == {"message": "Hello World!"}
    task_id = answer.headers["X-Task-ID"]
    until(lambda: task_id in server.running())
    family = {one.pid for one in all_of(private(server.process.pid, "taskdemo_server.worker"))}
    (server.folder.parent / "go").touch()
    until(lambda: len(server.states(task_id)) > 2)
    accepted, started, finished = (event for event in server.events() if event.id == task_id)
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
    ask(server, message="the next one")
    for said in ("hello \\x1b[31m world", "the next one"):
        until(lambda said=said: f"Background Task called! {said}\n" in server.printed)  # type: ignore[misc]
        assert server.printed.count(f"Background Task called! {said}") == 1
    assert server.complained == ""
    shown = server.get(f"/tasks/{task_id}").json()
    assert (shown["state"], shown["message"], shown["cpu_s"]) == ("finished", started.message, finished.cpu_s)


def test_what_the_page_refuses_is_no_task(mode: Mode, server: RunningServer) -> None:
    before = server.states().count("accepted")
    refused = server.get(params={"message": "x" * 4097})
    assert refused.status_code == 422
    assert "X-Task-ID" not in refused.headers
    assert server.states().count("accepted") == before


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


def test_whatever_the_work_raises_fails_its_own_task_with_the_text_and_its_worker_goes_on(
    mode: Mode, server: RunningServer
) -> None:
    tasks = {ask(server, message=message): message for message in RAISED}
    well = ask(server, message="good")
    until(lambda: "finished" in server.states(well) and all("failed" in server.states(task) for task in tasks))
    ends = {event.id: event for event in server.events() if event.state in {"failed", "finished"}}
    for task_id, message in tasks.items():
        assert server.states(task_id)[:3] == ["accepted", "started", "failed"]
        assert str(ends[task_id].error).startswith(RAISED[message])
        assert ends[task_id].output == f"trying {message}"
        assert ends[task_id].cpu_s is not None
    assert server.states(well) == ["accepted", "started", "finished"]
    assert (ends[well].error, ends[well].output) == (None, "trying good")
    bad = next(task_id for task_id, message in tasks.items() if message == "bad")
    for said in (
        f"task {bad[:8]} | trying bad\nBackground Task failed! bad: ValueError: no good",
        f"task {well[:8]} | trying good\nBackground Task called! good",
    ):
        until(lambda said=said: said in server.printed)  # type: ignore[misc]
    assert server.complained == ""


def test_nobody_is_left_of_a_worker_started_by_hand_whose_main_process_is_killed(
    mode: Mode, server: RunningServer, stage: Stage
) -> None:
    stage.broker = server.get("/health").json()["broker"]
    worker = stage.worker(mode, by_hand=True, processes=2)
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
