"""The README and the docs: commands that run, a translation that has the same, claims that are so."""

import os
import re
import shlex
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from commands import in_process, running, taskdemo
from engines.stage import free_port
from taskdemo_server.contract.modes import MODE_BY_NAME, MODES, NEED_QUESTIONS, NEEDS

ROOT = Path(__file__).parent.parent
TOUR = ROOT / "docs" / "tour.md"
SHORT = "0.1"
"""Seconds of work in the tour, so that the test is over soon."""


def commands(path: Path) -> list[str]:
    return re.findall(r"^    (taskdemo .*)$", path.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.timeout(400)
def test_the_commands_of_the_tour_run_one_after_another(tmp_path: Path) -> None:
    pytest.importorskip("celery", reason="the extra `celery` is not installed")
    port = str(free_port())
    tour = [shlex.split(command)[1:] for command in commands(TOUR)]
    assert {words[0] for words in tour} == {"serve", "fire", "limits", "compare"}
    with ExitStack() as server, ThreadPoolExecutor(2) as beside:
        private_ones = []
        for words in tour:
            private = "--mode" in words or words[0] in {"compare", "limits"}
            where = [] if private and words[0] != "serve" else ["--port", port]
            short = ["--duration", SHORT] if words[0] == "serve" or (private and words[0] != "limits") else []
            command = [*words, *where, *short]
            if words[0] == "serve":
                server.close()
                process = server.enter_context(running(*command, env={**os.environ, "NO_COLOR": "1"}))
                assert process.stdout is not None
                assert any("http://" in line for line in process.stdout)
            elif private and any(more[: len(words)] == words for more in tour if len(more) > len(words)):
                continue  # it runs as a part of that one
            elif private:
                private_ones.append((words, beside.submit(taskdemo, *command, cwd=tmp_path)))
            else:
                done = taskdemo(*command, cwd=tmp_path)
                assert done.returncode == 0, (words, done.stdout[-500:], done.stderr)
        for words, ended in private_ones:
            done = ended.result()
            assert done.returncode == 0, (words, done.stdout[-500:], done.stderr)


def test_the_tour_in_russian_has_the_same_commands_and_sections() -> None:
    russian = TOUR.with_name("tour.ru.md")
    assert commands(russian) == commands(TOUR)
    headings = [len(re.findall("^## ", path.read_text(encoding="utf-8"), re.MULTILINE)) for path in (TOUR, russian)]
    assert headings[0] == headings[1] > 0


def rows(file: str) -> list[list[str]]:
    """Return the cells of its tables."""
    lines = (ROOT / file).read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines if line.startswith("|")]


def test_the_readme_asks_the_five_questions_and_names_every_need() -> None:
    readme = rows("README.md")
    assert [row[0] for row in readme if row[0].endswith("?")] == [question for question, _ in NEED_QUESTIONS]
    assert {need for row in readme for need in NEEDS if len(row) == 3 and f"(`{need}`)" in row[1]} == set(NEEDS)


def test_the_readme_says_of_each_mode_what_the_registry_says() -> None:
    readme = [[cell.replace("`", "") for cell in row] for row in rows("README.md")]
    assert [row for row in readme if row[0] in MODE_BY_NAME] == [
        [mode.name, mode.endpoint, mode.who_waits, mode.where, mode.given_up] for mode in MODES
    ]


def test_the_readme_names_for_a_need_the_modes_that_the_registry_knows_to_have_it() -> None:
    then = {need: row[2] for row in rows("README.md") for need in NEEDS if f"(`{need}`)" in row[1]}
    for need in ("survive", "track", "cancel"):
        named = re.findall("`(.*?)`", re.split("[.;]", then[need])[0])
        assert named == [mode.name for mode in MODES if not mode.lacks(need)], need
    [steps] = re.findall(r"^- \*\*Steps.*\n.*", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    handing_on = {mode.name for mode in MODES if "orchestrate" not in mode.gives_up}
    assert {*re.findall("`(.*?)`", steps), "blocking"} == handing_on


def test_the_help_of_compare_asks_the_same_questions() -> None:
    text = " ".join(in_process("compare", "--help", COLUMNS="200").stdout.split())
    for question, needs in NEED_QUESTIONS:
        assert f"{question} {', '.join(needs)}" in text


@pytest.mark.parametrize(
    "path", [*sorted((ROOT / "docs").glob("*.md")), ROOT / "README.md"], ids=lambda path: path.name
)
def test_every_link_to_a_file_leads_to_one(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


def test_every_file_that_contributors_are_sent_to_is_there() -> None:
    named = re.findall(r"`([\w/]+\.(?:py|json))`", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    below = (ROOT / "cli" / "taskdemo_cli", ROOT / "server" / "taskdemo_server", ROOT)
    assert len(named) > 15
    for file in named:
        assert "NAME" in file or any(next(folder.rglob(file), None) for folder in below), file


def test_every_fault_of_the_table_has_all_its_cells_and_tests_that_exist() -> None:
    faults = [row for row in rows("docs/faults.md") if row[0] not in {"fault", "---"}]
    assert len(faults) > 30
    for row in faults:
        assert len(row) == 4, row
        assert all(row), row
        named = re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", row[3])
        assert named, row
        for file, test in named:
            [found] = (ROOT / "tests").rglob(file)
            assert f"def {test}(" in found.read_text(encoding="utf-8") or not test, test
