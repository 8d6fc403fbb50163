"""Texts for people, reviewed as they stand: `test_NAME.txt` beside a test file has what it tells of each case."""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType


def printed(report: RenderableType, width: int = 80, **options: Any) -> str:
    """Return what is printed of a report on a terminal, or into a pipe, as wide as that."""
    file = io.StringIO()
    Console(file=file, width=width, markup=False, emoji=False, highlight=False, **options).print(report)
    return file.getvalue()


def assert_reviewed(test_file: str, told: Mapping[str, str]) -> None:
    """Assert that each case is told of as it was reviewed; with TASKDEMO_REVIEW=1 it is written, for `git diff`."""
    path = Path(test_file).with_suffix(".txt")
    if os.environ.get("TASKDEMO_REVIEW") == "1":
        path.write_text("\n".join(f"=== {name}\n{text}\n" for name, text in told.items()), "utf-8")
    cases = path.read_text("utf-8").removeprefix("=== ").removesuffix("\n").split("\n\n=== ")
    assert dict(told) == dict(case.split("\n", 1) for case in cases)
