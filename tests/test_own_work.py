"""A user's own function as the work of the commands; what it does in the server is in tests/server."""

import json
from pathlib import Path
from typing import Any

import pytest

from commands import taskdemo

REPORTS = """
import asyncio


def build(message):
    print("building", message)


async def fetch(message):
    print("fetching", message)
    await asyncio.sleep(0)


def fails(message):
    print("before it fails")
    raise LookupError(f"no report \\x1b[1m {message}")


nameless = lambda message: None
"""
LOCAL_MODES = "blocking,async,threadpool,background,background-async,process"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "reports.py").write_text(REPORTS)
    return tmp_path


def comparison(folder: Path, *arguments: str) -> dict[str, Any]:
    done = taskdemo("compare", "--json", "--count", "2", *arguments, cwd=folder)
    assert done.returncode in {0, 1}, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.mark.parametrize(
    ("work", "sentence"),
    [
        ("slep", "there is no work 'slep'; did you mean sleep?"),
        ("reports:bild", "there is no bild in reports; did you mean --work reports:build?"),
    ],
)
def test_a_work_that_cannot_be_used_is_one_sentence_that_says_what_to_type(
    folder: Path, work: str, sentence: str
) -> None:
    done = taskdemo("fire", "--mode", "background", "--work", work, cwd=folder)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_compare_refuses_such_a_work_once_and_not_for_each_mode(folder: Path) -> None:
    done = taskdemo("compare", "--work", "reports:bild", "--modes", "blocking,background,process", cwd=folder)
    assert done.returncode == 2
    assert done.stderr.count("did you mean --work reports:build?") == 1
    assert "skipped" not in done.stdout


def test_what_it_prints_and_raises_is_in_the_result(folder: Path) -> None:
    document = comparison(folder, "--work", "reports:fails", "--modes", "threadpool,process")
    for run, refused in zip(document["runs"], (2, 0), strict=True):
        assert (run["work"], run["duration_s"]) == ("reports:fails", None)
        assert run["summary"]["requests"]["failed"] == refused
        for task in run["tasks"]:
            assert (task["state"], task["output"]) == ("failed", "before it fails")
            assert task["error"] == "LookupError: no report \x1b[1m Hello"


def test_modes_that_cannot_run_it_are_skipped_and_say_why(folder: Path) -> None:
    document = comparison(folder, "--work", "reports:fetch", "--modes", LOCAL_MODES)
    assert [run["mode"] for run in document["runs"]] == ["async", "background-async", "process"]
    assert [skipped["mode"] for skipped in document["skipped"]] == ["blocking", "threadpool", "background"]
    for skipped in document["skipped"]:
        assert "reports:fetch is an `async def`" in skipped["why"]
    (skipped,) = comparison(folder, "--work", "reports:nameless", "--modes", "background,process")["skipped"]
    assert skipped["mode"] == "process"
    assert "cannot be handed to another process" in skipped["why"]


def test_the_screens_show_what_was_printed_and_no_control_character(folder: Path) -> None:
    done = taskdemo("fire", "--mode", "background", "--work", "reports:fails", cwd=folder)
    assert "before it fails" in done.stdout
    assert "LookupError: no report \\x1b[1m" in done.stdout
    assert "\x1b" not in done.stdout
