"""The code that a recommendation gives, in a file, and served as its first line says."""

import contextlib
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import forked
from taskdemo_cli.analysis import pasting

REPORTS = """
import asyncio


def build(message):
    with open("done", "a") as file:
        print("build", message, file=file, flush=True)


def start():
    build("nothing")


async def fetch(message):
    await asyncio.sleep(0)
    build(message)
"""


def snippet(folder: Path, mode: str, function: pasting.Function) -> None:
    (folder / "reports.py").write_text(REPORTS)
    (folder / "main.py").write_text(pasting.code(mode, function))


@contextlib.contextmanager
def served(folder: Path, app: str = "main:app", *, anew: bool = False, **options: Any) -> Iterator[str]:
    """Run main.py in the folder as its first line says, or another application, on a free port; yields the URL.

    `anew`: for a pool of processes, which look for main.py where multiprocessing was imported.
    """
    command = [sys.executable, *([] if anew else ["-P"]), "-m", "uvicorn", app, "--port", "0"]
    start: Any = subprocess.Popen if anew else forked.popen
    process = start(command, cwd=folder, stderr=subprocess.PIPE, text=True, **options)
    try:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if match := re.search(r"http://[0-9.:]+", line):
                yield match[0]
                return
        raise AssertionError("".join(said))
    finally:
        process.terminate()
        process.communicate(timeout=60)
        assert process.returncode in {0, -15}


def answer(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=60) as response:
        return json.loads(response.read())


def done(folder: Path) -> str:
    return (folder / "done").read_text() if (folder / "done").exists() else ""
