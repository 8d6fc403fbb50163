"""The registry of modes: one entry each, with all that is known of it. Standard library only.

The code of a mode is its page, an ordinary FastAPI application; nothing else in either wing lists the modes.
"""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Engine:
    """A library that runs tasks outside the server's process, with a broker and workers of its own."""

    packages: tuple[str, ...]
    """Its packages; that the first can be imported shows that it is installed."""
    extra: str
    """The optional extra of the distribution that brings it."""
    install: str
    """What an application of the reader's own needs to install."""
    folder: str
    """The package with its `page`, `engine` and `steps`."""
    worker: tuple[str, ...]
    """The library's own worker command; `{processes}` stands for how many tasks it runs at once."""
    ready: str
    """What the worker prints when it is ready."""
    private_broker: Literal["valkey"] | None
    """The broker that a server can start for itself; None where there is none."""
    brokers: str
    """URLs of brokers that it takes, as one would type them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """One way to run slow work behind a FastAPI endpoint."""

    name: str
    page: str
    """The module that is the mode: a FastAPI application named `app`."""
    endpoint: str
    who_waits: str
    where: str
    expect: str
    """What to expect of this mode, as one sentence."""
    answers_first: bool
    """Whether the response is sent before the work has ended."""
    runs: Literal["loop", "thread", "process", "worker"]
    """Where the work runs: on the event loop, in a thread of the server, in a child of it, or in a worker beside it."""
    awaits: bool = False
    """Whether the page awaits an async version of the work."""
    cannot_await: str | None = None
    """Why this mode cannot run an `async def`; None where it can."""
    cannot_cancel: str
    """Why a task, or a task in the wrong state, cannot be cancelled here: a sentence."""
    gives_up: Mapping[str, str] = field(default_factory=dict)
    """What it gives up, by limit, or by a name of its own where no experiment is about it."""
    engine: Engine | None = None

    @property
    def steps(self) -> str:
        """The module of its steps in the experiments of `taskdemo limits`."""
        if self.engine is not None:
            return f"{self.engine.folder}.steps"
        return f"taskdemo_server.limits.{self.page.rpartition('.')[2]}"

    @property
    def missing(self) -> str | None:
        """The extra that must be installed first; None where all is there."""
        engine = self.engine
        return engine.extra if engine is not None and importlib.util.find_spec(engine.packages[0]) is None else None


_IN_A_THREAD: Final = "a worker thread cannot await it, and FastAPI itself would run it on the event loop"
_NO_HANDLE: Final = "BackgroundTasks keeps no handle on a task: once added, nothing can take it back."
_SERVER_KILL: Final = "the tasks of a killed server, which a queue engine keeps"
_WAITING: Final = {
    "track": "word of the work to a caller who hangs up",
    "retry": "retries, which a queue engine makes",
}
_BACKGROUND: Final = {
    "track": "a task's status (failures show only in the log)",
    "cancel": "cancelling",
    "retry": "retries",
    "orchestrate": "chains",
    "survive_server_kill": _SERVER_KILL,
}

MODES: Final[tuple[Mode, ...]] = (
    Mode(
        name="blocking",
        page="taskdemo_server.modes.blocking",
        endpoint="async def, calls the work itself",
        who_waits="everybody",
        where="on the event loop",
        expect="The work blocks the event loop, so its caller waits, and so does everybody else.",
        answers_first=False,
        runs="loop",
        cannot_await="only an await runs it, and then this is mode async",
        cannot_cancel="The work blocks the event loop: while it runs, no other request is even looked at.",
    ),
    Mode(
        name="async",
        page="taskdemo_server.modes.async_",
        endpoint="async def, awaits an async version of the work",
        who_waits="the caller",
        where="on the event loop",
        expect="Each caller waits for its own work; others are served meanwhile, as long as the work really awaits.",
        answers_first=False,
        runs="loop",
        awaits=True,
        cannot_cancel="The work is awaited inside its request, and FastAPI gives others no handle on that.",
        gives_up={**_WAITING, "offload": "a free event loop, wherever the work does not await"},
    ),
    Mode(
        name="threadpool",
        page="taskdemo_server.modes.threadpool",
        endpoint="plain def",
        who_waits="the caller",
        where="a worker thread",
        expect="Each caller waits for its own work in a worker thread; when all threads are busy, the next one queues.",
        answers_first=False,
        runs="thread",
        cannot_await=f"{_IN_A_THREAD}: that is mode async",
        cannot_cancel="The work runs in a thread, and a thread cannot be stopped from outside.",
        gives_up={
            **_WAITING,
            "offload": "more than 40 callers at once, those of every other `def` endpoint among them",
        },
    ),
    Mode(
        name="background",
        page="taskdemo_server.modes.background",
        endpoint="async def + BackgroundTasks.add_task(function, message)",
        who_waits="nobody",
        where="a worker thread, after the response",
        expect="Callers are answered at once; the work runs afterwards in a worker thread of this same process.",
        answers_first=True,
        runs="thread",
        cannot_await=f"{_IN_A_THREAD}: that is mode background-async",
        cannot_cancel=_NO_HANDLE,
        gives_up={**_BACKGROUND, "offload": "worker threads, which `def` endpoints need too"},
    ),
    Mode(
        name="background-async",
        page="taskdemo_server.modes.background_async",
        endpoint="BackgroundTasks.add_task(async function, message)",
        who_waits="nobody, unless the function blocks",
        where="on the event loop, after the response",
        expect="Callers are answered at once; the work runs afterwards on the event loop, and must never block it.",
        answers_first=True,
        runs="loop",
        awaits=True,
        cannot_cancel=_NO_HANDLE,
        gives_up={**_BACKGROUND, "offload": "a free event loop, wherever the work does not await"},
    ),
    Mode(
        name="process",
        page="taskdemo_server.modes.process",
        endpoint="hands the work to a ProcessPoolExecutor and answers",
        who_waits="nobody",
        where="another process",
        expect="Callers are answered at once; the work runs in another process: even CPU work leaves the server free.",
        answers_first=True,
        runs="process",
        cannot_cancel="A process pool can take back a task that still waits, never one that a process has.",
        gives_up={
            "cancel": "cancelling what has begun",
            "retry": "retries",
            "orchestrate": "groups with a final step",
            "distribute": "other machines",
            "survive_server_kill": _SERVER_KILL,
            "survive_worker_kill": "all tasks, and the pool itself, when a process of it dies",
        },
    ),
    Mode(
        name="celery",
        page="taskdemo_server.engines.celery.page",
        endpoint=".delay(message) and answers",
        who_waits="nobody",
        where="a Celery worker, maybe on another machine",
        expect="Callers are answered at once; a broker keeps the task until a Celery worker has done it.",
        answers_first=True,
        runs="worker",
        cannot_cancel="The broker could not be asked to revoke the task.",
        gives_up={
            "duplicates": "being sure that a task runs only once (what a dead worker held is delivered again)",
            "upkeep": "having nothing but the server to look after (a broker and workers must run)",
        },
        engine=Engine(
            packages=("celery", "redis"),
            extra="celery",
            install="celery[redis]",
            folder="taskdemo_server.engines.celery",
            worker=(
                *("celery", "-A", "taskdemo_server.engines.celery.engine:celery", "worker"),
                *("--concurrency", "{processes}", "--loglevel", "INFO"),
                *("--without-gossip", "--without-mingle"),
            ),
            ready=" ready.",
            private_broker="valkey",
            brokers="redis://:PASSWORD@HOST:PORT/0 or amqp://USER:PASSWORD@HOST:PORT//",
        ),
    ),
)
MODE_BY_NAME: Final[dict[str, Mode]] = {mode.name: mode for mode in MODES}
ENGINES: Final[tuple[str, ...]] = tuple(mode.name for mode in MODES if mode.engine is not None)
"""The modes whose work an engine's worker does."""
