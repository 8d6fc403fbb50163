"""How a server ends, and what becomes of its tasks: whatever dies first, nothing is left of its broker and worker."""

import os
import signal
import sys
from pathlib import Path

import pytest

from commands import members
from engines.stage import FIRST_WITH, ask, nothing_is_left, of, own_broker, parameters, private
from servers import Start, own_work
from taskdemo_server.contract.modes import MODE_BY_NAME, Mode
from taskdemo_server.engines.base import PRIVATE
from waiting import gone, until

OWN_WORK = """
import time

def work(message):
    time.sleep(30 if message == "long" else 0)
"""


@pytest.mark.parametrize("mode", parameters([MODE_BY_NAME["dramatiq"], MODE_BY_NAME["rq"]]))
def test_a_private_worker_that_is_killed_is_replaced_and_a_server_that_is_told_to_end_finishes_its_tasks(
    mode: Mode, start_server: Start
) -> None:
    server = start_server(mode=mode.name, duration=0.8, processes=1)
    dead = private(server)
    task = ask(server)
    [runs] = until(lambda: [event for event in server.events() if event.state == "started"])
    if sys.platform == "linux":  # elsewhere its guard cannot end what is stopped
        os.kill(runs.pid, signal.SIGSTOP)  # so that it does not end before
    dead.kill()
    server.ended(1)
    # One of the two begins the task of a dead process again.
    again = ["lost"] if "survive_worker_kill" in mode.gives_up else ["started", "finished"]
    assert server.states(task) == ["accepted", "started", *again]
    assert len({event.pid for event in server.events() if event.state == "started"}) == again.count("started") + 1
    said = server.complained
    assert said.startswith(f"The private {mode.name} worker died (")
    assert said.endswith("); another takes its place.\n")
    assert said.count("\n") == 1
    assert private(server).pid != dead.pid

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


@pytest.mark.parametrize("mode", parameters([FIRST_WITH["valkey"], FIRST_WITH["postgres"]]))
def test_a_server_whose_private_broker_dies_while_it_serves_or_ends_ends_and_its_tasks_are_lost(
    mode: Mode, start_server: Start
) -> None:
    server = start_server(mode=mode.name, duration=600, processes=1)
    tasks = {ask(server), ask(server)}
    until(server.running)
    processes, folder = server.family(), own_broker(server)
    if mode is FIRST_WITH["postgres"]:
        server.signal(signal.SIGTERM)
        until(lambda: "still running" in server.printed)
    private(server, str(PRIVATE[of(mode).private_broker].module)).kill()
    assert server.wait() == 1
    assert {event.id for event in server.events() if event.state == "lost"} == tasks
    said = "The private broker died with everything in it: the server ends, and its tasks are lost.\n"
    assert server.complained == said
    nothing_is_left(processes, folder)


@pytest.mark.parametrize("mode", parameters(FIRST_WITH.values()))
def test_server_processes_share_one_worker_and_one_journal_and_nothing_is_left_of_them_once_killed(
    mode: Mode, start_server: Start, tmp_path: Path
) -> None:
    server = start_server(mode=mode.name, workers=2, processes=1, **own_work(tmp_path, OWN_WORK))
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
    broker = PRIVATE[of(mode).private_broker].module
    assert broker is None or members(server.process.pid, broker)
    assert folder.is_dir()
    server.process.kill()
    if broker is not None:
        nothing_is_left(processes, folder)
    else:  # a folder without a broker goes with that of the command, which this server has not
        until(lambda: gone(processes))
