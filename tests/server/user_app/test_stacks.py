"""What a stack says in the user's terms: the application's line, the call, who made it, and whether it is in a line."""

import asyncio
import dis
import importlib.util
import logging
import re
import subprocess
import sys
import threading
from pathlib import Path
from types import CodeType, ModuleType, SimpleNamespace
from typing import Any

import pytest
from fastapi.routing import run_endpoint_function
from jinja2 import Environment, FileSystemLoader

from taskdemo_server.contract.sightings import Look
from taskdemo_server.contract.whose_code import is_users
from taskdemo_server.user_app import unready
from taskdemo_server.user_app.stacks import Reader, Step, frames, name_of, stack, suspended_at
from taskdemo_server.user_app.unready import where_it_is
from taskdemo_server.work import user_function
from waiting import until

SHOP = """
import asyncio
import json
import queue
import subprocess
import threading
import time, anyio; import asyncio as aio; from asyncio import sleep as nap; from concurrent import futures

lock, pool = threading.Lock(), None
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


async def napped():
    await nap(60)


async def aliased():
    await aio.sleep(60)


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


def pooled():
    pool.connection(line)


def pooling():
    with futures.ThreadPoolExecutor() as new:
        new.submit(gate.wait, 60)


def timed():
    time.monotonic()
    time.sleep(0)


def opened(_line):
    return gate


def chained():
    opened(line).wait(60)
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
    look = Reader(str(tmp_path)).look([Step(code, back.offset, 4, "shop")])
    assert look == Look("shop.py:4 in summed", within="summed", in_loop=True, is_plain=True)


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


def test_to_ask_a_clock_is_no_call_to_name(shop: ModuleType, tmp_path: Path) -> None:
    code = shop.timed.__code__
    calls = [one for one in dis.get_instructions(code) if one.opname == "CALL"]
    looks = [Reader(str(tmp_path)).look([Step(code, one.offset, 1, "shop", vars(shop))]) for one in calls]
    assert [look and look.call for look in looks] == [None, "time.sleep"]


def test_code_whose_source_is_gone_is_looked_at_all_the_same(tmp_path: Path) -> None:
    code = compile("for _ in (1,): abs(1)", str(tmp_path / "gone.py"), "exec")
    steps = [Step(code, one.offset, 1, "gone") for one in dis.get_instructions(code)]
    looks = [Reader(str(tmp_path)).look([step]) for step in steps]
    assert {(look.place, look.call, look.in_loop) for look in looks if look} == {("gone.py:1 in <module>", None, False)}


def test_a_template_is_told_with_its_own_line_and_not_with_that_of_what_it_became(tmp_path: Path) -> None:
    seen: list[Step] = []
    (tmp_path / "page.html").write_text("<ul>\n\n{{ see() }}\n</ul>\n" + f"{'words' * 50}\n" * 50)
    page = Environment(loader=FileSystemLoader(tmp_path), autoescape=True).get_template("page.html")
    page.render(see=lambda: seen.extend(stack(sys._getframe(1))))
    at = next(n for n, step in enumerate(seen) if step.file.endswith("page.html"))
    look = Reader(str(tmp_path)).look(seen[at : at + 1])
    assert look
    assert (look.place, look.call) == ("page.html:3 in root", None)


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


def _waiting(reader: Reader, thread: threading.Thread) -> Any:
    """Return what the stack of a thread shows that waits in the shop."""
    first = stack(frames().get(thread.ident or 0))
    thread.join(0.02)
    again = stack(frames().get(thread.ident or 0))
    look = reader.look(again)
    return look if first == again and look is not None and look.place.startswith("shop.py") else None


@pytest.mark.parametrize(
    ("name", "seen"),
    [
        ("direct", {"place": "shop.py:25 in direct", "calling": "gate.wait -> threading.acquire", "caller": None}),
        ("direct", {"library": "threading", "in_line": False}),
        ("endpoint", {"place": "shop.py:17 in wait", "caller": "shop.py:21 in endpoint", "function": "wait"}),
        ("many", {"place": "shop.py:29 in many", "caller": None}),  # in a comprehension
        ("locked", {"in_line": True}),
        ("queued", {"in_line": True}),
        ("pooling", {"by_now": "concurrent.Executor.__exit__"}),  # wherever that waits for its threads
        # What is called on the way is no function to call elsewhere.
        ("chained", {"calling": "opened(...).wait -> threading.acquire", "function": None}),
    ],
)
def test_of_a_thread_the_line_is_the_applications_and_the_call_goes_on_to_where_it_is_by_now(
    shop: ModuleType, tmp_path: Path, name: str, seen: dict[str, Any]
) -> None:
    function, reader = getattr(shop, name), Reader(str(tmp_path))
    shop.lock.acquire()
    thread = threading.Thread(target=(lambda: asyncio.run(function())) if name in {"direct", "endpoint"} else function)
    thread.start()
    try:
        look = until(lambda: _waiting(reader, thread))
    finally:
        shop.gate.set(), shop.lock.release(), shop.line.put(1)
        thread.join()
    assert {field: getattr(look, field) for field in seen} == seen


@pytest.mark.parametrize("module", ["dbpool", "db"])
def test_who_waits_in_a_pool_waits_for_what_it_has_and_not_for_the_lock_within(
    shop: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    file = tmp_path / "site-packages" / "asyncio" / f"{module}.py"  # a folder of that name, not the package
    file.parent.mkdir(parents=True)
    file.write_text("class Pool:\n    def connection(self, line):\n        line.get()\n")
    monkeypatch.syspath_prepend(file.parent)
    monkeypatch.setattr(shop, "pool", pool := importlib.import_module(module).Pool())
    reader, waits = Reader(str(tmp_path)), Look(f"{module}.Pool.connection", "threading.Condition.wait", in_line=True)
    own, handed_over = threading.Thread(target=shop.pooled), threading.Thread(target=pool.connection, args=(shop.line,))
    own.start()
    handed_over.start()
    try:
        look = until(lambda: _waiting(reader, own))
        assert (look.calling, look.in_line) == (f"pool.connection -> {module}.Pool.connection", True)
        until(lambda: reader.look(stack(frames().get(handed_over.ident or 0))) == waits)
    finally:
        shop.line.put(1), shop.line.put(2)
        own.join()
        handed_over.join()


class Watched(logging.Handler):
    """A handler of the application's own."""

    def emit(self, _record: logging.LogRecord) -> None:
        self.steps = stack(sys._getframe())


def test_what_a_log_handler_of_the_applications_own_does_is_logging() -> None:
    handler, reader = Watched(), Reader(str(Path(__file__).parent))
    handler.handle(logging.makeLogRecord({"msg": "sold out"}))
    look = reader.look(handler.steps)
    assert look is not None
    assert (look.place.partition(" in ")[2], look.library) == ("emit", "logging")


def suspended(coroutine: Any) -> list[Step]:
    """Return the stack of a coroutine once it waits."""

    async def steps() -> list[Step]:
        task = asyncio.get_running_loop().create_task(coroutine)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        try:
            return suspended_at(task.get_coro())
        finally:
            task.cancel()

    return asyncio.run(steps())


@pytest.mark.parametrize(
    ("name", "call", "in_line"),
    [
        ("guarded", ".*asyncio.Lock.acquire.*", True),
        ("limited", ".*anyio.to_thread.run_sync.*", True),
        ("signalled", ".*event.wait -> asyncio.Event.wait.*", False),
        ("slept", "asyncio.sleep", False),
        ("napped", "asyncio.sleep", False),  # by Python's name for it
        ("aliased", "asyncio.sleep", False),
    ],
)
def test_what_a_suspended_coroutine_awaits_is_named(
    shop: ModuleType, tmp_path: Path, name: str, call: str, in_line: bool
) -> None:
    async def awaiting() -> None:
        async with shop.async_lock:
            await getattr(shop, name)()

    seen = Reader(str(tmp_path)).look(suspended(awaiting()))
    assert seen is not None
    assert re.fullmatch(call, str(seen.calling))
    assert (seen.place.rpartition(" ")[2], seen.in_line) == (name, in_line)


@pytest.mark.parametrize(
    ("file", "package", "call"),
    [(unready.__file__, "taskdemo_server", "asyncio.sleep"), ("weakref.py", "weakref", None)],
    ids=["taskdemo", "the garbage collector"],
)
def test_what_is_done_in_a_call_by_another_is_not_told(
    shop: ModuleType, tmp_path: Path, file: str, package: str, call: str | None
) -> None:
    steps = [Step(compile("", file, "exec"), 0, 1, package), *suspended(shop.slept())]
    seen = Reader(str(tmp_path)).look(steps)
    assert seen is not None
    assert (seen.place.rpartition(" ")[2], seen.call) == ("slept", call)


def test_an_endpoint_of_a_library_is_told_as_the_caller_of_what_that_library_calls(tmp_path: Path) -> None:
    files = {"argon2": "hash", "pwdlib": "hash_password", "fastapi_users": "register"}
    codes = [
        compile(f"def {name}(): ...", f"/x/site-packages/{package}/a.py", "exec").co_consts[0]
        for package, name in files.items()
    ]
    steps = [Step(code, 0, 1, package) for code, package in zip(codes, files, strict=True)]
    steps.append(Step(run_endpoint_function.__code__, 0, 1, "fastapi"))
    assert Reader(str(tmp_path)).look(steps) == Look("argon2.hash", "argon2.hash", caller="fastapi_users.register")


def framework_steps(*names: str) -> list[Step]:
    codes = (compile(f"def {name}(): ...", "/x/site-packages/fastapi/a.py", "exec").co_consts[0] for name in names)
    return [Step(code, 0, 1, "fastapi") for code in codes]


@pytest.mark.parametrize(
    ("names", "step", "place"),
    [
        (("validate",), "serialising", "serialising the answer (fastapi.validate)"),  # in a thread, for a plain def
        (("validate", "serialize_response"), "serialising", "serialising the answer (fastapi.validate)"),
        (("validate", "solve_dependencies"), "validating", "validating the request (fastapi.solve_dependencies)"),
    ],
)
def test_what_is_validated_is_the_answer_unless_the_request_is(
    tmp_path: Path, names: tuple[str, ...], step: Any, place: str
) -> None:
    assert Reader(str(tmp_path)).look(framework_steps(*names)) == Look(place, step=step)


@pytest.mark.parametrize(
    ("names", "step"),
    [
        (("serialize_response", "request_response"), "serialising"),
        (("jsonable_encoder",), None),
        (("apply_compression", "send_with_compression"), "compressing"),
    ],
)
def test_a_middleware_is_not_blamed_for_what_the_framework_does_but_who_calls_that_is(
    tmp_path: Path, names: tuple[str, ...], step: Any
) -> None:
    look = Reader(str(tmp_path)).look([*framework_steps(*names), Step(awaiting.__code__, 0, 1, "shop")])
    assert look is not None
    assert (look.step, look.within) == (step, None if step else "awaiting")


def test_a_file_of_the_application_goes_by_its_name_in_the_folder_or_by_its_own_folders(tmp_path: Path) -> None:
    assert name_of(str(tmp_path / "shop" / "main.py"), tmp_path) == "shop/main.py"
    assert name_of("/srv/shop/app/main.py", tmp_path) == "app/main.py"
    assert name_of("/srv/shop/main.py", Path("/")) == "srv/shop/main.py"


@pytest.mark.parametrize("file", [threading.__file__, asyncio.__file__, pytest.__file__, "<string>"])
def test_python_and_its_packages_are_nobodys_own(file: str) -> None:
    assert not is_users(file)
    assert is_users("/srv/shop/main.py")


def test_where_a_start_is_that_does_not_end_is_the_line_of_its_thread_or_of_what_it_awaits(
    shop: ModuleType, tmp_path: Path
) -> None:
    thread = threading.Thread(target=shop.wait)
    thread.start()
    until(lambda: where_it_is(str(tmp_path), thread).startswith(" at shop.py:17 in wait: gate.wait"))
    shop.gate.set()
    thread.join()

    loop = asyncio.new_event_loop()
    task = loop.create_task(shop.slept())
    loop.run_until_complete(asyncio.sleep(0))
    assert where_it_is(str(tmp_path), thread).endswith("in slept: asyncio.sleep")
    task.cancel()
    loop.run_until_complete(asyncio.wait([task]))
    loop.close()


def test_an_import_that_takes_long_is_told_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    told = threading.Event()

    def tell(sentence: str) -> None:
        said.append(sentence)
        if "slowly.py:2" in sentence:
            told.set()

    monkeypatch.setattr(unready, "EVERY_S", 0.05)
    monkeypatch.setattr(unready, "complain", tell)
    monkeypatch.setitem(sys.modules, "gate", SimpleNamespace(told=told))
    monkeypatch.setattr(sys, "path", sys.path[:])
    (tmp_path / "slowly.py").write_text("from gate import told\ntold.wait(60)\ndef work(message): ...\n")
    unready.tell_while_starting(str(tmp_path), told.is_set)
    user_function.find("slowly:work", str(tmp_path))
    assert said[-1].startswith("still starting at slowly.py:2 in <module>: told.wait")


LITTER = """
import _thread, gc, os, sys, time
from taskdemo_server.contract.sightings import Look
from taskdemo_server.user_app.stacks import frames

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
