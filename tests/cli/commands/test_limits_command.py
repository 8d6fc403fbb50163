"""`taskdemo limits` with experiments that are made up."""

from unittest.mock import MagicMock

import pytest

import samples
from commands import in_process
from taskdemo_cli import limits


@pytest.mark.parametrize(
    ("modes", "title"), [("background", "in mode background"), ("async,process", "in each of 2 modes")]
)
def test_the_title_says_in_how_many_modes(modes: str, title: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "run", MagicMock(return_value=samples.all_documents()["limits"]))
    lines = in_process("limits", "--modes", modes).stdout.splitlines()
    assert lines[0] == f"{len(limits.LIMITS)} experiments {title}"
