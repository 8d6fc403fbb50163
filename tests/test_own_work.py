"""A user's own function as the work of the commands; what it does in the server is in tests/server."""

from pathlib import Path

import pytest

from commands import as_json, taskdemo

REPORTS = """
import asyncio


def build(message):
    print("building", message)


async def fetch(message):
    print("fetching", message)
    await asyncio.sleep(0)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "reports.py").write_text(REPORTS)
    return tmp_path


def test_compare_refuses_such_a_work_once_and_not_for_each_mode(folder: Path) -> None:
    done = taskdemo("compare", "--work", "reports:bild", "--modes", "blocking,background,process", cwd=folder)
    assert done.returncode == 2
    assert done.stderr.count("did you mean --work reports:build?") == 1
    assert "skipped" not in done.stdout


def test_modes_that_cannot_run_it_are_skipped_and_say_why(folder: Path) -> None:
    modes = ("--modes", "blocking,background,async")
    document = as_json("compare", "--count", "2", "--work", "reports:fetch", *modes, cwd=folder)
    assert [run["mode"] for run in document["runs"]] == ["async"]
    assert [skipped["mode"] for skipped in document["skipped"]] == ["blocking", "background"]
    for skipped in document["skipped"]:
        assert "reports:fetch is an `async def`" in skipped["why"]
