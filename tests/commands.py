"""How the tests run the command line: as a user does, with an eye on what is left behind."""

import contextlib
import io
import json
import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import forked
from taskdemo_cli import app
from taskdemo_cli.processes.signals import STOP_SIGNALS

TASKDEMO = forked.PROGRAM


def taskdemo(
    *arguments: str, anew: bool = False, timeout: float = 240, **options: Any
) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end, forked with all that it starts; `anew`: they are started, and import for themselves."""
    process = _start(arguments, anew, options)
    try:
        out, err = process.communicate(timeout=timeout)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def _start(arguments: tuple[str, ...], anew: bool, options: dict[str, Any]) -> Any:
    start: Callable[..., Any] = subprocess.Popen if anew else forked.popen
    # A copy: tests set variables while a thread starts this, and then the system's own list may have moved.
    ours = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": {**os.environ}}
    return start([TASKDEMO, *arguments], text=True, encoding="utf-8", **{**ours, **options})


def in_process(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a command that starts no process, in this one: a hundred times as quick. `environment` is added to ours."""
    kept = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    out, err = io.StringIO(), io.StringIO()
    try:
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            for name, value in environment.items():
                patch.setenv(name, value)
            code = app.outcome([*arguments])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for number, handler in kept.items():
            signal.signal(number, handler)
    return subprocess.CompletedProcess([*arguments], code, out.getvalue(), err.getvalue())


def as_json(*arguments: str, **options: Any) -> Any:
    """Run a command with --json and return its document; stdout holds nothing else."""
    done = taskdemo(*arguments, "--json", **options)
    assert done.returncode in {0, 1}, done.stderr
    return json.loads(done.stdout)


@contextlib.contextmanager
def running(*arguments: str, anew: bool = False, **options: Any) -> Iterator["subprocess.Popen[str]"]:
    """Start a command, as `taskdemo` does; whatever becomes of the test, nothing of it is left at the end."""
    process = _start(arguments, anew, options)
    try:
        yield process
    finally:
        family = family_of(process.pid) if process.poll() is None else []  # who survives it ends by itself
        process.kill()
        process.communicate()
        for member in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()


def private(folder: Path) -> dict[str, str]:
    """Return an environment with a temporary folder of its own."""
    return {**os.environ, "TMPDIR": str(folder)}


def left_in(folder: Path) -> list[Path]:
    """Return what a command has left there, but for the folder of all its temporary folders."""
    return [file for file in folder.rglob("*") if file.name != f"taskdemo-{os.getuid()}"]


def family_of(pid: int) -> list[psutil.Process]:
    """Return the processes that descend from `pid`, started or forked; it need not be among them, nor alive."""
    family: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        family += psutil.Process(pid).children(recursive=True)
    for starter in (pid, *(one.pid for one in family)):
        for one in forked.forked_for(starter):
            with contextlib.suppress(psutil.NoSuchProcess):
                family += [psutil.Process(one), *family_of(one)]
    return family


def members(pid: int, module: str) -> list[psutil.Process]:
    """Return those of a command's family that run this module, as they were started one after the other."""
    found = []
    for one in sorted(family_of(pid), key=lambda one: one.pid):
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [one] if module in (forked.runs(one.pid), *one.cmdline()) else []
    return found


@contextlib.contextmanager
def serving(*arguments: str) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """Run `taskdemo serve` on a free port; yields the process and the port once it serves."""
    with running("serve", "--port", "0", *arguments, env={**os.environ, "NO_COLOR": "1"}) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "http://" in line:
                yield process, int(line.rpartition(":")[2])
                return
        raise AssertionError(f"the server did not start: {process.stderr.read() if process.stderr else ''}")


def one_sentence(text: str) -> bool:
    """Say whether stderr holds one sentence of ours, and nothing else."""
    lines = text.strip().splitlines()
    return len(lines) == 1 and lines[0].startswith("taskdemo: ") and "Traceback" not in text
