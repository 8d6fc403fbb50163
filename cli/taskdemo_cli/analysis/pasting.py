"""The endpoint to paste, for each mode: a whole `main.py` that runs as it is. Pure text."""

from dataclasses import dataclass
from typing import Final

TAKEN: Final = frozenset(
    {"AsyncIterator", "BackgroundTasks", "Celery", "FastAPI", "Future", "ProcessPoolExecutor", "app", "asyncio"}
    | {"asynccontextmanager", "background_tasks", "broker", "do_work", "future", "lifespan", "log_failure", "logging"}
    | {"message", "multiprocessing", "os", "slow_work", "start", "tasks"}
)
"""Names that the code uses itself."""
RUN: Final = "# main.py; run it with:  uvicorn main:app"


@dataclass(frozen=True, slots=True)
class Function:
    """The function that the endpoint is to run, as `taskdemo` has found it."""

    name: str
    """`module:function`, or a work that comes along: its code stands for the reader's own."""
    is_async: bool = False
    takes_message: bool = True
    duration_s: float = 1.0


def code(mode: str, function: Function) -> str:
    """Return the code for a mode. Raises KeyError for a mode that there is not."""
    work = _Work(function, awaited=mode in {"async", "background-async"})
    return {
        "blocking": _blocking,
        "async": _async,
        "threadpool": _threadpool,
        "background": _background,
        "background-async": _background_async,
        "process": _process,
        "celery": _celery,
    }[mode](work)


class _Work:
    """How the function gets into the file, and how it is called there."""

    def __init__(self, function: Function, *, awaited: bool) -> None:
        module, colon, name = function.name.partition(":")
        self.is_async = function.is_async
        self.stdlib: set[str] = set()
        self.definition: tuple[str, ...] = ()
        self.imported: tuple[str, ...] = ()
        if colon:
            self.name = name if name not in TAKEN else f"own_{name}"
            self.imported = (f"from {module} import {name}" + (f" as {self.name}" if self.name != name else ""),)
            self.arguments = "message" if function.takes_message else ""
        else:
            self.name, self.arguments = "slow_work", "message"
            self.is_async = awaited and function.name == "sleep"
            self._stand_in(function)
        self.takes_message = bool(self.arguments)
        self.call = f"{self.name}({self.arguments})"
        self.parameter = 'message: str = "Hello"' if self.takes_message else ""
        self.comma = ", message" if self.takes_message else ""

    def _stand_in(self, function: Function) -> None:
        seconds = f"{function.duration_s:g}"
        if function.name == "cpu":
            self.stdlib.add("time")
            body: tuple[str, ...] = (
                "    # In place of your own computation.",
                f"    end = time.thread_time() + {seconds}",
                "    while time.thread_time() < end:",
                "        sum(range(1000))",
            )
        else:
            module = "asyncio" if self.is_async else "time"
            self.stdlib.add(module)
            wait = f"await asyncio.sleep({seconds})" if self.is_async else f"time.sleep({seconds})"
            body = (f"    {wait}  # in place of your own work",)
        kind = "async def" if self.is_async else "def"
        self.definition = ("", "", f"{kind} slow_work(message: str) -> None:", *body)

    def inside(self) -> str:
        """Return the statement that does the work where there is no event loop."""
        if self.is_async:
            self.stdlib.add("asyncio")
            return f"asyncio.run({self.call})"
        return self.call

    def file(self, third: tuple[str, ...], body: tuple[str, ...], stdlib: tuple[str, ...] = (), top: str = RUN) -> str:
        """Return the whole file."""
        imports = sorted({*(f"import {name}" for name in self.stdlib), *stdlib}, key=_import_order)
        head = "\n\n".join(filter(None, [top, "\n".join(imports), "\n".join(third), "\n".join(self.imported)]))
        rest = "\n".join((*self.definition, *body)).lstrip("\n")
        return f"{head}\n\n{rest}\n" if rest.startswith(("app", "broker")) else f"{head}\n\n\n{rest}\n"


def _import_order(line: str) -> tuple[bool, str]:
    return line.startswith("from "), line


FASTAPI: Final = ("from fastapi import FastAPI",)
APP: Final = ("", "", "app = FastAPI()", "", "")
WITH_TASKS: Final = ("from fastapi import BackgroundTasks, FastAPI",)
ANSWER: Final = '    return {"message": "Hello World!"}'


def _endpoint(kind: str, work: _Work, *statements: str, tasks: bool = False) -> tuple[str, ...]:
    parameters = [*(["background_tasks: BackgroundTasks"] if tasks else []), work.parameter]
    listed = ", ".join(filter(None, parameters))
    head = f"{kind} start({listed}) -> dict[str, str]:"
    lines = (head,) if len(head) < 80 else (f"{kind} start(", f"    {listed}", ") -> dict[str, str]:")
    return ('@app.get("/")', *lines, *(f"    {statement}" for statement in statements), ANSWER)


def _blocking(work: _Work) -> str:
    return work.file(FASTAPI, (*APP, *_endpoint("async def", work, f"{work.call}  # holds the event loop")))


def _async(work: _Work) -> str:
    return work.file(FASTAPI, (*APP, *_endpoint("async def", work, f"{'await ' if work.is_async else ''}{work.call}")))


def _threadpool(work: _Work) -> str:
    return work.file(FASTAPI, (*APP, *_endpoint("def", work, work.call)))


def _background(work: _Work) -> str:
    add = f"background_tasks.add_task({work.name}{work.comma})"
    return work.file(WITH_TASKS, (*APP, *_endpoint("async def", work, add, tasks=True)))


def _background_async(work: _Work) -> str:
    if work.is_async:
        return _background(work)
    wrapper = (
        "",
        "",
        f"async def do_work({'message: str' if work.takes_message else ''}) -> None:",
        f"    {work.call}  # not awaited: it holds the event loop until it returns",
    )
    add = f"background_tasks.add_task(do_work{work.comma})"
    return work.file(WITH_TASKS, (*wrapper, *APP, *_endpoint("async def", work, add, tasks=True)))


def _process(work: _Work) -> str:
    body = (
        "",
        "",
        f"def do_work({'message: str' if work.takes_message else ''}) -> None:",
        f"    {work.inside()}",
        "",
        "",
        'def log_failure(future: "Future[None]") -> None:',
        "    if (error := future.exception()) is not None:",
        '        logging.error("The work failed", exc_info=error)',
        "",
        "",
        "@asynccontextmanager",
        "async def lifespan(app: FastAPI) -> AsyncIterator[None]:",
        "    # To fork a process with threads may hang it; spawn starts clean.",
        '    spawn = multiprocessing.get_context("spawn")',
        "    with ProcessPoolExecutor(mp_context=spawn) as app.state.pool:",
        "        yield",
        "",
        "",
        "app = FastAPI(lifespan=lifespan)",
        "",
        "",
        *_endpoint(
            "async def",
            work,
            f"future = app.state.pool.submit(do_work{work.comma})",
            "future.add_done_callback(log_failure)",
        ),
    )
    stdlib = (
        "import logging",
        "import multiprocessing",
        "from collections.abc import AsyncIterator",
        "from concurrent.futures import Future, ProcessPoolExecutor",
        "from contextlib import asynccontextmanager",
    )
    return work.file(FASTAPI, body, stdlib)


def _celery(work: _Work) -> str:
    body = (
        "",
        "",
        'broker = os.environ.get("BROKER_URL", "redis://localhost:6379/0")',
        'tasks = Celery("main", broker=broker)',
        "# A worker that dies gives its task back; so a task may run twice.",
        "tasks.conf.update(task_acks_late=True, task_reject_on_worker_lost=True)",
        "tasks.conf.update(task_ignore_result=True)",
        "app = FastAPI()",
        "",
        "",
        "@tasks.task",
        f"def do_work({'message: str' if work.takes_message else ''}) -> None:",
        f"    {work.inside()}",
        "",
        "",
        *_endpoint("def", work, f"do_work.delay({work.arguments})"),
    )
    top = (
        '# main.py; it needs a Redis, and:  pip install "celery[redis]"\n'
        "# the worker:  celery -A main:tasks worker\n"
        "# the server:  uvicorn main:app"
    )
    return work.file(("from celery import Celery", *FASTAPI), body, ("import os",), top)
