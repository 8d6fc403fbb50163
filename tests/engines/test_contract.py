"""What every engine of the registry promises of tasks: one suite over all, each with a broker and worker of its own."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import psutil
import pytest

from engines.stage import EVERY_ENGINE, all_of, ask, each, of, own_broker, private
from parts import THERE
from servers import RunningServer, own_work, serving
from taskdemo_server.contract.events import ENDED
from taskdemo_server.contract.modes import Mode
from taskdemo_server.engines.children import MOST_DEATHS
from waiting import until

one_after_another = pytest.mark.parametrize("mode", EVERY_ENGINE, scope="module")
"""All of one engine before those of the next: the longer a worker has been idle, the later it looks."""
OWN_WORK = """
import os, pathlib, sys, threading, time

class Two(Exception):
    def __init__(self, url, status):
        super().__init__(f"{url}: {status}")

def work(message):
    print("trying", message)
    if message.startswith("hello"):
        while not pathlib.Path(__file__).with_name("go").exists():
            time.sleep(0.05)
        time.sleep(0.3)
    if message == "bad":
        raise ValueError("no good")
    if message == "exits":
        sys.exit("config missing")
    if message == "dies":
        os._exit(1)
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
PATIENCE_S = 150.0
"""Taskiq alone waits 30 s for somebody who begins a dead process's task again. Dramatiq was seen to take 81 s when it
gave it on after 5 s, not 10."""
ON_THEIR_WAY = 5
"""So often such a task may be begun while a busy machine sees that the bound is reached: Celery does so at once."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RunningServer]]:
    """A server with each engine, for all the tests."""
    folders = {mode.name: tmp_path_factory.mktemp(mode.name) for mode in THERE}  # which is not for several threads
    with ExitStack() as stack:

        def start(mode: Mode) -> RunningServer:
            folder = folders[mode.name]
            return stack.enter_context(serving(folder / "server", mode=mode.name, **own_work(folder, OWN_WORK)))

        yield each(start)


@pytest.fixture
def server(mode: Mode, servers: dict[str, RunningServer]) -> RunningServer:
    return servers[mode.name]


@pytest.fixture(scope="module")
def dying(servers: dict[str, RunningServer]) -> dict[str, tuple[str, str]]:
    """Tasks of each server that exit, or kill their process, which may already have fetched whatever comes next."""
    return {name: (ask(one, message="exits"), ask(one, message="dies")) for name, one in servers.items()}


@one_after_another
def test_a_task_is_answered_at_once_and_done_by_a_worker(mode: Mode, server: RunningServer) -> None:
    began = time.monotonic()
    answer = server.get(params={"message": "hello \x1b[31m world"})
    assert answer.json() == {"message": "Hello World!"}
    task_id = answer.headers["X-Task-ID"]
    until(lambda: task_id in server.running())
    family = {one.pid for one in all_of(private(server))}
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
    assert server.printed.startswith(f"Starting {mode.name}'s broker and worker, which takes some seconds.\n")
    shown = server.get(f"/tasks/{task_id}").json()
    assert (shown["state"], shown["message"], shown["cpu_s"]) == ("finished", started.message, finished.cpu_s)


@one_after_another
def test_what_the_page_refuses_is_no_task(mode: Mode, server: RunningServer) -> None:
    before = server.states().count("accepted")
    refused = server.get(params={"message": "x" * 4097})
    assert refused.status_code == 422
    assert "X-Task-ID" not in refused.headers
    assert server.states().count("accepted") == before


@one_after_another
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


@one_after_another
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


@pytest.mark.timeout(400)
@pytest.mark.parametrize("mode", EVERY_ENGINE)
def test_a_task_that_kills_its_process_is_begun_a_bounded_number_of_times_and_then_given_up(
    mode: Mode, server: RunningServer, dying: dict[str, tuple[str, str]]
) -> None:
    exited, died = dying[mode.name]
    until(lambda: ENDED & set(server.states(died)), PATIENCE_S)
    assert server.states(died).count("started") <= MOST_DEATHS + ON_THEIR_WAY
    shown = server.get(f"/tasks/{died}").json()
    assert (shown["state"] in {"lost", "failed"}, bool(shown["error"])) == (True, True), server.states(died)
    # Where a worker takes that for a death, it is begun again, and for a moment it has not failed.
    until(lambda: server.get(f"/tasks/{exited}").json()["error"] == RAISED["exits"], PATIENCE_S)
    following = until(lambda: server.get(params={"message": "well"}).headers.get("X-Task-ID"), PATIENCE_S)
    assert following is not None
    try:
        until(lambda: server.states(following)[-1:] == ["finished"], PATIENCE_S)
    except pytest.fail.Exception:
        pytest.fail(f"it was {server.states(following)}, beside {server.states(died)}; {server.complained}")
    assert server.get(f"/tasks/{died}").json()["state"] == shown["state"]
    for one in (died, exited):  # what exits is begun again where a worker takes that for a death
        assert server.states(one).count("started") <= MOST_DEATHS + ON_THEIR_WAY
