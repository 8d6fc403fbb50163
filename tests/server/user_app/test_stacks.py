"""What a stack says in the user's terms: the application's line, the call, who made it, and whether it is in a line."""

import asyncio
import dis
import importlib.util
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest
from fastapi.routing import run_endpoint_function

from conftest import until
from taskdemo_server.contract.frames import frames
from taskdemo_server.user_app.stacks import Look, Reader, Step, stack, suspended_at
from taskdemo_server.user_app.unready import where_it_is

SHOP = """
import asyncio
import json
import queue
import subprocess
import threading
import time, anyio

lock = threading.Lock()
async_lock = asyncio.Lock()
event = asyncio.Event()
line = queue.Queue()
gate = threading.Event()


def wait():
    gate.wait(60)


async def endpoint():
    wait()


async def direct():
    gate.wait(60)


def many():
    return [gate.wait(60) for _ in range(1)]


def locked():
    with lock:
        pass


def queued():
    line.get()


async def guarded():
    async with async_lock:
        pass


async def signalled():
    await event.wait()


async def slept():
    await asyncio.sleep(60)


def summed():
    total = 0
    for number in range(3):
        total += number
    return total


def looped():
    for one in sorted((3, 1)):
        abs(one)
    while abs(0):
        pass
    least = [hash(one) for one in set((1, 2))]
    return max(least)


async def limited():
    limiter = anyio.CapacityLimiter(1)
    limiter.acquire_on_behalf_of_nowait("somebody")
    await anyio.to_thread.run_sync(wait, limiter=limiter)
"""


@pytest.fixture
def shop(tmp_path: Path) -> ModuleType:
    file = tmp_path / "shop.py"
    file.write_text(SHOP)
    spec = importlib.util.spec_from_file_location("shop", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_loop_of_the_applications_own_calls_nothing(shop: ModuleType, tmp_path: Path) -> None:
    code = shop.summed.__code__
    back = next(one for one in dis.get_instructions(code) if one.opname == "JUMP_BACKWARD")
    assert Reader(str(tmp_path)).look([Step(code, back.offset, 4, "shop")]) == Look("shop.py:4 in summed", in_loop=True)


@pytest.mark.parametrize(
    ("called", "in_loop"), [("sorted", False), ("abs", True), ("hash", True), ("set", False), ("max", False)]
)
def test_what_is_called_in_a_loop_is_told_from_what_it_goes_over(
    shop: ModuleType, tmp_path: Path, called: str, in_loop: bool
) -> None:
    codes = [shop.looped.__code__, *(one for one in shop.looped.__code__.co_consts if isinstance(one, CodeType))]
    looks = [
        Reader(str(tmp_path)).look([Step(code, one.offset, 1, "shop")])
        for code in codes
        for one in dis.get_instructions(code)
        if one.opname == "CALL"
    ]
    assert {look.in_loop for look in looks if look and look.function == called} == {in_loop}


def test_code_whose_source_is_gone_is_looked_at_all_the_same(tmp_path: Path) -> None:
    code = compile("for _ in (1,): abs(1)", str(tmp_path / "gone.py"), "exec")
    steps = [Step(code, one.offset, 1, "gone") for one in dis.get_instructions(code)]
    looks = [Reader(str(tmp_path)).look([step]) for step in steps]
    assert {(look.place, look.call, look.in_loop) for look in looks if look} == {("gone.py:1 in <module>", None, False)}


async def awaiting() -> None:
    await asyncio.sleep(0)


async def awaiting_nothing() -> None:
    pass


@pytest.mark.parametrize(
    ("endpoint", "called_by", "package", "may_be_plain"),
    [
        (awaiting_nothing, run_endpoint_function, "fastapi", True),
        (awaiting_nothing, awaiting, "shop", False),
        (awaiting, run_endpoint_function, "fastapi", False),
    ],
)
def test_an_endpoint_that_awaits_nothing_may_be_a_plain_def_and_what_others_await_may_not(
    endpoint: Any, called_by: Any, package: str, may_be_plain: bool
) -> None:
    steps = [Step(endpoint.__code__, 0, 1, "shop"), Step(called_by.__code__, 0, 1, package)]
    look = Reader(str(Path(__file__).parent)).look(steps)
    assert look is not None
    assert look.may_be_plain is may_be_plain


def look_at_thread(folder: Path, run: Callable[[], object], release: Callable[[], object]) -> Look:
    """Return what the stack of a thread shows that runs this, once it waits."""
    reader = Reader(str(folder))
    thread = threading.Thread(target=run)
    thread.start()
    try:
        seen: Look = until(lambda: _waiting(reader, thread))
        return seen
    finally:
        release()
        thread.join()


def _waiting(reader: Reader, thread: threading.Thread) -> Any:
    first = stack(frames().get(thread.ident or 0))
    thread.join(0.02)
    again = stack(frames().get(thread.ident or 0))
    look = reader.look(again)
    return look if first == again and look is not None and look.place.startswith("shop.py") else None


def look_at_coroutine(folder: Path, coroutine: Any) -> Look | None:
    async def look() -> Look | None:
        task = asyncio.get_running_loop().create_task(coroutine)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        try:
            return Reader(str(folder)).look(suspended_at(task.get_coro()))
        finally:
            task.cancel()

    return asyncio.run(look())


def test_the_line_is_the_applications_and_the_call_goes_on_to_where_it_is_by_now(
    shop: ModuleType, tmp_path: Path
) -> None:
    seen = look_at_thread(tmp_path, lambda: asyncio.run(shop.direct()), shop.gate.set)
    assert (seen.place, seen.call, seen.caller) == ("shop.py:25 in direct", "gate.wait -> threading.acquire", None)
    assert seen.library == "threading"


def test_the_async_function_that_led_there_is_named_with_what_it_calls(shop: ModuleType, tmp_path: Path) -> None:
    seen = look_at_thread(tmp_path, lambda: asyncio.run(shop.endpoint()), shop.gate.set)
    assert (seen.place, seen.caller, seen.function) == ("shop.py:17 in wait", "shop.py:21 in endpoint", "wait")


def test_a_comprehension_goes_by_the_name_of_its_function(shop: ModuleType, tmp_path: Path) -> None:
    seen = look_at_thread(tmp_path, shop.many, shop.gate.set)
    assert (seen.place, seen.caller) == ("shop.py:29 in many", None)


def test_who_waits_for_a_lock_or_a_queue_waits_in_a_line_and_who_waits_for_an_event_does_not(
    shop: ModuleType, tmp_path: Path
) -> None:
    shop.lock.acquire()
    assert look_at_thread(tmp_path, shop.locked, shop.lock.release).in_line
    assert look_at_thread(tmp_path, shop.queued, lambda: shop.line.put(1)).in_line
    assert not look_at_thread(tmp_path, shop.wait, shop.gate.set).in_line


def test_what_a_suspended_coroutine_awaits_is_named(shop: ModuleType, tmp_path: Path) -> None:
    async def guarded() -> None:
        async with shop.async_lock:
            await shop.guarded()

    seen = look_at_coroutine(tmp_path, guarded())
    assert seen is not None
    assert (seen.place.rpartition(" ")[2], seen.in_line) == ("guarded", True)
    assert (seen.call or "").endswith("asyncio.Lock.acquire")
    limited = look_at_coroutine(tmp_path, shop.limited())
    assert limited is not None
    assert limited.in_line
    signalled = look_at_coroutine(tmp_path, shop.signalled())
    assert signalled is not None
    assert (signalled.call, signalled.in_line) == ("event.wait -> asyncio.Event.wait", False)
    slept = look_at_coroutine(tmp_path, shop.slept())
    assert slept is not None
    assert (slept.call, slept.in_line) == ("asyncio.sleep", False)


def test_a_thread_that_the_garbage_collector_interrupts_is_in_no_call(shop: ModuleType, tmp_path: Path) -> None:
    async def steps() -> list[Step]:
        task = asyncio.ensure_future(shop.slept())
        await asyncio.sleep(0)
        try:
            return suspended_at(task.get_coro())
        finally:
            task.cancel()

    seen, reader = asyncio.run(steps()), Reader(str(tmp_path))
    interrupting = Step(compile("", "weakref.py", "exec"), 0, 1, "weakref")
    assert [look and look.call for look in map(reader.look, (seen, [interrupting, *seen]))] == ["asyncio.sleep", None]


def test_a_file_of_the_application_goes_by_its_name_in_the_folder_or_by_its_own_folders(tmp_path: Path) -> None:
    reader = Reader(str(tmp_path))
    assert reader.own(str(tmp_path / "shop" / "main.py")) == "shop/main.py"
    assert reader.own("/srv/shop/app/main.py") == "app/main.py"
    assert reader.own(threading.__file__) is None
    assert reader.own(pytest.__file__) is None
    assert reader.own("<string>") is None


def test_python_is_nobodys_own_even_from_the_root_folder() -> None:
    reader = Reader("/")
    assert reader.own(asyncio.__file__) is None
    assert reader.own("/srv/shop/main.py") == "srv/shop/main.py"


def test_a_thread_that_waits_for_work_does_nothing_of_the_applications(tmp_path: Path) -> None:
    assert Reader(str(tmp_path)).look(stack(None)) is None


def test_where_a_start_is_that_does_not_end_is_the_line_of_its_thread_or_of_what_it_awaits(
    shop: ModuleType, tmp_path: Path
) -> None:
    reader = Reader(str(tmp_path))
    thread = threading.Thread(target=shop.wait)
    thread.start()
    until(lambda: where_it_is(reader, thread).startswith(" at shop.py:17 in wait: gate.wait"))
    shop.gate.set()
    thread.join()

    loop = asyncio.new_event_loop()
    task = loop.create_task(shop.slept())
    loop.run_until_complete(asyncio.sleep(0))
    assert where_it_is(reader, thread).endswith("in slept: asyncio.sleep")
    task.cancel()
    loop.run_until_complete(asyncio.wait([task]))
    loop.close()


LITTER = """
import _thread, gc, os, sys, time
from taskdemo_server.contract.frames import frames

class Litter:
    def __del__(self):
        _thread.start_new_thread(int, ())

gate = _thread.allocate_lock()
gate.acquire()
for _ in range(60):
    _thread.start_new_thread(lambda: gate.acquire(), ())
time.sleep(0.3)
gc.set_threshold(30)
gc.collect()
litter = Litter()
litter.me = litter
del litter
print(len(frames()) > 60, gc.isenabled())
gc.disable()
frames()
print(gc.isenabled())
sys.stdout.flush()
os._exit(0)
"""
"""Sixty frames are made for whoever asks where the threads are; garbage that starts a thread comes due meanwhile."""


def test_to_ask_where_the_threads_are_hangs_in_no_collection_of_garbage() -> None:
    done = subprocess.run([sys.executable, "-c", LITTER], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["True", "True", "False"], done.stderr
