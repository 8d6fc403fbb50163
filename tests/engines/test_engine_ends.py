"""How a server ends, and what becomes of its tasks: whatever dies first, nothing is left of its broker and worker."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from conftest import RunningServer, gone, serving, until
from engines.stage import (
    EACH_BROKER,
    EVERY_ENGINE,
    all_of,
    ask,
    each,
    nothing_is_left,
    of,
    own_broker,
    private,
    with_engine,
)
from taskdemo_server.contract.modes import Mode

Start = Callable[..., RunningServer]
WORKER, BROKER = "taskdemo_server.worker", "taskdemo_server.engines."
OWN_WORK = """
import time

def work(message):
    time.sleep(30 if message == "long" else 0)
"""


@dataclass
class Bereaved:
    """A server whose private worker was killed while it did a task."""

    server: RunningServer
    task: str
    dead: psutil.Process


@pytest.fixture(scope="module")
def bereaved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Bereaved]]:
    """One of each engine: some take long to begin the task again, and do so beside each other."""
    folder = tmp_path_factory.mktemp("bereaved")
    with ExitStack() as stack:

        def bereave(mode: Mode) -> Bereaved:
            server = stack.enter_context(serving(folder / mode.name, mode=mode.name, duration=0.8, processes=1))
            worker = private(server.process.pid, WORKER)
            task = ask(server)
            [runs] = until(lambda: [event for event in server.events() if event.state == "started"])
            if sys.platform == "linux":  # elsewhere its guard cannot end what is stopped
                os.kill(runs.pid, signal.SIGSTOP)  # so that it does not end before
            family = all_of(worker)
            worker.kill()
            until(lambda: gone(family))
            return Bereaved(server, task, worker)

        yield each(bereave)


@pytest.mark.parametrize("mode", EVERY_ENGINE)
def test_a_private_worker_that_is_killed_is_replaced_and_a_server_that_is_told_to_end_finishes_its_tasks(
    mode: Mode, bereaved: dict[str, Bereaved]
) -> None:
    server, task = bereaved[mode.name].server, bereaved[mode.name].task
    server.ended(1)
    # Some engines begin the task of a dead process not again, or not soon.
    again = ["lost"] if "survive_worker_kill" in mode.gives_up else ["started", "finished"]
    assert server.states(task) == ["accepted", "started", *again]
    assert len({event.pid for event in server.events() if event.state == "started"}) == again.count("started") + 1
    said = server.complained
    assert said.startswith(f"The private {mode.name} worker died (")
    assert said.endswith("); another takes its place.\n")
    assert said.count("\n") == 1
    assert private(server.process.pid, WORKER).pid != bereaved[mode.name].dead.pid

    tasks = {message: ask(server, message=message) for message in ("the first", "the second")}
    until(server.running)
    processes, folder = server.family(), own_broker(server)
    server.signal(signal.SIGINT)
    assert server.wait() == 130
    for message, task_id in tasks.items():
        assert server.states(task_id) == ["accepted", "started", "finished"]
        assert server.printed.count(f"Background Task called! {message}\n") == 1
    assert "still running; finishing" in server.printed
    assert "nothing is lost" in server.printed
    assert server.complained == said
    nothing_is_left(processes, folder)


@pytest.mark.parametrize("mode", EVERY_ENGINE)
def test_a_running_and_a_waiting_task_are_cancelled_where_the_engine_can_and_a_second_ctrl_c_abandons_the_others(
    mode: Mode, start_server: Start
) -> None:
    server = start_server(mode=mode.name, duration=600, processes=1)
    running = ask(server)
    until(server.running)
    waiting = ask(server)
    if "cancel" in mode.gives_up:
        refused = server.client.delete(f"/tasks/{running}")
        assert (refused.status_code, refused.json()["detail"]) == (409, mode.cannot_cancel)
        left = {running, waiting}
    else:
        for task_id in (waiting, running):
            assert server.client.delete(f"/tasks/{task_id}").status_code == 200
        server.ended(2)
        assert server.states(running) == ["accepted", "started", "cancelled"]
        assert server.states(waiting) == ["accepted", "cancelled"]
        again = server.client.delete(f"/tasks/{running}")
        assert (again.status_code, again.json()["detail"]) == (409, "The task has ended: it is cancelled.")
        left = {ask(server), ask(server)}
        until(lambda: len(server.running() & left) == 1)

    processes, folder = server.family(), own_broker(server)
    server.signal(signal.SIGINT)
    until(lambda: "2 tasks are still running; finishing them. Ctrl-C again abandons them." in server.printed)
    server.signal(signal.SIGINT)
    assert server.wait(20) == 130
    assert {event.id for event in server.events() if event.state == "lost"} == left
    assert "Ctrl-C again: 2 tasks are abandoned." in server.printed
    assert server.complained == ""
    nothing_is_left(processes, folder)


@pytest.mark.parametrize("mode", with_engine(lambda one: one in EACH_BROKER.values() and one.private_broker != "file"))
@pytest.mark.parametrize("meanwhile", ["it serves", "it finishes its tasks"])
def test_a_server_whose_private_broker_dies_ends_and_its_tasks_are_lost(
    mode: Mode, meanwhile: str, start_server: Start
) -> None:
    server = start_server(mode=mode.name, duration=600, processes=1)
    tasks = {ask(server), ask(server)}
    until(server.running)
    processes, folder = server.family(), own_broker(server)
    if meanwhile == "it finishes its tasks":
        server.signal(signal.SIGTERM)
        until(lambda: "still running" in server.printed)
    private(server.process.pid, BROKER).kill()
    assert server.wait() == 1
    assert {event.id for event in server.events() if event.state == "lost"} == tasks
    said = "The private broker died, and with it what it kept: the server ends, and its tasks are lost.\n"
    assert server.complained == said
    nothing_is_left(processes, folder)


@pytest.mark.parametrize("mode", with_engine(lambda one: one in EACH_BROKER.values()))
def test_server_processes_share_one_worker_and_one_journal_and_nothing_is_left_of_them_once_killed(
    mode: Mode, start_server: Start, tmp_path: Path
) -> None:
    (tmp_path / "mine.py").write_text(OWN_WORK)
    server = start_server(mode=mode.name, work="mine:work", folder=str(tmp_path), workers=2, processes=1)
    with server.another() as other:
        assert {client.get("/").status_code for client in (server.client, other)} == {200}
        pids = {client.get("/health").json()["pid"] for client in (server.client, other)}
    server.ended(2)
    assert {event.pid for event in server.events() if event.state == "accepted"} == pids
    assert sorted(server.states()) == sorted(2 * ["accepted", "started", "finished"])
    until(lambda: server.printed.count("Background Task called!") == 2)
    ask(server, message="long")
    until(server.running)
    processes, folder = server.family(), own_broker(server)
    assert of(mode).private_broker == "file" or any(BROKER in " ".join(one.cmdline()) for one in processes)
    assert folder.is_dir()
    server.process.kill()
    nothing_is_left(processes, folder)
