"""Results as files: refused before anything runs, written whole or not at all, and read back whatever is in them."""

import contextlib
import copy
import io
import json
import math
import os
import re
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

import samples
from reviewed import assert_reviewed
from taskdemo_cli.commands import report
from taskdemo_cli.errors import COULD_NOT_RUN, UserError
from taskdemo_cli.reports import files, markdown
from taskdemo_cli.reports.csv import chunks as csv_chunks
from taskdemo_cli.reports.html import page as html
from test_page import advised
from test_same_figures import cut_short

DOCUMENTS = samples.all_documents()


@contextlib.contextmanager
def refused(said: str) -> Iterator[None]:
    """Expect a refusal in which this is said."""
    with pytest.raises(UserError) as error:
        yield
    assert error.value.exit_code == COULD_NOT_RUN
    assert str(error.value).isprintable()
    assert said in str(error.value)


# --- before anything runs ----------------------------------------------------------------------------------


def test_places_that_can_be_written_are_fine_and_stay_untouched(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("old")
    files.check([tmp_path / "a.json", tmp_path / "a.CSV", tmp_path / "a.md", tmp_path / "a.svg"], tmp_path / "a.html")
    files.check([str(tmp_path / "old.json")])
    assert [path.name for path in tmp_path.iterdir()] == ["old.json"]
    assert (tmp_path / "old.json").read_text() == "old"


@pytest.mark.parametrize(
    ("save", "page", "said"),
    [
        ("result", None, "one of .json, .csv, .md, .svg; try --save {}/result.json"),
        ("none/result.json", None, "there is no folder {}/none; make it with: mkdir -p {}/none"),
        ("a b", None, "one of .json, .csv, .md, .svg; try --save '{}/a b.json'"),
        ("a b/result.json", None, "there is no folder {}/a b; make it with: mkdir -p '{}/a b'"),
        ("", None, "--save .: the file's name must end in one of .json, .csv, .md, .svg; try --save result.json"),
        ("folder.json", None, "that is not a file you can write to; choose another name"),
        ("x" * 255 + ".json", None, "that cannot be written (File name too long); choose another name"),
        (None, "page.pdf", "must end in .html; try --html {}/page.pdf.html"),
        (None, "none/page.html", "there is no folder {}/none"),
        ("a\x1b[31mb\n.json/x.json", None, "\\x1b[31mb\\n.json"),
    ],
)
def test_a_place_that_cannot_be_written_is_refused_with_what_to_type(
    tmp_path: Path, save: str | None, page: str | None, said: str
) -> None:
    (tmp_path / "folder.json").mkdir()
    with refused(said.replace("{}", str(tmp_path))):
        files.check([tmp_path / save if save else ""] if save is not None else [], tmp_path / page if page else None)


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """Be a user who may not write everywhere, as root may."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_folder_without_permission_is_refused() -> None:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o555)
    try:
        with nobody(), refused("cannot be written to (Permission denied); choose another folder"):
            files.check([folder / "a.json"])
    finally:
        folder.chmod(0o700)
        folder.rmdir()


def test_what_is_no_ordinary_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "page.html").symlink_to("/dev/null")
    with refused("that is not a file you can write to"):
        files.check([], tmp_path / "page.html")


@pytest.mark.parametrize("name", ["circle.json", "\N{PILE OF POO}" * 60 + ".json"])
def test_links_in_a_circle_and_names_of_many_bytes_are_no_obstacle(tmp_path: Path, name: str) -> None:
    (tmp_path / "circle.json").symlink_to(tmp_path / "circle.json")
    files.check([tmp_path / name])
    files.save(DOCUMENTS["failed"], tmp_path / name)
    assert (tmp_path / name).is_file()


def test_a_folder_that_is_gone_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with refused("the current folder no longer exists"):
        files.check(["r.json"])


# --- writing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DOCUMENTS)
@pytest.mark.parametrize("ending", [".json", ".csv", ".md", ".svg", ".html"])
def test_every_document_can_be_saved_in_every_format_and_is_read_back_the_same_from_json(
    tmp_path: Path, name: str, ending: str
) -> None:
    path = tmp_path / f"result{ending}"
    files.save(DOCUMENTS[name], path)
    text = path.read_text(encoding="utf-8")
    assert {c for c in text if not c.isprintable()} <= {"\n", "\r", "\N{NO-BREAK SPACE}"}
    assert list(tmp_path.iterdir()) == [path]
    if ending == ".json":
        assert samples.saved(files.load(path)) == samples.saved(DOCUMENTS[name])
    if ending == ".svg":
        ET.fromstring(text)
        assert not re.search(r"url\(.?http", text)
        assert "<script" not in text


def test_a_file_is_replaced_only_by_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("the old result")

    unfit = replace(DOCUMENTS["failed"], environment={"load": math.nan})
    with pytest.raises(ValueError, match="JSON"):
        files.save(unfit, path)
    assert path.read_text() == "the old result"
    assert list(tmp_path.iterdir()) == [path]


def test_a_saved_file_is_as_readable_as_any_other_and_keeps_the_permissions_it_had(tmp_path: Path) -> None:
    plain, kept, link = tmp_path / "plain", tmp_path / "kept.json", tmp_path / "link.json"
    plain.touch()
    kept.touch(0o640)
    link.symlink_to(kept)
    files.save(DOCUMENTS["failed"], tmp_path / "new.json")
    files.save(DOCUMENTS["failed"], link)
    assert (tmp_path / "new.json").stat().st_mode == plain.stat().st_mode
    assert kept.stat().st_mode & 0o777 == 0o640
    assert link.is_symlink()
    assert files.load(kept).kind == "run"


# --- the formats -------------------------------------------------------------------------------------------


def test_every_markdown_and_csv_is_the_one_that_was_reviewed() -> None:
    verdict = "# *Hi* <img src=x> [a](http://x) | @somebody __x__ `y` &amp; a_b - c"
    documents: dict[str, Any] = {
        "a comparison": samples.comparison_document(),
        "a capacity": samples.capacity_document(),
        "limits": samples.limits_document(),
        "a scan": samples.scan_document(),
        "a round that was cut short": cut_short(),
        "nothing from outside is markup": replace(samples.failed_run(), mode="a|b`c\n# d", verdict=verdict),
    }
    told = {name: "".join(markdown.chunks(one)).rstrip() for name, one in documents.items()}
    failed = samples.failed_run()
    formulas = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", '=cmd|"/C calc"!A0')
    cells = {text: {"verdict": "no", "measured": {}, "text": text} for text in formulas}
    tables: dict[str, Any] = {
        "a run with trouble, its tasks in another order": replace(failed, tasks=list(reversed(failed.tasks))),
        **{name: documents[name] for name in ("a comparison", "limits", "a scan", "a capacity")},
        "nothing from outside is a formula": samples.changed(samples.limits_document(), modes={"=mode": cells}),
    }
    for name, one in tables.items():
        lines = list(csv_chunks(one))
        assert all(line.endswith("\r\n") for line in lines)
        told[f"as CSV: {name}"] = "".join(lines).replace("\r\n", "\n").rstrip()
    assert_reviewed(__file__, told)


def test_markdown_has_the_whole_of_what_was_found_but_no_text_without_an_end() -> None:
    found, endless = (
        "".join(markdown.chunks(replace(samples.background_run(), verdict=verdict)))
        for verdict in ("A bystander waited. " * 100 + "That is all.", "x" * 100_000)
    )
    assert "That is all.\n" in found
    assert len(endless) < 6000


# --- reading back ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read (No such file or directory); name a file that --save FILE.json wrote"),
        (b"", "is not JSON; name a file that --save FILE.json wrote"),
        (b"\xff\xfe\x00broken", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"a": 1e999}', "is not JSON"),
        (b'{"a": NaN}', "is not JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is not JSON"),
        (b"[1, 2]", "is JSON, but not a result that taskdemo"),
        (b'{"kind": "run"}', "is JSON, but not a result that taskdemo"),
        (b'{"taskdemo": "0.1.0", "kind": "changes"}', "is JSON, but not a result that taskdemo"),
        (b'{"taskdemo": "9.1", "kind": {}}', "is JSON, but not a result that taskdemo"),
        (b'{"taskdemo": "9.1", "kind": "soak"}', "can show; show it with taskdemo 9.1, which wrote it"),
        (b'{"taskdemo": "9.1", "kind": "run"}', "`summary`; show it with taskdemo 9.1, which wrote it"),
        (b'{"taskdemo": "0.1.0", "kind": "run"}', "is not a whole result: Object missing required field `summary`"),
    ],
)
def test_a_file_that_is_none_of_ours_is_refused_in_one_sentence(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "result.json"
    if content is not None:
        path.write_bytes(content)
    with refused(said):
        files.load(path)


def test_fields_that_a_newer_version_added_and_nulls_that_an_older_one_left_out_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    document = {**samples.saved(samples.failed_run()), "weather": "fine"}
    document["summary"]["response_s"]["p9999"] = 6.0
    del document["for_s"], document["summary"]["queue_s"]
    path.write_text(json.dumps(document))
    assert files.load(path) == samples.changed(samples.failed_run(), summary={**document["summary"], "queue_s": None})


@pytest.mark.parametrize(
    ("at", "value", "said"),
    [
        (("count",), "many", "Expected `int | null`, got `str` - at `$.count`"),
        (("count",), True, "at `$.count`"),
        (("summary", "wall_s"), "long", "at `$.summary.wall_s`"),
        (("summary", "response_s", "max"), None, "at `$.summary.response_s.max`"),
        (("summary", "response_s", "max"), 1.7e308, "at `$.summary.response_s.max`"),
        (("summary", "histogram", 0, "to_s"), 1e300, "at `$.summary.histogram[0].to_s`"),
        (("requests", 2, "sent_s"), 1e300, "at `$.requests[2].sent_s`"),
        (("tasks", 0, "state"), "asleep", "Invalid enum value 'asleep' - at `$.tasks[0].state`"),
        (("tasks", 0, "state"), "\ud800", "surrogates not allowed"),
        (("requests",), {"0": 1}, "at `$.requests`"),
        (("summary", "requests", "errors"), [], "at `$.summary.requests.errors`"),
        (("summary",), 3, "at `$.summary`"),
    ],
)
def test_a_field_that_cannot_be_right_is_named(tmp_path: Path, at: tuple[Any, ...], value: Any, said: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(json.dumps(with_value(samples.saved(samples.failed_run()), at, value)))
    with refused(said):
        files.load(path)


def test_an_endpoint_of_which_is_not_said_what_was_asked_for_is_drawn() -> None:
    document = samples.scan_document()
    untold = samples.typed(with_value(samples.saved(document), ("endpoints", 2, "target"), None))
    for chunks in (html.page, markdown.chunks, csv_chunks):
        assert "/orders/7" not in "".join(chunks(untold))


def with_value(document: Any, at: Sequence[Any], value: Any) -> Any:
    changed = copy.copy(document)
    changed[at[0]] = with_value(changed[at[0]], at[1:], value) if at[1:] else value
    return changed


SAVED = [samples.saved(DOCUMENTS[name]) for name in ("failed", "rate", "rounds", "limits", "capacity", "scan")]
SAVED.append(samples.saved(advised()))
KINDS = sorted({document["kind"] for document in SAVED})
VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.floats(-1e9, 1e9)
    | st.sampled_from([0, -1, 1e-300, 1.7e308, 10**9, "", "</title>", [], {}, [[]], [{}]])
    | st.text(max_size=20)
)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    for key, item in items:
        yield (*at, key)
        yield from places(item, (*at, key))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_a_file_holds_it_is_refused_or_can_be_drawn(tmp_path: Path, data: st.DataObject) -> None:
    original = data.draw(st.sampled_from(SAVED))
    changed = original
    for at in data.draw(st.lists(st.sampled_from(list(places(original))), min_size=1, max_size=3)):
        with contextlib.suppress(KeyError, IndexError, TypeError):  # the place was in what has been replaced
            changed = with_value(changed, at, data.draw(VALUES))
    changed = {**changed, "kind": data.draw(st.just(changed["kind"]) | st.sampled_from(KINDS))}
    path, other = tmp_path / "result.json", tmp_path / "other.json"
    path.write_text(json.dumps(changed))
    other.write_text(json.dumps(original))
    try:
        loaded = files.load(path)
    except UserError:
        return
    for chunks in (html.page(loaded), markdown.chunks(loaded), csv_chunks(loaded)):
        assert "".join(chunks)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        report.report(str(path), None)
        if loaded.kind in {"run", "comparison"}:
            report.compare(str(other), str(path), as_json=False)
    assert out.getvalue()
