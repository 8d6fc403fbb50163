"""Bad input and trouble: one clear sentence, the documented exit code, nothing left behind, nothing measured lost."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from commands import TASKDEMO, family_of, in_process, left_in, private, running, serving, taskdemo
from servers import Start
from soak import kill_anywhere
from talks import Scripted
from taskdemo_cli import app
from taskdemo_cli.errors import UserError
from taskdemo_cli.loadgen.request_options import ParsedUrl
from taskdemo_cli.processes import signals
from taskdemo_cli.runner.target import running_target
from waiting import gone, until


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_a_signal_while_firing_keeps_what_was_measured(number: signal.Signals, tmp_path: Path) -> None:
    saved = tmp_path / "run.json"
    with running(
        "fire", "--mode", "blocking", "--count", "20", "--duration", "0.2", "--json", "--save", str(saved)
    ) as process:
        assert process.stderr is not None
        assert any("request 2:" in line for line in process.stderr)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    document = json.loads(out)
    assert document["interrupted"] is True
    assert document["summary"]["requests"]["ok"] >= 2
    assert json.loads(saved.read_text()) == document


def test_a_signal_while_a_server_does_not_say_what_it_is_ends_the_wait_at_once() -> None:
    asked = threading.Event()

    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.set()
        await reader.read()

    with Scripted(talk) as server, running("fire", "--url", server.url, "--json") as process:
        assert asked.wait(60)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=60) == ("", ""), "no request was sent"
    assert process.returncode == 130


def test_an_import_that_makes_another_error_of_a_signal_does_not_hide_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def importing(*_: object, **__: object) -> None:
        try:
            signals.interrupt(signal.SIGTERM, None)
        except signals.Stopped:  # as Python does where it just makes an ImportError
            raise TypeError("expected a message argument") from None

    monkeypatch.setattr(signals, "interrupted", [])
    monkeypatch.setattr(app, "app", importing)
    done = in_process("compare")
    assert (done.returncode, done.stderr) == (128 + signal.SIGTERM, "")


def test_a_killed_command_takes_everything_it_started_with_it() -> None:
    with running("compare", "--duration", "3", "--modes", "background,process") as process:
        until(lambda: len(family_of(process.pid)) >= 7, 60)
        family = family_of(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
        until(lambda: gone(family), 30)


def test_a_server_that_dies_while_it_is_fired_at_loses_its_tasks_and_the_report_says_so() -> None:
    with (
        serving("--duration", "300") as (server, port),
        running("fire", "--port", str(port), "--count", "3", "--json") as process,
    ):
        assert process.stderr is not None
        assert any("request 3:" in line for line in process.stderr)
        server.send_signal(signal.SIGKILL)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    document = json.loads(out)
    assert document["summary"]["tasks"]["lost"] == 3
    assert document["ended_because"]


def test_a_reader_that_leaves_early_ends_the_run_quietly_and_nothing_is_left(tmp_path: Path) -> None:
    command = "compare --modes blocking,background --count 5 --duration 0.5 --rounds 99"
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{TASKDEMO} {command} | head -n 1"],
        capture_output=True,
        text=True,
        timeout=80,
        check=False,
        env=private(tmp_path),
    )
    assert (done.returncode, done.stderr) == (141, "")
    assert left_in(tmp_path) == []
    until(lambda: not kill_anywhere.members(f"TMPDIR={tmp_path}"), 30)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize(
    ("command", "unbuffered"),
    [
        (["nonsense"], ""),
        (["nonsense"], "1"),
        (["serve", "--port", "0", "--host", "192.0.2.1"], ""),  # said by the server; that address is nobody's
        (["worker", "--broker", "redis://127.0.0.1:1/0"], ""),
    ],
)
def test_an_error_that_cannot_be_said_keeps_its_exit_code(command: list[str], unbuffered: str) -> None:
    with Path("/dev/full").open("w") as full:
        env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
        done = taskdemo(*command, anew=unbuffered == "1", env=env, stdout=full, stderr=full)
    assert done.returncode == 2


PRINTS = """
import signal, sys
from taskdemo_cli.reports.output import OutputStream
signal.signal(signal.SIGINT, lambda *_: None)
out = OutputStream(sys.stdout)
for piece in range(10):
    out.write("".join(f"{piece * 10_000 + n:08}\\n" for n in range(10_000)))
out.flush()
"""


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_what_is_printed_arrives_whole_however_often_a_signal_interrupts_it(unbuffered: str) -> None:
    arrived = b""
    env = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with subprocess.Popen([sys.executable, "-c", PRINTS], env=env, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while piece := os.read(process.stdout.fileno(), 5_000):
            arrived += piece
            if len(arrived) < 500_000:  # of 900,000: Python's own end hears signals too
                process.send_signal(signal.SIGINT)
    assert process.returncode == 0
    assert arrived == b"".join(b"%08d\n" % n for n in range(100_000))


def test_nothing_is_imported_from_the_current_folder(tmp_path: Path) -> None:
    names = ("queue", "signal", "httpx", "uvloop", "redis", "celery", "uvicorn", "fastapi", "taskdemo_server")
    for name in names:
        (tmp_path / f"{name}.py").write_text("open('imported', 'w'); raise ImportError")
    modes = ("--modes", "background,process,celery")
    done = taskdemo("compare", *modes, "--duration", "0", "--count", "2", anew=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(f"{name}.py" for name in names)


def test_a_token_that_is_wrong_or_missing_is_said(start_server: Start, capsys: pytest.CaptureFixture[str]) -> None:
    place = ParsedUrl(start_server(token="t0ken").url, "/")
    with pytest.raises(UserError, match="does not take this --token"):
        running_target(place, "other", named=False)
    assert running_target(place, "t0ken", named=False).is_followed
    assert not running_target(place, None, named=False).is_followed
    assert "needs a token: its tasks are not followed" in capsys.readouterr().err
