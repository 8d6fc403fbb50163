"""A process of our own that dies or falls silent ends the command, which says so."""

import json
from pathlib import Path

import pytest

from commands import family_of, members, running, taskdemo
from waiting import gone, until


@pytest.mark.parametrize(("which", "name"), [(0, "load"), (1, "bystander")])
def test_a_measuring_process_that_dies_ends_the_command_with_one_sentence(which: int, name: str) -> None:
    with running("fire", "--mode", "blocking", "--duration", "2", "--count", "9", "--json") as process:
        assert process.stderr is not None
        assert any("request 1" in line for line in process.stderr)
        family = family_of(process.pid)
        members(process.pid, "taskdemo_cli.loadgen.process")[which].kill()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    assert out == ""
    assert err.strip().splitlines()[-1] == f"taskdemo: the {name} process ended unexpectedly (SIGKILL); run it again"
    until(lambda: gone(family), 30)


@pytest.mark.parametrize(("is_ready", "code"), [(False, 2), (True, 1)])
def test_a_fork_server_that_dies_takes_its_servers_along_and_is_not_waited_for(
    is_ready: bool, code: int, tmp_path: Path
) -> None:
    at_import = "pass" if is_ready else "time.sleep(60)"
    (tmp_path / "slow.py").write_text(f"import time\n{at_import}\ndef work(message): time.sleep(60)\n")
    command = ("compare", "--modes", "blocking,background", "--work", "slow:work")
    with running(*command, cwd=tmp_path) as process:
        (fork_server,) = until(lambda: members(process.pid, "taskdemo_server.runtime.fork_server"))
        if is_ready:
            assert process.stdout is not None
            assert any("blocking ..." in line for line in process.stdout)
        family = family_of(process.pid)
        fork_server.kill()
        process.communicate(timeout=50)
        assert process.returncode == code
        until(lambda: gone(family), 30)


def test_a_server_that_falls_silent_before_it_ends_is_said_to_have_ended(tmp_path: Path) -> None:
    fatal = "import os, time\ndef work(message): os.closerange(3, 1000); time.sleep(0.6); os._exit(7)\n"
    (tmp_path / "fatal.py").write_text(fatal)
    done = taskdemo("fire", "--mode", "blocking", "--work", "fatal:work", "--count", "2", "--json", cwd=tmp_path)
    assert done.returncode == 1
    assert "exit 7" in json.loads(done.stdout)["ended_because"]
