"""A user's own function as the work: found, and refused where it cannot be. That it runs is shown with the modes."""

import asyncio
import io
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from servers import Start, own_work, refusal
from taskdemo_server.contract import import_string
from taskdemo_server.contract.import_string import UnusableError
from taskdemo_server.contract.modes import MODE_BY_NAME, MODES
from taskdemo_server.work import task_output, user_function
from taskdemo_server.work.user_function import UserFunction

REPORTS = """
import asyncio
from typing import Annotated

from fastapi import Body, Depends, Request

def build(message):
    print("building", message)


def no_argument():
    pass


async def fetch(message):
    await asyncio.sleep(0)
    fetched.append(message)


def generates(message):
    yield 1


def two(first, second):
    pass


def optional(rows=3):
    assert rows == 3


def broken_promise(message):
    return fetch(message)


def orders(session=Depends(build), limit: Annotated[int, Body()] = 3):
    pass


async def page(request: Request):
    pass


def timed(function):
    return lambda *args, **kwargs: function(*args, **kwargs)


hidden = timed(build)
fetched = []
nameless = lambda message: None
NUMBER = 3
"""

SETTINGS = """
from pydantic import BaseModel


class Settings(BaseModel):
    SECRET_KEY: str
    DATABASE_URL: str
    PORT: int


Settings(PORT="s3cret")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the user's modules; this process forgets them with the test."""
    (tmp_path / "reports.py").write_text(REPORTS)
    (tmp_path / "jobs").mkdir()
    for module in ("__init__", "mails"):
        (tmp_path / "jobs" / f"{module}.py").touch()
    (tmp_path / "jobs" / "late.py").write_text("import jobs.mails\n")
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "orders.py").write_text("import prices\n")
    (tmp_path / "shop" / "prices.py").touch()
    (tmp_path / "broken.py").write_text("import no_such_module_at_all\n")
    (tmp_path / "settings.py").write_text(SETTINGS)
    (tmp_path / "verbose.py").write_text("raise RuntimeError('word ' * 99)\n")
    (tmp_path / "leaves.py").write_text("raise SystemExit(0)\n")
    (tmp_path / "parses.py").write_text("import json\njson.loads('{')\n")
    monkeypatch.setattr(sys, "path", sys.path[:])
    yield tmp_path
    for name in ("reports", "jobs", "jobs.mails", "broken", "leaves", "slow"):
        sys.modules.pop(name, None)


@pytest.fixture
def find(folder: Path) -> Callable[[str], UserFunction]:
    return lambda name: user_function.find(name, str(folder))


@pytest.mark.parametrize(
    ("work", "sentence"),
    [
        ("reports.build", "did you mean --work reports:build?"),
        ("reports.py:build", "a module is named without .py and with dots: --work reports:build"),
        ("sub/reports.py:build", "--work sub.reports:build"),
        ("reports:bild", "there is no bild in reports; did you mean --work reports:build?"),
        ("reports:zzz", "there is no zzz in reports; reports.py has build, no_argument, fetch, generates"),
        ("report:build", "there is no module report; did you mean --work reports:build?"),
        ("jobs.mail:send", "there is no module jobs.mail; did you mean --work jobs.mails:send?"),
        ("job.mails:send", "there is no module job.mails; did you mean --work jobs.mails:send?"),
        ("jobs.zzz:send", "first; go to the folder that jobs is in"),
        ("broken:build", "ModuleNotFoundError: No module named 'no_such_module_at_all' (broken.py:1); install it in"),
        ("broken:build", f"install it in {sys.prefix}, where taskdemo is, or install taskdemo where your"),
        ("shop.orders:build", "named 'prices' (orders.py:1); go to {folder}/shop, and type --work orders:build"),
        ("leaves:build", "SystemExit: 0 (leaves.py:1)"),
        ("parses:build", "(char 1) (parses.py:2); fix that first"),
        ("settings:build", "ValidationError: SECRET_KEY, DATABASE_URL: Field required; PORT: Input should be a valid"),
        ("settings:build", "parse string as an integer (settings.py:11); fix that first"),
        ("verbose:build", "word word … (verbose.py:1); fix that first"),
        ("reports:generates", "that is a generator"),
        (
            "reports:orders",
            "it gets session, limit from FastAPI; name the function that it calls, or measure the endpoint",
        ),
        ("reports:page", "it gets request from FastAPI"),
        ("reports:two", "it takes (first, second)"),
        ("reports:hidden", "a decorator hides its arguments behind *args and **kwargs; add @functools.wraps to"),
        ("reports:NUMBER", "that is 3, which cannot be called"),
        ("__main__:build", "__main__ is taskdemo itself"),
    ],
)
def test_a_work_that_cannot_be_used_is_one_sentence_that_says_what_to_type(
    find: Callable[[str], UserFunction], folder: Path, work: str, sentence: str
) -> None:
    with pytest.raises(UnusableError) as refused:
        find(work)
    assert sentence.replace("{folder}", str(folder)) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_work_whose_package_begins_in_a_folder_above_is_refused_with_that_folder(folder: Path) -> None:
    with pytest.raises(UnusableError) as refused:
        user_function.find("late:build", str(folder / "jobs"))
    said = f"No module named 'jobs' (late.py:1); go to {folder}, and type --work jobs.late:build"
    assert str(refused.value).endswith(said)


@pytest.mark.parametrize("text", ["a b:c", "a:", ":b", "a:b()", "a;b:c", "os:system('x')", "1a:b", ""])
def test_only_names_are_names(text: str) -> None:
    with pytest.raises(UnusableError, match=r"^--work is ['\"]"):
        import_string.parse("--work", text)


def test_a_module_named_like_one_of_the_standard_library_is_in_no_process_of_a_pool(
    start_server: Start, folder: Path
) -> None:
    (folder / "json.py").write_text("raise RuntimeError('not the json that was meant')\n")
    server = start_server(mode="process", work="reports:build", folder=str(folder))
    server.get()
    assert [end.state for end in server.ended(1)] == ["finished"]


def test_a_work_that_asks_at_its_import_is_refused_at_once(start_server: Start, tmp_path: Path) -> None:
    work = own_work(tmp_path, "answer = input()\ndef work(message): ...\n")
    assert "importing it failed with EOFError" in refusal(start_server, **work)


def test_an_async_function_runs_where_something_can_await_it_and_the_other_modes_say_why(
    find: Callable[[str], UserFunction],
) -> None:
    fetch = find("reports:fetch")
    asyncio.run(fetch.call_async("on this loop"))
    fetch.call("on one of its own")
    assert sys.modules["reports"].fetched == ["on this loop", "on one of its own"]
    for mode in MODES:
        if mode.name in {"blocking", "threadpool", "background"}:
            with pytest.raises(UnusableError, match=r"reports:fetch is an `async def`: .*; use mode [a-z-]*async$"):
                fetch.check_for(mode)
        else:
            fetch.check_for(mode)


def test_a_function_that_does_not_pickle_cannot_be_used_in_mode_process_alone(
    find: Callable[[str], UserFunction],
) -> None:
    nameless = find("reports:nameless")
    nameless.check_for(MODE_BY_NAME["background"])
    with pytest.raises(UnusableError, match="cannot be handed to another process"):
        nameless.check_for(MODE_BY_NAME["process"])


def test_the_message_goes_to_a_function_that_needs_an_argument_and_to_no_other(
    find: Callable[[str], UserFunction],
) -> None:
    for name, takes in {"build": True, "no_argument": False, "optional": False}.items():
        assert find(f"reports:{name}").takes_message is takes
    find("reports:optional").call("not a number of rows")
    with pytest.raises(TypeError, match="an awaitable, which is not awaited"):
        find("reports:broken_promise").call("hello")


def test_what_a_task_prints_is_kept_to_a_bounded_length_and_shown_as_it_comes() -> None:
    shown: list[str] = []
    output = task_output.TaskOutput("task 1", shown.append)
    for number in range(10_000):
        output.write(f"line {number}\n")
    kept = output.end()
    assert kept
    assert kept.startswith("line 0\nline 1\n")
    assert " characters left out ... " in kept
    assert kept.endswith("\nline 9998\nline 9999")
    assert len(kept) < task_output.KEPT + 100
    assert shown[-1] == "task 1 | line 9999"


def test_lines_come_out_whole_and_as_a_terminal_would_show_them() -> None:
    shown: list[str] = []
    output = task_output.TaskOutput("task 1", shown.append)
    for piece in ("one", " line\npro", "gress 1%\rprogress 2%\r\n", "\n", "rest"):
        output.write(piece)
    assert output.end() == "one line\nprogress 1%\rprogress 2%\r\n\nrest"
    assert shown == ["task 1 | one line", "task 1 | progress 2%", "task 1 | rest"]


@pytest.mark.parametrize(
    "use",
    [
        lambda out: out.write("tür\n"),
        lambda out: out.buffer.write("tür\n".encode()),  # as structlog's BytesLogger does
        lambda out: (out.reconfigure(encoding="utf-8", line_buffering=True), print("tür", file=out)),
        lambda out: print("tür", file=io.TextIOWrapper(out.buffer, "utf-8", write_through=True)),
        lambda out: out.buffer.writelines([b"t\xc3\xbcr", b"\n"]),
        lambda out: print("tür", file=io.TextIOWrapper(out.detach(), "utf-8", write_through=True)),
    ],
)
@pytest.mark.parametrize("is_task", [True, False])
def test_whatever_applications_use_of_standard_output_can_be_used(use: Callable[[Any], None], is_task: bool) -> None:
    shown: list[str] = []
    real = io.StringIO()
    output = task_output.TaskOutput("task 1", shown.append)
    token = task_output.current.set(output if is_task else None)
    stream = task_output.Stream(real)
    use(stream)
    stream.flush()
    task_output.current.reset(token)
    assert (output.end(), real.getvalue()) == (("tür", "") if is_task else (None, "tür\n"))


def test_a_work_that_takes_long_to_import_is_said_to_be_imported(
    folder: Path, find: Callable[[str], UserFunction], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = folder / "said"
    said.touch()
    waits = f"import os, time\nuntil = time.monotonic() + 20\nwhile not os.path.getsize({str(said)!r}):\n"
    (folder / "slow.py").write_text(waits + "    assert time.monotonic() < until\ndef work(): ...\n")
    monkeypatch.setattr(user_function, "complain", said.write_text)
    find("slow:work")
    assert said.read_text() == f"Process {os.getpid()} is still importing slow."
