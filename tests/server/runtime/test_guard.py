"""The guard ends all that its command has started, even what leads a group and a session of its own."""

import subprocess
import sys

import psutil
import pytest

from waiting import gone, until

GUARD = "import sys; from taskdemo_server.runtime.guard import guard; sys.exit(guard(sys.argv[1:], 'ready', times=2))"
COMMAND = """
import os, subprocess, sys, time
for _ in range(2):
    subprocess.Popen([sys.executable, "-c", "print('ready', flush=True); import time; time.sleep(600)"],
                     start_new_session=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody inherits orphans but the first process")
@pytest.mark.parametrize("how", ["its starter is gone", "the command is killed"])
def test_nothing_is_left_of_a_command_whose_processes_lead_sessions(how: str) -> None:
    guard = subprocess.Popen(
        [sys.executable, "-c", GUARD, sys.executable, "-c", COMMAND],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert guard.stdin is not None
    assert guard.stdout is not None
    assert guard.stdout.readline() == b"ready\n"
    started = psutil.Process(guard.pid).children(recursive=True)
    assert len(started) == 3
    if how == "its starter is gone":
        guard.stdin.close()
    else:
        psutil.Process(guard.pid).children()[0].kill()
    guard.wait(60)
    until(lambda: gone(started))
    guard.stdin.close()
    guard.stdout.close()


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_a_command_whose_lines_find_no_room_goes_on() -> None:
    command = "print('ready', 'ready', sep=chr(10)); print('x\\n' * 200_000)"  # more than a pipe holds
    with open("/dev/full", "wb") as full:  # noqa: PTH123  no file to create
        guard = subprocess.Popen(
            [sys.executable, "-c", GUARD, sys.executable, "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=full,
            start_new_session=True,
        )
    try:
        assert guard.wait(60) == 0
    finally:
        guard.communicate()
