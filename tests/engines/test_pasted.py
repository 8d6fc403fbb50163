"""The code that a recommendation gives for an engine runs as it is pasted, and so do the commands that it names."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from engines.stage import EVERY_ENGINE, Stage, of
from pasted import answer, done, served, snippet
from taskdemo_cli.analysis import pasting
from taskdemo_server.contract.modes import Mode
from waiting import until


@pytest.mark.parametrize("mode", EVERY_ENGINE)
def test_the_pasted_endpoint_and_its_worker_run_as_they_are(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: Mode
) -> None:
    snippet(tmp_path, mode.name, pasting.Function("reports:fetch", is_async=True))
    stage.a_broker(mode)
    url = of(mode).url(stage.broker)
    for name, value in {"BROKER_URL": url, **of(mode).variables}.items():
        monkeypatch.setenv(name, value.format(broker=url))

    def command(what: str) -> list[str]:
        found = re.search(f"{what}:  (.*)", (tmp_path / "main.py").read_text())
        program, *options = found[1].split() if found else [""]
        return [str(Path(sys.executable).with_name(program)), *options]

    if of(mode).once:
        subprocess.run(command("once, at first"), cwd=tmp_path, check=True, capture_output=True)
    with served(tmp_path) as address:
        stage.run("", *command("the worker"), cwd=tmp_path)
        assert answer(f"{address}/?message=hello") == {"message": "Hello World!"}
        until(lambda: done(tmp_path) == "build hello\n")
