"""The command line's options: how figures are read, what --help shows, and what the environment may say."""

import os
import re
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from commands import in_process, taskdemo
from taskdemo_cli.commands import checks, fire
from taskdemo_cli.reports.output import complain
from taskdemo_cli.units import read_plain, read_seconds, read_whole

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


def test_needs_come_one_by_one_or_with_commas_between() -> None:
    assert checks.needs(["survive", "retry, quiet,survive"]) == ["survive", "retry", "quiet"]
    assert checks.needs([]) == []


@pytest.mark.parametrize(("typed", "found"), [("fire --mode b", 3), ("compare --m", 1), ("compare --need re", 2)])
def test_a_completion_is_one_line_with_its_meaning(typed: str, found: int) -> None:
    variables = {
        "_TASKDEMO_COMPLETE": "complete_fish",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_ARGS": f"taskdemo {typed}",
    }
    lines = taskdemo(anew=True, env={**os.environ, **variables}).stdout.splitlines()
    assert len(lines) == found
    assert all(re.fullmatch(r"\S+\t\S.*\S", line) for line in lines)


def test_every_time_takes_a_unit_on_the_command_line_and_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fire, "fire", fired := MagicMock(return_value=0))
    options = ("--mode", "background", "--rate", "10/s", "--timeout", "1m")
    done = in_process("fire", *options, TASKDEMO_FIRE_DURATION="50ms", TASKDEMO_FIRE_FOR="0.2s")
    assert done.returncode == 0, done.stderr
    plan, private = fired.call_args.args[0], fired.call_args.kwargs["private"]
    assert (private.duration, plan.for_s, plan.rate, plan.timeout_s) == (0.05, 0.2, 10.0, 60.0)


def test_what_the_environment_says_of_a_modes_server_is_a_default_that_others_have_no_use_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fire, "fire", fired := MagicMock(return_value=0))
    done = in_process("fire", "--port", "8000", TASKDEMO_FIRE_DURATION="50ms")
    assert (done.returncode, fired.call_args.kwargs["private"]) == (0, None)


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
    said = [line.strip() for line in lines if line.strip()]
    examples = said[said.index("For example:") + 1 :] if command else [said[-1].removeprefix("Start with:").strip()]
    assert examples
    for example in examples:
        assert re.match(rf"taskdemo {command or 'compare'}\b", example)


def test_the_defaults_of_a_private_server_are_those_of_serve() -> None:
    fire = re.sub(r"\s+", " ", in_process("fire", "--help", COLUMNS="200").stdout)
    for option, default in (
        ("count", "1"),
        ("duration", "1.0"),
        ("work", "sleep"),
        ("threads", "40"),
        ("workers", "1"),
    ):
        assert re.search(rf"--{option}\b[^\[]*\[default: {default}\]", fire), option


def test_a_complaint_may_go_on_below_its_sentence_and_is_safe_to_show(capsys: pytest.CaptureFixture[str]) -> None:
    complain("a\x1b", ["b\n"])
    assert capsys.readouterr().err == "taskdemo: a\\x1b\n  b\\n\n"


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        (".", "src/main.py"),
        (".:site", "src/main.py:site"),
        ("plain/", "plain/app/api.py"),
        ("shop", "shop"),
        ("shop.main:app", "shop.main:app"),
        ("named", "named"),  # what its pyproject.toml names is imported from there
    ],
)
def test_an_application_in_a_folder_is_called_by_what_is_found_there(
    typed: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in ("src/main.py", "plain/app/api.py", "shop/__init__.py", "named/other.py"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    (tmp_path / "named" / "pyproject.toml").write_text('[tool.fastapi]\nentrypoint = "other:site"\n')
    monkeypatch.chdir(tmp_path)
    assert checks.app("--app", typed) == name
    monkeypatch.chdir(tmp_path / "named")
    assert checks.app("--app", ".") == "other:site"
