"""The work's wrapping: what it journals when work ends, raises or is cancelled, and what it shows."""

import asyncio
from pathlib import Path

import pytest

from taskdemo_server.contract.events import TaskEvent
from taskdemo_server.contract.settings import Settings
from taskdemo_server.journal.file import Journal
from taskdemo_server.work import UnknownWorkError, Work, current_task, process_of, said


@pytest.fixture
def shown() -> list[str]:
    return []


@pytest.fixture
def work(tmp_path: Path, shown: list[str]) -> Work:
    current_task.set("0123456789abcdef")
    settings = Settings(mode="background", journal=str(tmp_path / "journal"), duration=0.01)
    return Work(settings, Journal(settings.journal), shown.append)


def events(work: Work) -> list[TaskEvent]:
    lines = Path(work.journal.path).read_bytes().splitlines()
    return [event for line in lines if (event := TaskEvent.from_line(line))]


def states(work: Work) -> list[str]:
    return [event.state for event in events(work)]


def fail(_message: str) -> None:
    raise RuntimeError("boom \x1b[31m\n")


async def fail_async(message: str) -> None:
    fail(message)


def test_work_that_ends_is_finished_and_shown_with_its_message(work: Work, shown: list[str]) -> None:
    work.accept("hi \x1b")
    assert work.open
    work.run("hi \x1b")
    assert states(work) == ["accepted", "started", "finished"]
    assert shown == ["Background Task called! hi \\x1b"]
    assert not work.open


def test_work_that_raises_is_failed_with_the_error_and_raises(work: Work, shown: list[str]) -> None:
    work._call = fail
    work._call_async = fail_async
    work.accept("hi")
    with pytest.raises(RuntimeError):
        work.run("hi")
    with pytest.raises(RuntimeError):
        asyncio.run(work.run_async("hi"))
    assert states(work) == ["accepted", "started", "failed", "started", "failed"]
    assert events(work)[2].error == "RuntimeError: boom \x1b[31m\n"
    assert shown[0] == "Background Task failed! hi: RuntimeError: boom \\x1b[31m\\n"
    assert not work.open


def test_async_work_that_is_cancelled_is_cancelled_in_the_books(work: Work) -> None:
    async def cancel() -> None:
        work.accept("hi")
        task = asyncio.create_task(work.run_async("hi"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert states(work) == ["accepted", "started", "cancelled"]
    assert not work.open


def test_an_unknown_work_is_refused_by_name(tmp_path: Path) -> None:
    settings = Settings(mode="async", journal=str(tmp_path / "journal"), work="slee\x1bp")
    with pytest.raises(UnknownWorkError, match=r"Unknown work 'slee\\\\x1bp'"):
        Work(settings, Journal(settings.journal))


def test_an_exception_that_cannot_say_anything_still_has_a_name() -> None:
    class MuteError(Exception):
        def __str__(self) -> str:
            raise ValueError

    assert said(MuteError()) == "MuteError"
    assert said(ValueError("x" * 10_000)) == "ValueError: " + "x" * (4096 - 12)


def test_a_place_tells_host_and_process(work: Work) -> None:
    work.accept("hi")
    assert process_of(events(work)[0].where) is not None
    assert process_of("elsewhere") is None
