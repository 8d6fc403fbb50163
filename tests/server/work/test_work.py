"""The slow work: what it journals and shows when it ends, raises or is cancelled, and the CPU seconds that it took."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from servers import read_events
from taskdemo_server.contract.events import TaskEvent
from taskdemo_server.contract.import_string import UnusableError
from taskdemo_server.contract.settings import WORK, WorkSettings
from taskdemo_server.contract.text import error_text
from taskdemo_server.journal.file import Journal
from taskdemo_server.work import slow_work, slow_work_async, workplace
from taskdemo_server.work.spent import Spent
from taskdemo_server.work.workplace import CurrentTask, Workplace, current_task
from waiting import another_thread_waits


@pytest.fixture
def shown() -> list[str]:
    return []


@pytest.fixture
def place(tmp_path: Path, shown: list[str], monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """This process as a workplace; what runs here, runs for one task."""
    monkeypatch.setattr(workplace, "_here", None)
    given = WorkSettings(mode="background", duration=0.01, journal=str(tmp_path / "journal"))
    return workplace.set_up(given, Journal(str(given.journal)).write, shown.append)


@pytest.fixture(autouse=True)
def _current_task() -> None:
    current_task.set(CurrentTask("0123456789abcdef"))


def events(place: Workplace) -> list[TaskEvent]:
    return read_events(str(place.settings.journal))


def states(place: Workplace) -> list[str]:
    return [event.state for event in events(place)]


def fail(_message: str) -> None:
    raise RuntimeError("boom \x1b[31m\n  !\n")


async def fail_async(message: str) -> None:
    fail(message)


def test_work_that_ends_is_finished_and_shown_with_its_message(place: Workplace, shown: list[str]) -> None:
    slow_work("hi \x1b")
    started, finished = events(place)
    assert (started.id, started.state, started.message) == ("0123456789abcdef", "started", "hi \x1b")
    assert (finished.id, finished.state, finished.message) == ("0123456789abcdef", "finished", None)
    assert shown == ["Background Task called! hi \\x1b"]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_the_work_of_a_warm_up_ends_at_once_and_calls_nothing(place: Workplace, asynchronous: bool) -> None:
    place.call, place.call_async = fail, fail_async
    current_task.set(CurrentTask("warm-up-0123456789abcdef"))
    if asynchronous:
        asyncio.run(slow_work_async("hi"))
    else:
        slow_work("hi")
    assert states(place) == ["started", "finished"]


def test_work_that_raises_is_failed_with_the_error_and_raises(place: Workplace, shown: list[str]) -> None:
    place.call, place.call_async = fail, fail_async
    with pytest.raises(RuntimeError):
        slow_work("hi")
    with pytest.raises(RuntimeError):
        asyncio.run(slow_work_async("hi"))
    assert states(place) == ["started", "failed"] * 2
    assert {event.error for event in events(place)[1::2]} == {"RuntimeError: boom \x1b[31m !"}
    assert shown == ["Background Task failed! hi: RuntimeError: boom \\x1b[31m !"] * 2


def test_work_that_nobody_awaits_and_that_raises_a_cancelled_error_has_failed(place: Workplace) -> None:
    def cancelled(_message: str) -> None:
        raise asyncio.CancelledError

    place.call = cancelled
    with pytest.raises(asyncio.CancelledError):
        slow_work("hi")
    assert [(event.state, event.error) for event in events(place)[1:]] == [("failed", "CancelledError")]


def test_async_work_that_is_cancelled_is_cancelled_in_the_journal(place: Workplace, shown: list[str]) -> None:
    async def cancel() -> None:
        task = asyncio.create_task(slow_work_async("hi"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert states(place) == ["started", "cancelled"]
    assert shown == []


def test_awaited_work_is_charged_its_own_cpu_seconds_and_none_of_the_others(place: Workplace) -> None:
    async def work(message: str) -> None:
        await asyncio.sleep(0)
        if message == "computes":
            workplace.burn(0.2)
        await asyncio.sleep(0)

    async def as_task(message: str) -> None:
        current_task.set(CurrentTask(message))
        await slow_work_async(message)

    async def beside_each_other() -> None:
        await asyncio.gather(as_task("waits"), as_task("computes"), as_task("waits too"))

    place.call_async = work
    asyncio.run(beside_each_other())
    began = {event.id: event.clock for event in events(place) if event.state == "started"}
    ends = {event.id: event for event in events(place) if event.state == "finished"}
    cpu_s = {task: event.cpu_s for task, event in ends.items() if event.cpu_s is not None}
    assert 0.2 <= cpu_s["computes"] < 0.35
    assert cpu_s["waits"] < 0.1
    assert cpu_s["waits too"] < 0.1
    assert ends["waits"].clock - began["waits"] > 0.2


def test_awaited_work_hears_what_its_awaited_things_bring_and_raise(place: Workplace) -> None:
    heard: list[object] = []

    async def work(_message: str) -> None:
        loop = asyncio.get_running_loop()
        result, broken = loop.create_future(), loop.create_future()
        loop.call_soon(result.set_result, "brought")
        loop.call_soon(broken.set_exception, LookupError("raised"))
        heard.append(await result)
        with pytest.raises(LookupError, match="raised"):
            await broken

    place.call_async = work
    asyncio.run(slow_work_async("hi"))
    assert heard == ["brought"]
    assert states(place) == ["started", "finished"]


def test_without_taskdemo_work_prints_and_journals_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(workplace, "_here", None)
    monkeypatch.setattr("sys.__stdout__", None)
    monkeypatch.setattr(workplace, "WORKS", {"sleep": (lambda _: None, workplace.sleep_async)})
    monkeypatch.delenv("TASKDEMO_WORK", raising=False)
    slow_work("from nobody")
    assert capfd.readouterr().out == "Background Task called! from nobody\n"


def test_an_unknown_work_is_refused_by_name() -> None:
    with pytest.raises(UnusableError, match=r"--work is 'slee\\\\x1bp'"):
        workplace.prepare(WorkSettings(mode="async", work="slee\x1bp"))


def test_a_workers_process_that_cannot_import_the_work_says_so_and_ends_the_main_one(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(r"raise RuntimeError('not\n here\n')")
    with subprocess.Popen(["sleep", "60"]) as main:
        try:
            given = WorkSettings(mode="taskiq", work="mine:work", folder=str(tmp_path), worker=main.pid)
            done = subprocess.run(
                [sys.executable, "-c", "from taskdemo_server.work.workplace import here; here()"],
                env={**os.environ, WORK: given.to_json()},
                capture_output=True,
                text=True,
                check=False,
            )
            said = "--work mine:work: importing it failed with RuntimeError: not here (mine.py:1); fix that first"
            assert done.stderr == f"taskdemo: {said}\n"
            assert done.returncode  # 2, unless the end of the main process has ended it before
            assert main.wait(30) == -signal.SIGTERM
        finally:
            main.kill()


FORKING = """
import os, sys
from taskdemo_server.contract.settings import WorkSettings
from taskdemo_server.journal.file import Journal
from taskdemo_server.work.workplace import set_up

place = set_up(WorkSettings(mode="rq"), Journal(sys.argv[1]).write, None)
place.note("mother", "started")
forked = os.fork()
if forked == 0:
    place.note("child", "started")
    os._exit(0)
os.waitpid(forked, 0)
print(os.getpid(), forked)
"""


def test_a_process_that_is_forked_from_one_which_has_journaled_journals_as_itself(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKING, str(tmp_path / "journal")], capture_output=True, text=True, check=True
    )
    noted = [TaskEvent.from_line(line) for line in (tmp_path / "journal").read_bytes().splitlines()]
    assert [event.pid for event in noted if event] == [int(pid) for pid in done.stdout.split()]


def test_an_exception_that_cannot_say_anything_still_has_a_name() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert error_text(MuteError()) == "MuteError"
    noted = ValueError("no luck")
    noted.add_note("on a Monday")
    assert error_text(noted) == "ValueError: no luck; on a Monday"
    assert (
        error_text(ExceptionGroup("two", [KeyError(1), OSError()]))
        == "ExceptionGroup: two (2 sub-exceptions): KeyError: 1"
    )
    assert error_text(ValueError("x" * 10_000)) == "ValueError: " + "x" * (4096 - 12)


def test_a_work_that_is_alone_in_its_process_takes_what_its_threads_and_programs_take() -> None:
    def computes() -> None:
        workplace.burn(0.15)

    taken = []
    for alone in (False, True):
        spent = Spent(may_compute=False, alone=alone)
        with spent:
            thread = threading.Thread(target=computes)
            thread.start()
            thread.join()
            subprocess.run([sys.executable, "-c", "sum(range(1_000_000))"], check=True)
        taken.append(spent.cpu_s)
    assert taken[0] < 0.15 < taken[1]


def test_measuring_a_work_beside_threads_keeps_the_interpreter() -> None:
    with another_thread_waits() as its_turns:
        for _ in range(1000):
            with Spent(may_compute=True):
                pass
        assert its_turns == []
