"""Texts for people, reviewed as they stand: `test_NAME.txt` beside a test file has what it tells of each case."""

import os
from collections.abc import Mapping
from pathlib import Path


def assert_reviewed(test_file: str, told: Mapping[str, str]) -> None:
    """Assert that each case is told of as it was reviewed; with TASKDEMO_REVIEW=1 it is written, for `git diff`."""
    path = Path(test_file).with_suffix(".txt")
    if os.environ.get("TASKDEMO_REVIEW") == "1":
        path.write_text("\n".join(f"=== {name}\n{text}\n" for name, text in told.items()), "utf-8")
    cases = path.read_text("utf-8").removeprefix("=== ").removesuffix("\n").split("\n\n=== ")
    assert dict(told) == dict(case.split("\n", 1) for case in cases)
