"""Where a result goes besides the screen."""

import json
from pathlib import Path

import pytest

import samples
from taskdemo_cli.commands.keeping import Keeping
from taskdemo_cli.documents.comparison import ComparisonDocument
from taskdemo_cli.errors import UserError
from taskdemo_cli.processes.signals import StopRequest


def test_nothing_is_computed_of_a_comparison_that_goes_on_unless_it_is_to_be_saved(tmp_path: Path) -> None:
    def make() -> ComparisonDocument:
        pytest.fail("nobody asked for it")

    Keeping().save_so_far(make)
    Keeping(saves=[str(tmp_path / "result.csv")], html=str(tmp_path / "page.html")).save_so_far(make)
    assert list(tmp_path.iterdir()) == []


def test_a_comparison_that_goes_on_is_saved_as_far_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    Keeping(saves=[str(file)]).save_so_far(samples.comparison_document)
    assert len(json.loads(file.read_text())["runs"]) == 3


def test_files_that_were_written_are_named_where_people_look_and_the_others_in_the_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved, page = tmp_path / "a\x1b.json", tmp_path / "page.html"
    keeping = Keeping(True, [str(tmp_path / "later.csv"), str(saved)], str(page))
    (tmp_path / "later.csv").mkdir()
    with pytest.raises(UserError, match=r"later\.csv could not be written"):
        keeping.finish(samples.background_run(), StopRequest(), failed=False)
    printed, told = capsys.readouterr()
    assert json.loads(printed) == json.loads(saved.read_text())
    assert told.splitlines() == [f"wrote {tmp_path}/a\\x1b.json", f"wrote {page}"]
