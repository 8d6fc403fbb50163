"""`taskdemo limits` as a user types it, to its files."""

import csv
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from commands import taskdemo
from taskdemo_cli import limits

MODES = "async"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("limits")


@pytest.fixture(scope="module")
def carried_out(folder: Path) -> "subprocess.CompletedProcess[str]":
    """A mode's limits, saved in every format."""
    saves = [part for ending in ("json", "csv", "md", "svg") for part in ("--save", f"limits.{ending}")]
    return taskdemo("limits", "--modes", MODES, *saves, "--html", "limits.html", cwd=folder, timeout=100)


@pytest.fixture(scope="module")
def document(folder: Path, carried_out: "subprocess.CompletedProcess[str]") -> Any:
    assert carried_out.returncode == 0, carried_out.stderr
    return json.loads((folder / "limits.json").read_text())


def test_every_limit_of_a_mode_has_a_cell(document: Any) -> None:
    assert list(document["modes"]) == MODES.split(",")
    assert all(tuple(cells) == limits.LIMITS for cells in document["modes"].values())
    assert document["failed"] == []


def test_it_is_shown_and_saved_in_every_format(
    folder: Path, carried_out: "subprocess.CompletedProcess[str]", document: Any
) -> None:
    assert document["command"].startswith(f"taskdemo limits --modes {MODES}")
    lines = carried_out.stdout.splitlines()
    headings = ("Orchestrate: ", "Offload: ", "Distribute: ")
    assert [line.partition(" ")[0] for line in lines if line.startswith(headings)] == [
        "Orchestrate:",
        "Offload:",
        "Distribute:",
    ]
    page = (folder / "limits.html").read_text()
    assert f"{document['started_at'][:10]} {document['started_at'][11:16]} UTC" in page
    assert "| offload" in (folder / "limits.md").read_text()
    assert (folder / "limits.svg").read_text().startswith("<svg")
    with (folder / "limits.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["mode"], row["limit"]) for row in rows] == [
        (mode, limit) for mode, cells in document["modes"].items() for limit in cells
    ]


def test_where_no_mode_can_be_run_there_is_no_table_but_the_reason() -> None:
    done = taskdemo("limits", "--modes", "celery", "--broker", "memory://", "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith("taskdemo: 'memory://' is not a broker for celery")
