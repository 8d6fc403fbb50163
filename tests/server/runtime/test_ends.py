"""How a server ends: it drains when told, abandons when told twice, and whatever happens leaves nobody behind."""

import os
import signal
import socket
import threading
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from servers import RunningServer, Start, call, own_work, refusal, serving
from taskdemo_server.contract.events import Place
from taskdemo_server.contract.settings import Settings
from taskdemo_server.journal.file import Journal
from taskdemo_server.journal.index import Index
from taskdemo_server.runtime import orphans
from taskdemo_server.runtime.supervisor import Supervisor
from waiting import gone, until

EVERY_WAY = [("blocking", 1), ("process", 1), ("background", 2)]


def ask(server: RunningServer, count: int) -> list[threading.Thread]:
    """Send requests at whose answers nobody looks; return when all tasks are accepted, or one blocks."""
    threads = call(server.url, count)
    expected = 1 if server.settings.mode == "blocking" else count
    until(lambda: server.states().count("accepted") >= expected and server.running())
    return threads


@pytest.mark.parametrize(("mode", "workers"), EVERY_WAY)
def test_ctrl_c_finishes_what_runs_and_says_so(
    start_server: Start, held: dict[str, str], tmp_path: Path, mode: str, workers: int
) -> None:
    server = start_server(mode=mode, workers=workers, **held)
    family = server.family()
    threads = ask(server, 2 if mode == "blocking" else 3)
    count = len(server.running())
    server.signal(signal.SIGINT)
    until(lambda: "still running; finishing" in server.printed)
    (tmp_path / "go").touch()
    assert server.wait() == 130
    until(lambda: gone(family))
    states = server.states()
    assert states.count("accepted") == states.count("finished") >= count
    assert "Ctrl-C: " in server.printed
    assert "Ctrl-C again abandons" in server.printed
    assert "nothing is lost" in server.printed
    assert server.complained == ""
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(("mode", "workers"), EVERY_WAY)
def test_a_second_ctrl_c_abandons_at_once_and_the_journal_has_them_as_lost(
    start_server: Start, mode: str, workers: int
) -> None:
    server = start_server(mode=mode, workers=workers, duration=600)
    family = server.family()
    threads = ask(server, 2)
    server.signal(signal.SIGINT)
    until(lambda: "Ctrl-C again abandons" in server.printed)
    server.signal(signal.SIGINT)
    assert server.wait(20) == 130
    until(lambda: gone(family))
    lost = {event.id: event.error for event in server.events() if event.state == "lost"}
    assert lost
    assert set(lost) == {event.id for event in server.events() if event.state == "accepted"}
    assert set(lost.values()) == {"Abandoned by a second Ctrl-C."}
    tasks = "1 task is" if len(lost) == 1 else f"{len(lost)} tasks are"
    assert f"Ctrl-C again: {tasks} abandoned and lost: only this server knew of" in server.printed
    assert server.complained == ""
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_other_signals_drain_too_accept_no_more_and_exit_with_0(
    start_server: Start, held: dict[str, str], tmp_path: Path, name: str
) -> None:
    server = start_server(**held)
    server.get()
    until(server.running)
    server.signal(getattr(signal, name))
    until(lambda: "still running" in server.printed)

    def refused() -> bool:
        try:
            socket.create_connection(("127.0.0.1", server.port), timeout=1).close()
        except ConnectionRefusedError:
            return True
        return False

    until(refused)
    (tmp_path / "go").touch()
    assert server.wait() == 0
    assert server.states() == ["accepted", "started", "finished"]
    assert f"{name}: 1 task is still running; finishing it. {name} again abandons it." in server.printed


@pytest.mark.parametrize(("mode", "workers"), [("background", 1), ("process", 2)])
@pytest.mark.parametrize("how", ["killed", "lifeline"])
def test_nobody_survives_the_server(start_server: Start, mode: str, workers: int, how: str) -> None:
    server = start_server(mode=mode, workers=workers, work="cpu", duration=600)
    family = server.family()
    ask(server, 1)
    if how == "killed":
        server.signal(signal.SIGKILL)
    else:
        server.process.communicate()  # which closes its standard input
    server.wait(20)
    until(lambda: gone(family))


def test_a_killed_server_process_is_replaced_and_its_tasks_are_lost(start_server: Start, tmp_path: Path) -> None:
    leaves = f"sleep 600 & touch {tmp_path}/left"
    work = f"import os, time\n\n\ndef work(message):\n    os.system({leaves!r})\n    time.sleep(30)\n"
    server = start_server(workers=2, **own_work(tmp_path, work))
    task_id = server.get().headers["X-Task-ID"]
    until((tmp_path / "left").exists)
    pid = server.events()[0].pid
    os.kill(pid, signal.SIGKILL)
    until(lambda: "lost" in server.states(task_id))
    assert f"Server process {pid} died; another takes its place." in server.complained

    with server.another() as other:
        both = server.client, other
        assert len({client.get("/health").json()["pid"] for client in both} - {pid, server.process.pid}) == 2
        for client in both:
            assert [(task["id"], task["state"]) for task in client.get("/tasks").json()] == [(task_id, "lost")]


def test_tasks_that_die_while_a_server_finishes_them_are_lost_and_told_as_lost(start_server: Start) -> None:
    server = start_server(workers=2, duration=30)
    server.get()
    until(server.running)
    server.signal(signal.SIGINT)
    until(lambda: "still running" in server.printed)
    os.kill(server.events()[-1].pid, signal.SIGKILL)
    assert server.wait() == 130
    assert server.states() == ["accepted", "started", "lost"]
    assert server.printed.endswith("\nIt is lost.\n")


def test_an_exception_that_no_other_process_can_have_fails_its_own_task_alone(
    start_server: Start, tmp_path: Path
) -> None:
    work = own_work(
        tmp_path,
        "class NotFound(Exception):\n"
        "    def __init__(self, url, status): super().__init__(f'{url}: {status}')\n"
        "def work(message):\n"
        "    if message == '3': raise NotFound('http://example.test/', 404)\n",
    )
    server = start_server(mode="process", **work)
    for n in range(1, 9):
        assert server.get(f"/?message={n}").status_code == 200
    ends = server.ended(8)
    assert sorted(end.state for end in ends) == ["failed"] + ["finished"] * 7
    assert [end.error for end in ends if end.state == "failed"] == ["NotFound: http://example.test/: 404"]
    assert "which cannot be unpickled and would break a ProcessPoolExecutor" in server.complained


def test_a_killed_pool_process_breaks_the_pool_and_the_ends_that_came_are_kept(start_server: Start) -> None:
    server = start_server(mode="process", duration=0)
    done = server.get().headers["X-Task-ID"]
    server.ended(1)
    [pid] = {event.pid for event in server.events() if event.state == "started"}
    psutil.Process(pid).suspend()  # Busy, or so it seems, until it is killed.
    ids = {server.get().headers["X-Task-ID"] for _ in range((os.cpu_count() or 1) + 3)}
    os.kill(pid, signal.SIGKILL)
    server.ended(1 + len(ids))
    lost = {event.id: event.error for event in server.events() if event.state == "lost"}
    lost.pop(done, None)  # its process may have told the journal of its end, and not yet the pool
    assert lost
    assert lost.keys() <= ids
    assert all(str(why).startswith("BrokenProcessPool: ") for why in lost.values())
    assert server.get(f"/tasks/{done}").json()["state"] == "finished"
    refused = server.get()
    assert (refused.status_code, "X-Task-ID" in refused.headers) == (500, False)
    assert "BrokenProcessPool" in until(lambda: server.complained)
    assert {event.id for event in server.events()} == ids | {done}
    server.signal(signal.SIGTERM)
    assert server.wait() == 0


def test_what_a_killed_server_left_unfinished_is_lost_when_the_next_one_starts(tmp_path: Path) -> None:
    with serving(tmp_path / "server", duration=30) as server:
        task_id = server.get().headers["X-Task-ID"]
        until(server.running)
        server.signal(signal.SIGKILL)
        server.wait()
    with serving(tmp_path / "server", duration=0) as server:
        assert server.get(f"/tasks/{task_id}").json()["state"] == "lost"
        until(lambda: "An earlier server died before 1 task of this journal had ended; it is lost." in server.printed)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"host": "x" * 70}, "is not a valid host name; type --host"),
        ({"host": "192.0.2.1"}, "Cannot serve on 192.0.2.1"),
        ({"journal": "/no/journal"}, "cannot be written: No such file"),
    ],
)
def test_what_cannot_be_served_is_refused_with_one_sentence(
    start_server: Start, given: dict[str, Any], said: str
) -> None:
    assert said in refusal(start_server, **given)


def test_a_port_that_is_in_use_is_named_and_how_to_have_another(start_server: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = refusal(start_server, port=port)
    assert said.startswith(f"Cannot serve on 127.0.0.1 port {port}: it is in use. Try another --port")


def test_server_processes_end_with_one_that_cannot_announce_them(start_server: Start, tmp_path: Path) -> None:
    with pytest.raises(pytest.fail.Exception, match=r"(?s)the server ended with 1: .*No such file or directory"):
        start_server(announce=str(tmp_path / "no" / "announce"), workers=2)


def test_an_output_that_nobody_reads_or_that_is_closed_fails_no_task(tmp_path: Path) -> None:
    with serving(tmp_path / "server", piped=True, duration=0) as server:
        for _ in range(40):  # More than a pipe holds.
            server.get(params={"message": "x" * 4000})
        server.ended(40)
        assert server.process.stdout is not None
        server.process.stdout.close()
        server.get()
        server.ended(41)
        server.signal(signal.SIGTERM)
        assert server.wait() == 0
        assert server.complained == ""


def test_tasks_that_an_engine_still_has_when_the_last_server_process_ends_are_lost_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "end_group", lambda: None)  # which may be that of the tests
    with socket.create_server(("127.0.0.1", 0)) as listener:
        supervisor = Supervisor(Settings(mode="background", journal=str(tmp_path / "journal")), listener, SimpleQueue())
    supervisor._crew = SimpleNamespace(ended=lambda _: True, drain=lambda: None)  # type: ignore[assignment]  # as far as it is needed
    supervisor._children = SimpleNamespace(end=lambda: None)  # type: ignore[assignment]  # as above
    said: list[str] = []
    monkeypatch.setattr(supervisor.console, "say", said.append)
    journal = Journal(str(tmp_path / "journal"))
    for task_id in ("a", "b"):  # of a server process that died before
        journal.write(Place.here("background").event(task_id, "accepted").to_line())
    supervisor._drain(signal.SIGTERM)
    journal.write(Place.here("background").event("a", "finished").to_line())
    assert supervisor._draining("ended", 1) == 0
    assert Index(journal).ended() == 2
    assert (tmp_path / "journal").read_text().count('"lost"') == 1
    assert said[-1] == "All 2 have ended; 1 of them is lost."
