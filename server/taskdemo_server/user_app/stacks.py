"""What a stack shows in the user's terms: the application's line, the call that it makes there, and its caller.

Reads frames and suspended coroutines of any thread; knows no clock. A file is the application's own unless it belongs
to Python, to an installed package, or to taskdemo.
"""

import ast
import builtins
import functools
import gc
import inspect
import linecache
import re
import sys
import threading
from itertools import dropwhile, islice, pairwise, takewhile
from opcode import opname
from pathlib import Path
from types import AsyncGeneratorType, CodeType, FrameType
from typing import Any, Final, NamedTuple

from taskdemo_server.contract.sightings import FrameworkStep, Look
from taskdemo_server.contract.whose_code import is_pythons, is_users

OURS: Final = "taskdemo_server"
IDLE: Final = frozenset({"anyio", "asyncio", "concurrent", "fastapi", "starlette", OURS, "threading", "uvicorn"})
"""Packages that delay nothing: a thread in these alone is idle, or is kept from running."""
STEPS: Final[dict[str, FrameworkStep]] = {
    "serialize_response": "serialising",
    "jsonable_encoder": "serialising",
    "render": "serialising",
    "validate": "serialising",
    "request_body_to_args": "validating",
    "solve_dependencies": "validating",
    "apply_compression": "compressing",
    "_compress_body": "compressing",
}
"""What a framework does for the application, by the name of the function on the stack."""
FRAMEWORKS: Final = frozenset({"fastapi", "litestar", "starlette"})
WAITERS: Final = frozenset({"anyio", "asyncio", "concurrent"})
WAITING: Final = re.compile(r"/(threading|queue|_synchronization)\.py$")
"""Packages and files whose functions wait for others, in whatever way."""
POOLS: Final = re.compile(r"pool[^/]*(/[^/]+)?\.py$")
"""Files in which a wait is for something that others hold."""
OF_A_NEW_POOL: Final = frozenset({"BaseProcess.start", "Executor.__exit__", "Pool.__exit__"})
"""Functions of Python's that start a process, or end a pool of processes or threads."""
LINES: Final = frozenset({"CapacityLimiter", "Lock", "Queue", "RLock", "Semaphore", "SimpleQueue"})
WAITING_CALLS: Final = frozenset({"acquire", "get", "getconn", "join", "result", "wait"})
ENDPOINTS: Final = frozenset({"run_endpoint_function", "solve_dependencies", "request_response"})
"""Functions of frameworks that call endpoints, or that enclose the functions that do."""
HANDLERS: Final = frozenset({"get_request_handler", "request_response"})
"""Functions of frameworks that enclose those that handle a request, beside the endpoint itself."""
COMPREHENSIONS: Final = frozenset({"<dictcomp>", "<genexpr>", "<listcomp>", "<setcomp>"})
CLOCKS: Final = frozenset(
    f"time.{clock}{unit}"
    for clock in ("time", "monotonic", "perf_counter", "process_time", "thread_time")
    for unit in ("", "_ns")
)
"""Calls that nothing waits for, and that compute next to nothing."""
STARTING: Final = threading.Thread.start.__code__
WITH: Final = re.compile(r"(?:async\s+)?with\s+(.+?)(?:\s+as\s+\w+)?\s*:", re.DOTALL)
LONGEST: Final = 60
ASYNC: Final = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class Step(NamedTuple):
    """One frame of a stack at one moment: the frame itself runs on."""

    code: CodeType
    last: int
    """The offset of its current instruction."""
    line: int
    package: str
    names: dict[str, Any] = {}  # noqa: RUF012  never mutated
    """The globals of its module."""

    @property
    def file(self) -> str:
        """The file of its code."""
        return self.code.co_filename


def frames() -> dict[int, FrameType]:
    """Return the innermost frame of each thread, by thread identifier.

    Disables garbage collection meanwhile: until Python 3.11.9 it can deadlock the whole process
    (https://github.com/python/cpython/issues/106883).
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        return sys._current_frames()  # noqa: SLF001  its documented use
    finally:
        if collects:
            gc.enable()


def stack(innermost: FrameType | None) -> list[Step]:
    """Return the current stack with this innermost frame. Quick, and lets no other thread run."""
    steps = []
    while innermost is not None:
        steps.append(_step(innermost))
        innermost = innermost.f_back
    return steps


def maker(frame: FrameType | None) -> Step | None:
    """Return the application's innermost step that led to this frame; None if none did."""
    while frame is not None and not is_users(frame.f_code.co_filename):
        frame = frame.f_back
    return None if frame is None else _step(frame)


def suspended_at(awaitable: object) -> list[Step]:
    """Return the stack of a suspended coroutine, the innermost frame first; empty for other awaitables."""
    steps: list[Step] = []
    while awaitable is not None:
        found: Any = awaitable
        if type(found).__name__ == "async_generator_asend":  # it has no attribute that leads to its generator
            found = next((one for one in gc.get_referents(found) if isinstance(one, AsyncGeneratorType)), None)
        awaitable = None
        for prefix in ("cr", "ag", "gi"):
            if (frame := getattr(found, f"{prefix}_frame", None)) is not None:
                steps.insert(0, _step(frame))
                awaitable = getattr(found, "gi_yieldfrom" if prefix == "gi" else f"{prefix}_await", None)
    return steps


def _step(frame: FrameType) -> Step:
    package = str(frame.f_globals.get("__name__") or "").partition(".")[0]
    return Step(frame.f_code, frame.f_lasti, frame.f_lineno or 0, package, frame.f_globals)


class Reader:
    """Reads stacks; names the application's files relative to `folder`."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder).resolve()

    def look(self, steps: list[Step], *, others: bool = True) -> Look | None:
        """Return what this stack, the innermost frame first, shows; None if it does nothing for the application.

        `others`: whether what libraries do for it counts if none of its own code is on the stack.
        """
        if any(step.code is STARTING for step in steps):
            return None  # It waits until the new thread runs, which others delay.
        is_interrupted = bool(steps) and _interrupts(steps[0])
        steps = list(dropwhile(_interrupts, steps))
        at = next((n for n, step in enumerate(steps) if is_users(step.file)), None)
        if at is None:
            return _look_at_others(steps) if others else None
        theirs = _look_at_others(steps[:at])
        if theirs and theirs.step and (theirs.step == "compressing" or _is_handled(steps[:at])):
            return theirs  # the application's middleware is around the framework, or sends through it
        own = steps[at]
        # Skip our own stream, which tasks print through.
        inner = list(dropwhile(lambda step: step.package == OURS, steps[:at]))
        called = _called(own.code, own.last)
        call, by_now = called.name and _pythons_name(called.name, own), None
        if inner:
            known = _pool(inner) or next((step for step in inner if step.code.co_qualname in OF_A_NEW_POOL), None)
            last = _where_by_now(known or inner[0], None if known else _called(inner[0].code, inner[0].last))
            call, by_now = (last, None) if call in {None, last} else (call, last)
        if is_interrupted:  # it may wait for the GIL anywhere
            call = by_now = None
        if not inner and call in CLOCKS:  # so short that a look there shows only that a loop goes on
            call = by_now = None
        in_line = _in_line(inner) or (
            not inner and call is not None and (not called.is_call or call.rpartition(".")[2] in WAITING_CALLS)
        )
        owns = [n for n, step in enumerate(steps) if n >= at and is_users(step.file)]
        outer = next((n for n in owns if steps[n].code.co_flags & ASYNC), owns[-1])
        caller, above = steps[outer], steps[outer + 1 : outer + 2]
        is_other = (caller.file, function_of(caller.code)) != (own.file, function_of(own.code))
        by = caller if is_other else own
        is_handler = any(step.package == "logging" for step in steps[at:])
        return Look(
            self.place(own),
            call,
            by_now,
            caller=self.place(caller) if is_other else None,
            within=function_of(caller.code),
            function=_called(by.code, by.last).function,
            in_loop=_is_in_loop(by.code, by.last),
            may_be_plain=any(map(_calls_endpoints, above)) and _is_async_without_need(caller.code),
            is_plain=not caller.code.co_flags & ASYNC,
            library="logging" if is_handler else inner[-1].package if inner else None,
            in_line=in_line,
        )

    def place(self, step: Step) -> str:
        """Return the file, line and function of a step of the application, for people."""
        template = step.names.get("__jinja_template__")  # compiled, it still maps its lines to the source's
        line = template.get_corresponding_lineno(step.line) if template else step.line
        return f"{name_of(step.file, self._folder)}:{line} in {function_of(step.code)}"


@functools.cache
def name_of(filename: str, folder: Path) -> str:
    """Return the name to show for one of the application's own files: relative to `folder` if it is in there."""
    path = Path(filename).resolve()
    return str(path.relative_to(folder) if path.is_relative_to(folder) else Path(*path.parts[-2:]))


def function_of(code: CodeType) -> str:
    """Return the name of the function that this code belongs to, even if it is a comprehension in it."""
    return next((part for part in reversed(code.co_qualname.split(".")) if not part.startswith("<")), code.co_name)


def _positions(code: CodeType, last: int) -> tuple[int, int, int, int] | None:
    """Return first line, last line, first column and end column of the instruction at this offset; None if unknown."""
    positions = next(islice(code.co_positions(), max(last, 0) // 2, None), None)
    if positions is None or None in positions:
        return None
    line, end_line, column, end_column = (number or 0 for number in positions)
    return line, end_line, column, end_column


class Called(NamedTuple):
    """What an instruction calls, awaits or names, as written in the source."""

    name: str | None
    is_call: bool = False
    function: str | None = None
    """What it calls, if that could be called elsewhere as well."""


@functools.cache
def _called(code: CodeType, last: int) -> Called:
    """Return what the instruction at this offset calls."""
    instruction = opname[code.co_code[max(last, 0)]]
    positions = _positions(code, last)
    # A jump back in a loop has the position of what ran before it. A compiled template's lines are not in its file.
    if positions is None or "JUMP" in instruction or not code.co_filename.endswith(".py"):
        return Called(None)
    line, end_line, column, end_column = positions
    numbers = range(line, min(end_line, line + 20) + 1)
    lines = [linecache.getline(code.co_filename, number).encode() for number in numbers]
    lines[-1] = lines[-1][:end_column]
    lines[0] = lines[0][column:]
    name, is_call = _expression(b"".join(lines).decode(errors="replace"))
    is_begun = instruction in {"FOR_ITER", "GET_ANEXT", "SEND"}  # it was called earlier, and goes on
    # Whoever passes `session.scalars(...).all` on still calls `scalars` here.
    is_name = name is not None and "..." not in name
    return Called(name, is_call, name if is_call and is_name and not is_begun else None)


def _pythons_name(name: str, step: Step) -> str:
    """Return the standard library's name for this, if the application's module has another name for it."""
    first, _, rest = name.partition(".")
    code = step.code
    found = None if first in (*code.co_varnames, *code.co_cellvars, *code.co_freevars) else step.names.get(first)
    module = found.__name__ if inspect.ismodule(found) else str(getattr(found, "__module__", None))
    top = module.partition(".")[0]
    if top not in sys.stdlib_module_names or top.startswith("_"):
        return name
    if inspect.ismodule(found):
        return f"{module}.{rest}"
    if rest or not (inspect.isroutine(found) or inspect.isclass(found)):
        return name
    is_at_top = getattr(sys.modules.get(top), found.__qualname__, None) is found
    return f"{top if is_at_top else module}.{found.__qualname__}"


@functools.cache
def _is_in_loop(code: CodeType, last: int) -> bool:
    """Return whether that instruction is in a loop: it may run often, and only briefly each time."""
    if (at := _positions(code, last)) is None:
        return False
    return code.co_name in COMPREHENSIONS or any(begin <= (at[0], at[2]) <= end for begin, end in _loops(code))


@functools.cache
def _loops(code: CodeType) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return the start and the end, as (line, column), of all that this function does in a loop."""
    # Not with inspect: it looks at all modules first, while the application's threads may be running.
    first = code.co_firstlineno
    last = max(end or first for _, end, _, _ in code.co_positions())
    lines = linecache.getlines(code.co_filename)[first - 1 : last]
    source = "".join(lines)  # empty if the file is gone
    try:
        tree = ast.parse(f"if True:\n{source}" if source.startswith((" ", "\t")) else f"\n{source}")
    except (SyntaxError, ValueError):
        return []
    ast.increment_lineno(tree, first - 2)
    spans: list[tuple[ast.stmt | ast.expr, ast.stmt | ast.expr]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.For | ast.AsyncFor | ast.While):
            spans.append((node.test if isinstance(node, ast.While) else node.body[0], node.body[-1]))
        elif isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp):
            spans.append((node.elt, node.elt))
        elif isinstance(node, ast.DictComp):
            spans.append((node.key, node.value))
    return [((begin.lineno, begin.col_offset), (end.end_lineno or 0, end.end_col_offset or 0)) for begin, end in spans]


def _expression(source: str) -> tuple[str | None, bool]:
    """Return what the source of an expression calls or names, and whether it is a call."""
    if opened := WITH.match(source):
        source = opened[1]
    try:
        node: ast.expr = ast.parse(f"({source})", mode="eval").body
    except (SyntaxError, ValueError):
        return None, False
    if isinstance(node, ast.Await):
        node = node.value
    is_call = isinstance(node, ast.Call)
    if isinstance(node, ast.Call):
        node = node.func
    if not isinstance(node, ast.Name | ast.Attribute):
        return None, False
    for one in ast.walk(node):
        if isinstance(one, ast.Call):
            one.args, one.keywords = [ast.Constant(...)], []
    name = ast.unparse(node)
    return name if len(name) <= LONGEST else f"...{name[-LONGEST:]}", is_call


@functools.cache
def _is_async_without_need(code: CodeType) -> bool:
    awaits = any(opname[one] in {"GET_AWAITABLE", "GET_ANEXT"} for one in code.co_code[::2])
    return bool(code.co_flags & ASYNC) and not awaits


def _calls_endpoints(step: Step) -> bool:
    return step.package in FRAMEWORKS and not ENDPOINTS.isdisjoint(step.code.co_qualname.split("."))


def _in_line(steps: list[Step]) -> bool:
    """Return whether these library frames, the innermost first, wait for a lock, a queue or a pool."""
    waiting = list(takewhile(_waits, steps))
    classes = {step.code.co_qualname.partition(".")[0] for step in waiting}
    return not LINES.isdisjoint(classes) or _pool(steps) is not None


def _waits(step: Step) -> bool:
    return step.package in WAITERS or WAITING.search(step.file) is not None


def _pool(steps: list[Step]) -> Step | None:
    """Return the pool's frame if these library frames, the innermost first, wait in a pool; else None."""
    step = next(dropwhile(_waits, steps), None)
    is_pool = step is not None and (POOLS.search(step.file) or "Pool" in step.code.co_qualname)
    return step if is_pool else None


def _interrupts(step: Step) -> bool:
    """Return whether a frame is of a callback of the garbage collector, which can interrupt a thread anywhere."""
    return Path(step.file).stem in {"_weakrefset", "weakref", "loop_stalls"}


def _where_by_now(step: Step, called: Called | None) -> str:
    """Return what a library's frame does, prefixed with its package."""
    if called is not None and called.name is not None and called.is_call:
        return called.name if hasattr(builtins, called.name) else f"{step.package}.{called.name.rpartition('.')[2]}"
    return f"{step.package}.{step.code.co_qualname.replace('<locals>.', '')}"


def _is_handled(steps: list[Step]) -> bool:
    """Return whether the framework handles a request in these frames: what is around them has only passed that on."""
    return any(
        step.package in FRAMEWORKS and not HANDLERS.isdisjoint(step.code.co_qualname.split(".")) for step in steps
    )


def _step_of(step: Step) -> FrameworkStep | None:
    """Return what a framework does for the application in this frame."""
    return STEPS.get(step.code.co_name) if step.package in FRAMEWORKS else None


def _look_at_others(steps: list[Step]) -> Look | None:
    for step in steps:
        if (doing := _step_of(step)) is not None:
            if step.code.co_name == "validate" and any(_step_of(one) == "validating" for one in steps):
                continue  # so what is validated is the request
            what = "request" if doing == "validating" else "answer"
            return Look(f"{doing} the {what} ({step.package}.{step.code.co_name})", step=doing)
    other = next((step for step in steps if step.package not in IDLE and not is_pythons(step.file)), None)
    if other is None:
        return None
    pool = _pool(steps)
    place = f"{other.package}.{other.code.co_name}" if pool is None else _where_by_now(pool, None)
    endpoint = next((one for one, above in pairwise(steps) if _calls_endpoints(above)), None)
    is_other = endpoint is not None and endpoint.package not in IDLE and endpoint is not other
    caller = f"{endpoint.package}.{function_of(endpoint.code)}" if endpoint is not None and is_other else None
    return Look(place, _where_by_now(steps[0], None), caller=caller, in_line=pool is not None)
