"""The command line's options: how figures are read, what --help shows, and what the environment may say."""

import json
import os
import re
from pathlib import Path

import pytest

import samples
from commands import in_process, taskdemo
from taskdemo_cli.errors import UserError
from taskdemo_cli.reports import files
from taskdemo_cli.reports.output import complain
from taskdemo_cli.units import read_plain, read_seconds, read_whole
from taskdemo_server.contract.modes import MODE_BY_NAME

COMMANDS = ("serve", "fire", "compare", "limits", "worker", "scan", "report")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10", 10.0),
        ("10s", 10.0),
        (" 1.5 s ", 1.5),
        ("500ms", 0.5),
        ("250us", 0.00025),
        ("250µs", 0.00025),
        ("2m", 120.0),
        ("2min", 120.0),
        (".5h", 1800.0),
        ("1e3", 1000.0),
        ("-1s", -1.0),
    ],
)
def test_a_time_is_read_with_its_unit_or_in_seconds(text: str, seconds: float) -> None:
    assert read_seconds(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "s", "10x", "1 2", "nan", "inf", "1_0", "0x1", "\u0661", "1e999", "9" * 5000, "1m30s"]
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a number we can read"):
        read_seconds(text)


def test_plain_and_whole_numbers_take_no_unit() -> None:
    assert (read_plain("2.5"), read_whole(" 7 ")) == (2.5, 7)
    for text in ("1s", "", "1.5.0"):
        with pytest.raises(ValueError, match="not a number we can read"):
            read_plain(text)
    for text in ("1.0", "1s", "", "9" * 19):
        with pytest.raises(ValueError, match="not a number we can read"):
            read_whole(text)


def test_every_time_takes_a_unit_on_the_command_line_and_in_the_environment() -> None:
    environment = {**os.environ, "TASKDEMO_FIRE_DURATION": "50ms", "TASKDEMO_FIRE_FOR": "0.2s"}
    done = taskdemo("fire", "--mode", "background", "--rate", "10/s", "--timeout", "1m", "--json", env=environment)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["duration_s"], document["for_s"], document["rate"]) == (0.05, 0.2, 10.0)


def test_a_file_of_the_environment_may_have_a_space_in_its_name() -> None:
    done = in_process("fire", "--mode", "background", TASKDEMO_FIRE_SAVE="/nowhere/my file.json\n/nowhere/other.md")
    assert done.returncode == 2
    assert "/nowhere/my file.json" in done.stderr


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_a_terminal_and_ends_with_something_to_type(command: str) -> None:
    done = in_process(*([command] if command else []), "--help", COLUMNS="80", TERM="dumb")
    assert done.returncode == 0
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert max(map(len, lines)) <= 80
    assert "env var" not in done.stdout
    assert "As of taskdemo serve" not in done.stdout
    said = [line.strip() for line in lines if line.strip()]
    examples = said[said.index("For example:") + 1 :] if command else [said[-1].removeprefix("Start with:").strip()]
    assert examples
    for example in examples:
        assert re.match(rf"taskdemo {command or 'compare'}\b", example)


@pytest.mark.parametrize("command", ["serve", "fire", "compare", "limits"])
def test_help_lists_the_modes(command: str) -> None:
    done = in_process(command, "--help", COLUMNS="80", TERM="dumb")
    words = re.sub(r"\W*\n\W*", " ", done.stdout)
    for mode in MODE_BY_NAME:
        assert re.search(rf"[ :]{mode}[,. ]", words), mode


def test_help_of_compare_says_that_two_results_go_together() -> None:
    done = in_process("compare", "--help", COLUMNS="80", TERM="dumb")
    assert "taskdemo compare [OPTIONS] [OLD.json NEW.json]\n" in re.sub(" +\n", "\n", done.stdout)
    assert "list[" not in done.stdout


def test_the_defaults_of_a_private_server_are_those_of_serve() -> None:
    fire = re.sub(r"\s+", " ", in_process("fire", "--help", COLUMNS="200").stdout)
    for option, default in (("duration", "1"), ("work", "sleep"), ("threads", "40"), ("workers", "1")):
        assert re.search(rf"--{option}\b[^\[]*\[default: \(?{default}\)?\]", fire), option


def test_files_that_were_written_are_named_at_the_end_where_people_look(tmp_path: Path) -> None:
    saved, page = str(tmp_path / "a\x1b.json"), str(tmp_path / "page.html")
    options = ("--count", "1", "--duration", "0", "--save", saved, "--html", page)
    expected = [f"wrote {tmp_path}/a\\x1b.json", f"wrote {page}"]
    done = taskdemo("fire", "--mode", "background", *options, "--json")
    assert done.stderr.splitlines()[-2:] == expected
    json.loads(done.stdout)


def test_only_what_was_written_is_named(tmp_path: Path) -> None:
    wrote: list[str] = []
    here, nowhere = str(tmp_path / "a.json"), str(tmp_path / "none" / "b.json")
    with pytest.raises(UserError, match=r"b\.json"):
        files.save_all(samples.background_run(), [nowhere, here], wrote.append)
    assert wrote == [here]


def test_a_complaint_may_go_on_below_its_sentence_and_is_safe_to_show(capsys: pytest.CaptureFixture[str]) -> None:
    complain("a\x1b", ["b\n"])
    assert capsys.readouterr().err == "taskdemo: a\\x1b\n  b\\n\n"


def test_an_empty_application_says_what_it_may_be() -> None:
    done = in_process("fire", "--app", " ")
    assert done.returncode == 2
    assert "--app is empty; it takes a file, a folder, or module:name" in done.stderr
