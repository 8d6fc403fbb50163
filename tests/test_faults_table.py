"""The table of faults has no empty cell, and every test that it names is there."""

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TABLE = HERE.parent / "docs" / "faults.md"
ROWS = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if re.match(r"\| (?!fault |---)", line)]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[2:40])
def test_a_row_is_filled_in_and_its_tests_exist(row: str) -> None:
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]]
    assert len(cells) == 4
    assert all(cells)
    named = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", cells[3])
    assert named
    for file, test in named:
        (found,) = HERE.rglob(file)
        assert f"def {test}(" in found.read_text(encoding="utf-8") or not test


def test_there_are_rows() -> None:
    assert len(ROWS) > 30
