"""`taskdemo limits` with experiments that are made up."""

from unittest.mock import MagicMock

import pytest

import samples
from commands import in_process
from taskdemo_cli import limits
from taskdemo_cli.documents.limits import LIMITS, LimitsDocument
from taskdemo_cli.documents.run import Skipped


@pytest.mark.parametrize(
    ("modes", "title"), [("background", "in mode background"), ("async,process", "in each of 2 modes")]
)
def test_the_title_says_in_how_many_modes(modes: str, title: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "run", MagicMock(return_value=samples.all_documents()["limits"]))
    lines = in_process("limits", "--modes", modes).stdout.splitlines()
    assert lines[0] == f"{len(LIMITS)} experiments {title}"


def test_where_no_mode_can_be_run_there_is_no_table_but_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = LimitsDocument(modes={}, skipped=[Skipped(mode="celery", why="'memory://' is no broker")])
    monkeypatch.setattr(limits, "run", MagicMock(return_value=nothing))
    done = in_process("limits", "--modes", "celery", "--broker", "memory://", "--json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == "taskdemo: 'memory://' is no broker"
