"""What can be seen of each mode from outside, on a real server: who waits, where the work runs, what is printed."""

import os
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

import taskdemo_server
from pasted import served
from servers import RunningServer, Start, own_work, serving
from taskdemo_cli import stats
from taskdemo_server.contract.modes import MODE_BY_NAME, MODES
from waiting import until

MESSAGE_LIMIT = 4096
BUILT_IN = [mode.name for mode in MODES if mode.engine is None]
OWN_WORK = """
import sys, time

def work(message):
    print("building", message)
    print("\\x1b[31mred\\x1b[0m", file=sys.stderr)
    if message == "nothing":
        raise LookupError(f"no report \\x1b[1m {message}")
    time.sleep(0.6)
"""


def most_at_once(server: RunningServer) -> int:
    """How many works ran at the same time, when most did."""
    starts, ends = ([one.clock for one in server.events() if one.state == state] for state in ("started", "finished"))
    return stats.most_at_once(starts, ends)


@pytest.fixture(scope="module", params=BUILT_IN)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server of each mode, with work that prints."""
    folder = tmp_path_factory.mktemp("mode")
    with serving(folder / "server", mode=request.param, **own_work(folder, OWN_WORK)) as server:
        yield server


def test_a_mode_greets_before_or_after_the_work_and_journals_it_under_the_id_in_the_header(
    server: RunningServer,
) -> None:
    mode = MODE_BY_NAME[server.settings.mode]
    answer = server.get(params={"message": "hello \x1b[31m world"})
    answered = time.monotonic()
    assert answer.json() == {"message": "Hello World!"}
    task_id = answer.headers["X-Task-ID"]
    server.ended(1)
    accepted, started, finished = events = server.events()
    assert [(e.id, e.state, e.mode) for e in events] == [
        (task_id, state, mode.name) for state in ("accepted", "started", "finished")
    ]
    assert started.message == "hello \x1b[31m world"
    assert finished.output == "building hello \x1b[31m world\n\x1b[31mred\x1b[0m"
    assert 0.6 <= finished.clock - started.clock < 5
    assert (answered < finished.clock) == mode.answers_first
    assert finished.cpu_s is not None
    assert finished.cpu_s < 0.1  # It has slept.
    assert accepted.pid == server.process.pid
    assert (started.pid == server.process.pid) == (mode.name != "process")
    # Where the page awaits, an ordinary function blocks the event loop.
    assert ("event loop" in started.thread) == (mode.runs == "loop")
    assert (finished.pid, finished.thread) == (started.pid, started.thread)
    shown = [f"task {task_id[:8]} | {text}\n" for text in ("building hello \\x1b[31m world", "\\x1b[31mred\\x1b[0m")]
    until(lambda: "".join([*shown, "Background Task called! hello \\x1b[31m world\n"]) in server.printed)
    assert server.printed.count("Background Task called!") == 1
    for said in (f"mode {mode.name}", server.url, f"taskdemo fire --count 5 --port {server.port}"):
        assert said in server.printed
    assert server.complained == ""


def test_work_that_raises_fails_its_request_where_that_waits_and_is_told_in_one_line(server: RunningServer) -> None:
    answer = server.get(params={"message": "nothing"})
    assert answer.status_code == (200 if MODE_BY_NAME[server.settings.mode].answers_first else 500)
    failed = until(lambda: next((event for event in server.events() if event.state == "failed"), None))
    assert failed is not None
    assert server.states(failed.id) == ["accepted", "started", "failed"]
    assert failed.output == "building nothing\n\x1b[31mred\x1b[0m"
    assert failed.error == "LookupError: no report \x1b[1m nothing"
    until(lambda: "Background Task failed! nothing: LookupError: no report \\x1b[1m nothing\n" in server.printed)
    complaints = server.complained.splitlines()
    assert len(complaints) <= 1  # In one line where it is a request's failure, too.
    assert all(one.endswith("LookupError: no report \\x1b[1m nothing (mine.py:8)") for one in complaints)


def test_changing_the_greeting_in_a_page_changes_what_is_answered(
    start_server: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "taskdemo_server"
    shutil.copytree(Path(taskdemo_server.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    page = copy / "modes/background.py"
    page.write_text(page.read_text().replace("Hello World!", "Moin!"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    server = start_server(anew=True, mode="background", duration=0)
    answer = server.get()
    assert answer.json() == {"message": "Moin!"}
    assert answer.headers["X-Task-ID"] == server.ended(1)[0].id


@pytest.mark.parametrize("mode", BUILT_IN)
def test_a_page_is_served_by_uvicorn_without_taskdemo(tmp_path: Path, mode: str) -> None:
    printed = tmp_path / "printed"
    with printed.open("wb") as out, served(tmp_path, f"{MODE_BY_NAME[mode].page}:app", stdout=out) as url:
        answer = httpx.get(url, timeout=60, trust_env=False)
        assert answer.json() == {"message": "Hello World!"}
        assert "X-Task-ID" not in answer.headers
        too_long = {"message": "x" * (MESSAGE_LIMIT + 1)}
        assert httpx.get(url, params=too_long, timeout=60, trust_env=False).status_code == 422
        until(lambda: "Background Task called! Hello\n" in printed.read_text())


@pytest.mark.parametrize("mode", ["threadpool", "background"])
def test_with_all_threads_busy_the_next_task_waits_and_is_seen_waiting(
    start_server: Start, held: dict[str, str], tmp_path: Path, mode: str
) -> None:
    server = start_server(mode=mode, threads=2, **held)
    with ThreadPoolExecutor(1) as pool:
        burst = pool.submit(server.burst, 3)
        until(lambda: server.states().count("started") == 2)
        until(lambda: server.states().count("accepted") == 3)
        assert sorted(task["state"] for task in server.get("/tasks").json()) == ["accepted", "started", "started"]
        (tmp_path / "go").touch()
        burst.result()
    server.ended(3)
    assert most_at_once(server) == 2


def test_tasks_in_all_threads_hold_up_the_sync_bystander_and_not_the_async_one(
    start_server: Start, held: dict[str, str], tmp_path: Path
) -> None:
    server = start_server(mode="background", threads=1, **held)
    server.get()
    until(server.running)
    server.get("/ping").raise_for_status()
    with pytest.raises(httpx.TimeoutException):
        server.get("/ping/sync", timeout=0.3)
    (tmp_path / "go").touch()
    server.get("/ping/sync").raise_for_status()


@pytest.mark.parametrize("mode", ["threadpool", "process"])
def test_what_computes_is_told_by_its_cpu_seconds_wherever_it_runs(start_server: Start, mode: str) -> None:
    server = start_server(mode=mode, work="cpu", duration=0.3)
    server.get()
    [end] = server.ended(1)
    assert end.cpu_s is not None
    assert 0.3 <= end.cpu_s < 0.5
    task = server.get(f"/tasks/{end.id}").json()
    assert (task["cpu_s"], task["queued_s"]) == (end.cpu_s, end.queued_s)
    if sys.platform == "linux":  # on a busy machine it waits for a processor, and for nothing else
        assert end.queued_s is not None
        assert end.cpu_s + end.queued_s >= 0.5 * (task["ended_at"] - task["started_at"])  # a host may take the rest


def test_cpu_work_on_the_loop_holds_up_the_bystander(start_server: Start) -> None:
    server = start_server(mode="background-async", work="cpu", duration=0.5)
    server.get()
    until(lambda: "started" in server.states())
    server.get("/ping")
    assert not server.running()


def test_process_starts_processes_with_the_first_tasks_and_runs_work_in_each(
    start_server: Start, held: dict[str, str], tmp_path: Path
) -> None:
    server = start_server(mode="process", **held)
    before = {process.pid for process in server.family()}
    count = min(2, os.cpu_count() or 1)
    server.burst(count)
    until(lambda: len(server.running()) == count)
    (tmp_path / "go").touch()
    server.ended(count)
    pids = {event.pid for event in server.events() if event.state == "finished"}
    assert pids <= {process.pid for process in server.family()} - before
    assert len(pids) == most_at_once(server) == count


def test_only_a_task_has_an_id(start_server: Start) -> None:
    server = start_server(mode="threadpool", duration=0)
    others = ["/ping", "/ping/sync", "/health", "/tasks", "/docs", "/openapi.json"]
    for path in [*others, "/redoc", "/nothing", "/tasks/none", "/?message=" + "x" * (MESSAGE_LIMIT + 1)]:
        answer = server.get(path)
        assert answer.status_code == (200 if path in others else 422 if "?" in path else 404)
        assert "X-Task-ID" not in answer.headers
    assert server.client.post("/").status_code == 405
    assert server.states() == []
    task_id = server.get().headers["X-Task-ID"]
    assert {event.id for event in server.events()} == {task_id}


def test_a_caller_that_hangs_up_leaves_the_journal_right(start_server: Start) -> None:
    server = start_server(mode="blocking", duration=0.4)
    with pytest.raises(httpx.ReadTimeout):
        server.get(timeout=0.1)
    server.ended(1)
    assert server.states() == ["accepted", "started", "finished"]
    assert server.get("/ping").status_code == 200
    assert server.complained == ""
