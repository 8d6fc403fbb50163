"""However a command ends, it finishes or keeps what it should, says so, and leaves nothing of it behind."""

import contextlib
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from commands import family_of, left_in, members, one_sentence, private, running, taskdemo
from servers import call
from soak import kill_anywhere
from taskdemo_cli.documents.limits import LIMITS
from taskdemo_cli.errors import UserError
from taskdemo_cli.processes import tempdirs
from taskdemo_cli.reports import files
from taskdemo_server.contract.settings import BROKER_FOLDER, BROKER_SOCKET
from waiting import gone, until

SAMPLE = (2, 8, 10, 12, 17, 19, 20, 25)
"""Seeds of the soak run that have all commands, all endings and most modes between them, and Celery's SIGKILL."""


@pytest.mark.timeout(300)
def test_nothing_is_left_wherever_a_command_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kill_anywhere, "ENDS_WITHIN_S", 60.0)  # other tests use the machine, too
    monkeypatch.setattr(kill_anywhere, "GONE_WITHIN_S", 20.0)
    with ThreadPoolExecutor(3) as pool:
        cases = list(pool.map(lambda seed: kill_anywhere.run(kill_anywhere.make_case(seed)), SAMPLE))
    assert not [str(case) for case in cases if case.troubles]


# --- serve -------------------------------------------------------------------------------------------------


def states(journal: Path) -> list[str]:
    return [json.loads(line)["state"] for line in journal.read_text().splitlines()]


@contextlib.contextmanager
def on_a_terminal(*arguments: str) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """Run a command on a terminal of its own; yields it and the terminal, where keys are written and text is read."""
    ours, theirs = pty.openpty()
    with running(*arguments, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as process:
        os.close(theirs)
        try:
            yield process, ours
        finally:
            with contextlib.suppress(OSError):
                os.close(ours)


def read_until(terminal: int, pattern: str, within: float = 60.0) -> str:
    """Return what was written to the terminal up to this pattern."""
    text = ""
    os.set_blocking(terminal, False)

    def seen() -> bool:
        nonlocal text
        with contextlib.suppress(BlockingIOError, OSError):
            text += os.read(terminal, 65536).decode("utf-8", "replace")
        return re.search(pattern, text) is not None

    with contextlib.suppress(pytest.fail.Exception):  # what follows says what there was instead
        until(seen, within)
    assert re.search(pattern, text), text
    return text


def test_the_ctrl_c_key_drains_and_then_abandons(tmp_path: Path) -> None:
    journal = str(tmp_path / "journal")
    with on_a_terminal("serve", "--port", "0", "--duration", "300", "--journal", journal) as (process, terminal):
        port = re.search(r"--port (\d+)", read_until(terminal, r"--port \d+ "))
        assert port is not None
        call(f"http://127.0.0.1:{port[1]}", 2)
        until(lambda: states(Path(journal)).count("started") == 2, 60)
        os.write(terminal, b"\x03")
        read_until(terminal, "2 tasks are still running")
        os.write(terminal, b"\x03")
        read_until(terminal, "2 tasks are abandoned")
        assert process.wait(30) == 130
    assert states(Path(journal)).count("lost") == 2


def test_a_closed_terminal_is_not_served_on(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    with on_a_terminal("serve", "--port", "0", "--duration", "300", "--journal", str(journal)) as (process, terminal):
        port = re.search(r"--port (\d+)", read_until(terminal, r"--port \d+ "))
        assert port is not None
        call(f"http://127.0.0.1:{port[1]}", 1)
        until(lambda: states(journal) == ["accepted", "started"], 60)
        family = family_of(process.pid)
        os.close(terminal)
        assert process.wait(30) == 1  # for the task that is lost
        until(lambda: gone(family), 30)
    assert states(journal) == ["accepted", "started", "lost"]


def test_a_hang_up_that_is_ignored_ends_nothing() -> None:
    as_nohup_does = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731
    with running("serve", "--port", "0", anew=True, preexec_fn=as_nohup_does) as process:
        assert process.stdout is not None
        assert any("http://" in line for line in process.stdout)
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130


def test_a_server_that_cannot_start_says_why_in_one_sentence(tmp_path: Path) -> None:
    done = taskdemo("serve", "--port", "0", "--work", "no_such_module:function", env=private(tmp_path))
    assert (done.returncode, one_sentence(done.stderr)) == (2, True), done.stderr
    assert "no_such_module" in done.stderr
    assert left_in(tmp_path) == []


# --- what was measured is kept -----------------------------------------------------------------------------


def test_ctrl_c_during_a_comparison_keeps_the_modes_that_were_run(tmp_path: Path) -> None:
    saved = tmp_path / "all.json"
    with running("compare", "--modes", "background,blocking", "--duration", "0.3", "--save", str(saved)) as process:
        assert process.stdout is not None
        until(saved.exists, 60)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    kept = json.loads(saved.read_text())
    assert kept["runs"][0]["mode"] == "background"
    assert kept["runs"][0]["summary"]["tasks"]["finished"] == 5
    assert "background" in out
    assert "Traceback" not in err


def test_ctrl_c_during_the_experiments_keeps_the_cells_so_far(tmp_path: Path) -> None:
    saved, page = tmp_path / "limits.json", tmp_path / "limits.html"
    arguments = ("--modes", "background", "--json", "--save", str(saved), "--html", str(page))
    with running("limits", *arguments) as process:
        assert process.stderr is not None
        assert any(re.search(r"\b(yes|no|partly)\b", line) for line in process.stderr)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    document = json.loads(out)
    assert document["interrupted"] is True
    assert 1 <= len(document["modes"]["background"]) < len(LIMITS)
    assert document["failed"] == []
    assert document["command"].startswith("taskdemo limits --modes background")
    assert json.loads(saved.read_text()) == document
    assert f"{document['started_at'][11:16]} UTC" in page.read_text()
    assert "Traceback" not in err


def test_ctrl_c_while_the_result_is_printed_keeps_it_whole(tmp_path: Path) -> None:
    saved = tmp_path / "run.json"
    arguments = ["fire", "--mode", "background", "--count", "400", "--duration", "0", "--json", "--save", str(saved)]
    with running(*arguments, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        # The pipe is full when it has begun to print and all that it started has ended.
        assert select.select([process.stdout], [], [], 60)[0]
        until(lambda: not family_of(process.pid), 60)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(out) == json.loads(saved.read_text())


def test_an_insisting_ctrl_c_ends_at_once_without_a_traceback(tmp_path: Path) -> None:
    command = ["compare", "--modes", "blocking,process", "--duration", "5"]
    with running(*command, env=private(tmp_path)) as process:
        until(lambda: len(family_of(process.pid)) >= 3, 60)
        family = family_of(process.pid)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert process.returncode == 130, err
        assert "Traceback" not in err
        until(lambda: gone(family), 30)
    assert left_in(tmp_path) == []


# --- what is left behind -----------------------------------------------------------------------------------


LEAVES_PROCESSES = """
import os, subprocess, time

def work(message):
    child = subprocess.Popen(["sleep", "300"])
    copy = os.fork() or os.execlp("sleep", "sleep", "300")
    with open("left", "a") as file:
        file.write(f"{child.pid} {copy} ")
    if "killed" in message:
        time.sleep(300)
"""


@pytest.mark.parametrize(
    ("mode", "killed"),
    [
        *((mode, "server killed") for mode in ("process", "celery")),
        ("process", "command killed"),
        ("celery", "at its end"),
    ],
)
def test_what_the_work_has_started_and_left_ends_with_the_command(mode: str, killed: str, tmp_path: Path) -> None:
    (tmp_path / "leaves.py").write_text(LEAVES_PROCESSES)
    command = ["fire", "--mode", mode, "--work", "leaves:work", "--count", "2", "--message", killed]
    with running(*command, stdout=subprocess.DEVNULL, cwd=tmp_path) as process:
        left = tmp_path / "left"
        until(lambda: left.exists() and len(left.read_text().split()) >= 4, 60)
        if killed == "command killed":
            process.kill()
        elif killed == "server killed":
            (server,) = members(process.pid, "taskdemo_server.serve")
            server.kill()
        process.wait(60)
    pids = left.read_text().split()
    found = [one for one in psutil.process_iter() if str(one.pid) in pids]
    until(lambda: gone(found), 30)


@pytest.mark.parametrize("own_session", [True, False], ids=["a session of its own", "a job of a shell"])
def test_only_a_process_with_a_session_of_its_own_ends_its_group(own_session: bool) -> None:
    code = "from taskdemo_server.runtime import orphans; orphans.end_group()"
    line = f"sleep 300 >/dev/null & echo $!; exec {sys.executable} -c '{code}'"
    options: dict[str, Any] = {"start_new_session": True} if own_session else {"process_group": 0}
    done = subprocess.run(["sh", "-c", line], stdout=subprocess.PIPE, text=True, check=True, timeout=60, **options)
    pid = int(done.stdout)

    try:
        if own_session:
            until(lambda: gone([one for one in psutil.process_iter() if one.pid == pid]), 30)
        else:
            time.sleep(0.5)
            assert not gone([psutil.Process(pid)])
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of all temporary folders, for this very process."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tempdirs.root()


def test_the_next_start_sweeps_what_the_dead_left_and_nothing_else(state: Path) -> None:
    alive = tempdirs.make()
    code = "import os; from taskdemo_cli.processes import tempdirs; tempdirs.make(); os.kill(os.getpid(), 9)"
    died = subprocess.run([sys.executable, "-c", code], env=private(state.parent), check=False)
    assert died.returncode == -signal.SIGKILL
    (state / "begun").mkdir()
    (state / "linked").symlink_to(state.parent)
    assert len(list(state.iterdir())) == 4
    tempdirs.sweep()
    assert sorted(state.iterdir()) == sorted([alive, state / "linked"])
    tempdirs.remove(alive)


def test_the_next_start_sweeps_the_private_brokers_that_died(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as place, socket.socket(socket.AF_UNIX) as answers:
        monkeypatch.setattr(tempfile, "tempdir", place)
        folders = {name: Path(place) / f"{BROKER_FOLDER}{name}" for name in ("alive", "dead", "young", "silent")}
        for folder in folders.values():
            folder.mkdir()
        with socket.socket(socket.AF_UNIX) as died:
            died.bind(str(folders["dead"] / BROKER_SOCKET))
        answers.bind(str(folders["alive"] / BROKER_SOCKET))
        answers.listen()
        for name in ("alive", "dead", "silent"):
            os.utime(folders[name], (time.time() - 100,) * 2)
        tempdirs.sweep()
        assert {name for name, folder in folders.items() if folder.exists()} == {"alive", "young"}


def test_the_next_save_removes_what_a_killed_one_was_writing(tmp_path: Path) -> None:
    half, growing, other = (tmp_path / name for name in (".r.json.0123abcd.part", ".r.json.4567abcd.part", ".x.part"))
    for file in (half, growing, other):
        file.touch()
    for file in (half, other):
        os.utime(file, (time.time() - 100,) * 2)
    files.check([tmp_path / "r.json"])
    assert sorted(tmp_path.iterdir()) == sorted([growing, other])


def test_a_temporary_folder_of_somebody_else_is_not_used(state: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can make a folder somebody else's")
    os.chown(state, 12345, 12345)
    with pytest.raises(UserError, match=r"belongs to another user.*TMPDIR"):
        tempdirs.root()
