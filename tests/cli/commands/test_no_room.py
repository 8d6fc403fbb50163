"""Without room on the disk, open streams or file descriptors, a command saves what it can and says what it lacks."""

import json
import os
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from commands import TASKDEMO, left_in, one_sentence, serving, taskdemo
from talks import Scripted, after, stranger

WITHOUT_COVERAGE = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
"""It would have no room for its own file either, and say so."""


def test_a_full_disk_under_stdout_is_said_and_fails(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    saved = tmp_path / "run.json"
    with Path("/dev/full").open("w") as full:
        done = taskdemo("fire", "--mode=background", "--duration=0", "--json", "--save", str(saved), stdout=full)
    assert done.returncode == 1
    assert "could not be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert json.loads(saved.read_text())["summary"]["requests"]["ok"] == 1


def test_progress_for_which_there_is_no_room_keeps_no_result_from_being_written() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    line = f"{TASKDEMO} compare --modes background,threadpool --duration 0 --count 2 --json 2>/dev/full"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0
    assert json.loads(done.stdout)["kind"] == "comparison"


def test_help_for_which_there_is_no_room_is_said_and_fails_and_a_reader_may_leave() -> None:
    if Path("/dev/full").exists():
        with Path("/dev/full").open("w") as full:
            done = taskdemo("--help", stdout=full)
        assert (done.returncode, one_sentence(done.stderr)) == (1, True), done.stderr
        assert "could not be written" in done.stderr
    reading, writing = os.pipe()
    os.close(reading)
    done = taskdemo("--help", stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_closed_standard_streams_keep_nothing_from_being_saved(tmp_path: Path) -> None:
    saved = tmp_path / "run.json"
    line = f"{TASKDEMO} fire --mode background --duration 0 --count 2 --save {saved} <&- >&- 2>&-"
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    assert json.loads(saved.read_text())["summary"]["requests"]["ok"] == 2


def test_a_result_for_which_there_is_no_room_is_said_and_leaves_no_half_file(tmp_path: Path) -> None:
    saved = tmp_path / "run.json"
    page = tmp_path / "run.html"
    with serving("--duration", "0") as (_, port):
        line = f"ulimit -f 4; {TASKDEMO} fire --port {port} --count 200 --save {saved} --html {page}"
        env = {**WITHOUT_COVERAGE, "TMPDIR": str(tmp_path)}
        done = subprocess.run(["bash", "-c", line], env=env, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 1, done.stderr
    for file in (saved, page):
        assert f"{file} could not be written (File too large)" in done.stderr
    assert "Traceback" not in done.stderr
    assert left_in(tmp_path) == []


def test_a_server_whose_journal_finds_no_room_is_not_waited_for_without_end(tmp_path: Path) -> None:
    saved = tmp_path / "run.json"
    line = f"ulimit -f 1; {TASKDEMO} fire --mode background --duration 0 --count 50 --cold --json"
    with saved.open("w") as out:
        process = subprocess.run(
            # What is printed must not count: the limit is on files, and a pipe is none.
            ["bash", "-c", f"({line}) | cat"], stdout=out, stderr=subprocess.PIPE, check=False, timeout=100,
            env=WITHOUT_COVERAGE,
        )  # fmt: skip
    assert process.returncode == 0  # of cat
    run = json.loads(saved.read_text())
    assert "journal cannot be written" in run["ended_because"]
    assert run["summary"]["requests"]["ok"] == 50
    assert run["summary"]["tasks"]["lost"] == 0
    assert run["summary"]["tasks"]["accepted"] >= run["summary"]["tasks"]["unfinished"] > 0


def limited(files: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))


def test_more_connections_than_file_descriptors_are_refused_before_the_run() -> None:
    done = taskdemo("fire", "--mode", "background", "--count", "500", anew=True, preexec_fn=limited(256))
    assert (done.returncode, done.stdout, one_sentence(done.stderr)) == (2, "", True)
    assert "ulimit" in done.stderr
    assert "192" in done.stderr


def test_an_open_loop_beyond_the_file_descriptors_waits_and_says_so() -> None:
    with Scripted(stranger(after(0.3))) as server:
        arguments = ["fire", "--url", server.url, "--rate", "1000000", "--count", "200", "--json"]
        done = taskdemo(*arguments, anew=True, preexec_fn=limited(96))
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)
    counts = run["summary"]["requests"]
    assert (counts["ok"], counts["failed"], counts["errors"]) == (200, 0, {})
    assert run["late_sends"] > 0
