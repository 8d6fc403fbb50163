"""The registry of modes: one entry per mode, with all that is known about it. Standard library only.

The code of a mode is its page, an ordinary FastAPI application; nothing else in either wing lists the modes.
"""

import importlib.util
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Engine:
    """A library that runs tasks outside the server's process, with its own broker and workers."""

    packages: tuple[str, ...]
    """The packages that it needs, its own first; it is installed if all of them can be imported."""
    install: tuple[str, ...]
    """What the reader's own application must install beside FastAPI."""
    worker: str
    """The library's own worker command; `{processes}` is how many tasks it runs at once, `{queue}` is its queue."""
    ready: str
    """What the worker prints when it is ready."""
    private_broker: Literal["valkey", "postgres", "file"]
    """The broker that a server can start for itself."""
    brokers: str
    """The broker URLs that it accepts, as one would type them."""
    has_backend: bool = False
    """Whether its results can be kept elsewhere than its tasks."""
    ready_each: bool = False
    """Whether every process of the worker prints `ready`."""
    once: str = ""
    """The library's own command to run once, before a broker's first worker; taskdemo does that by itself."""
    module: str | None = None
    """The module for `python -m`; None if it is the first word of `worker`, or if that word is `python` itself."""
    begins_within_s: float = 5.0
    """Seconds within which an idle worker starts a task, including its polling interval."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Environment variables that the worker command reads, beside those of the page; `{broker}` is the broker's URL."""
    schemes: Mapping[str, str] = field(default_factory=dict)
    """The library's names for URL schemes that people type or that private brokers have."""

    @property
    def extra(self) -> str:
        """The optional extra of the distribution that installs it."""
        return self.packages[0]

    @property
    def folder(self) -> str:
        """The package with its modules `page`, `engine` and `steps`."""
        return f"taskdemo_server.engines.{self.packages[0]}"

    def url(self, typed: str) -> str:
        """Return a broker's or a backend's URL in the form that the library expects."""
        if self.private_broker == "file" and (typed.startswith("sqlite://") or "://" not in typed):
            return str(Path(typed.removeprefix("sqlite:///").removeprefix("sqlite://")).absolute())
        scheme, colon, rest = typed.partition("://")
        scheme = scheme.lower() if colon else scheme
        if scheme in {"amqp", "amqps"}:
            rest = rest.removesuffix("//")  # Celery's way to write the default virtual host, which can be left out too
        return self.schemes.get(scheme, scheme) + colon + rest

    def command(self, processes: int | str, queue: str) -> list[str]:
        """Return its worker command as a list of words."""
        return [word.format(processes=processes, queue=queue) for word in self.worker.split()]

    def format_command(self, processes: int | str, queue: str, broker: str = "URL") -> str:
        """Return its worker command, preceded by its environment variables, as one would type it."""
        variables = [f"{name}={shlex.quote(value.format(broker=broker))}" for name, value in self.variables.items()]
        return " ".join([*variables, *self.command(processes, queue)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """One way to run slow work behind a FastAPI endpoint."""

    name: str
    page: str
    """The module that is the mode: a FastAPI application named `app`."""
    endpoint: str
    who_waits: str = "nobody"
    where: str
    expect: str
    """What to expect of this mode, as one sentence."""
    answers_first: bool = True
    """Whether the response is sent before the work has ended."""
    runs: Literal["loop", "thread", "process", "worker"] = "worker"
    """Where the work runs: on the event loop, in a server thread, in a child process, or in a separate worker."""
    awaits: bool = False
    """Whether the page awaits an async version of the work."""
    cannot_await: str | None = None
    """Why this mode cannot run an `async def`; None if it can."""
    cannot_cancel: str
    """Why a task cannot be cancelled, ever or in its current state: a sentence."""
    gives_up: Mapping[str, str]
    """What it gives up, by limit: exactly the limits whose experiment finds no `yes`. What no experiment covers has a
    name of its own."""
    engine: Engine | None = None

    def lacks(self, need: str) -> str | None:
        """Return what it gives up of `need`, a key of NEEDS; None if no loss is known."""
        return next((self.gives_up[name] for name in NEEDS[need].shown_by if name in self.gives_up), None)

    @property
    def given_up(self) -> str:
        """What it gives up, in few words: the unmet needs, and `running once` if a task may run twice."""
        needs = [need for need in NEEDS if self.lacks(need)]
        return ", ".join([*needs, "running once"] if "duplicates" in self.gives_up else needs)

    @property
    def steps(self) -> str:
        """The module of its steps in the experiments of `taskdemo limits`."""
        if self.engine is not None:
            return f"{self.engine.folder}.steps"
        return f"taskdemo_server.limits.{self.page.rpartition('.')[2]}"

    @property
    def missing(self) -> str | None:
        """The extra to install first; None if nothing is missing."""
        engine = self.engine
        if engine is None or all(importlib.util.find_spec(package) for package in engine.packages):
            return None
        return engine.extra


@dataclass(frozen=True, slots=True)
class Need:
    """What a reader may need of a mode."""

    text: str
    """What a mode that meets it does, after "it"."""
    shown_by: tuple[str, ...]
    """What a mode that meets it must not give up; empty if only a measurement of the reader's own work can tell."""


NEEDS: Final[dict[str, Need]] = {
    "result": Need("answers with the result", ("result",)),
    "answer-first": Need("answers before the work is done", ("answer-first",)),
    "survive": Need(
        "loses no task when the server or a worker is killed", ("survive_server_kill", "survive_worker_kill")
    ),
    "retry": Need("tries failed work again", ("retry",)),
    "track": Need("says how a task is doing", ("track",)),
    "cancel": Need("cancels a task that waits or runs", ("cancel",)),
    "quiet": Need("disturbs no other request", ()),
    "no-service": Need("needs no broker", ("upkeep",)),
}
"""The needs, by the name that --need takes."""
NEED_QUESTIONS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("Does the caller need the result?", ("result", "answer-first")),
    ("Does the work compute, or wait?", ("quiet",)),
    ("May a crash lose it?", ("survive",)),
    ("Must you retry, track, cancel it?", ("retry", "track", "cancel")),
    ("May a service be added?", ("no-service",)),
)
"""What to ask about slow work, and the needs that the answers may imply."""


_IN_A_THREAD: Final = "a worker thread cannot await it, and FastAPI itself would run it on the event loop"
_NO_HANDLE: Final = "BackgroundTasks keeps no handle on a task: once added, nothing can take it back."
_REDIS: Final = {"valkey": "redis", "valkeys": "rediss"}
_REDIS_PY: Final = {**_REDIS, "redis+socket": "unix"}
_PROCRASTINATE: Final = "python -m procrastinate -a taskdemo_server.engines.procrastinate.engine.tasks"
"""Not `procrastinate` alone, which does not find modules in the current folder."""
_CRASH: Final = "the tasks of a process that is killed"
_HERE: Final = {
    "retry": "retries",
    "distribute": "other machines",
    "survive_server_kill": _CRASH,
    "survive_worker_kill": _CRASH,
}
_WAITING: Final = {
    "answer-first": "an answer before the work is done",
    "track": "asking how the work is doing",
    "cancel": "cancelling",
    **_HERE,
    "failure": "asking later why it failed (only its own caller hears that it did)",
}
_BLOCKS: Final = {"offload": "a free event loop, wherever the work does not await"}
_RESULT: Final = {"result": "the result: the caller is answered before it exists"}
_BACKGROUND: Final = {
    **_RESULT,
    "track": "asking how the work is doing",
    "cancel": "cancelling",
    "orchestrate": "handing results from task to task",
    **_HERE,
    "failure": "word of a failure, except in the log",
    "late_error": "the task itself, where the endpoint raises after `add_task`",
}
_QUEUE: Final = {
    **_RESULT,
    "duplicates": "being sure that a task runs only once (what a dead worker held is delivered again)",
    "upkeep": "running without a broker and workers",
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
        cannot_await="only an await runs it; use mode async",
        cannot_cancel="The work blocks the event loop: while it runs, no other request is even looked at.",
        gives_up={**_WAITING, "offload": "every other request, while the work runs"},
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
        gives_up={**_WAITING, **_BLOCKS},
    ),
    Mode(
        name="threadpool",
        page="taskdemo_server.modes.threadpool",
        endpoint="plain def",
        who_waits="the caller",
        where="in a worker thread",
        expect="Each caller waits for its own work in a worker thread; when all threads are busy, the next one queues.",
        answers_first=False,
        runs="thread",
        cannot_await=f"{_IN_A_THREAD}; use mode async",
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
        where="in a worker thread, after the response",
        expect="Callers are answered at once; the work runs afterwards in a worker thread of this same process.",
        runs="thread",
        cannot_await=f"{_IN_A_THREAD}; use mode background-async",
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
        runs="loop",
        awaits=True,
        cannot_cancel=_NO_HANDLE,
        gives_up={**_BACKGROUND, **_BLOCKS},
    ),
    Mode(
        name="process",
        page="taskdemo_server.modes.process",
        endpoint="hands the work to a ProcessPoolExecutor and answers",
        where="in another process",
        expect="Callers are answered at once; the work runs in another process: even CPU work leaves the server free.",
        runs="process",
        cannot_cancel="A process pool can take back a task that still waits, never one that a process has.",
        gives_up={
            "result": "the result, unless its endpoint awaits the pool's future"
            " (`await asyncio.wrap_future(pool.submit(...))`)",
            "cancel": "cancelling what has begun",
            "orchestrate": "groups with a final step",
            **_HERE,
            "survive_worker_kill": "all tasks, and the pool itself, when a process of it dies",
        },
    ),
    Mode(
        name="celery",
        page="taskdemo_server.engines.celery.page",
        endpoint=".delay(message) and answers",
        where="in a Celery worker, maybe on another machine",
        expect="Callers are answered at once; a broker keeps the task until a Celery worker has done it.",
        cannot_cancel="The broker could not be asked to revoke the task.",
        gives_up=_QUEUE,
        engine=Engine(
            packages=("celery", "redis"),
            install=("celery[redis]",),
            worker="celery -A taskdemo_server.engines.celery.engine:celery worker"
            " --concurrency {processes} --loglevel INFO --without-gossip --without-mingle",
            ready=" ready.",
            private_broker="valkey",
            brokers="redis://:PASSWORD@HOST:PORT/0 or amqp://USER:PASSWORD@HOST:PORT//",
            has_backend=True,
            schemes=_REDIS,
        ),
    ),
    Mode(
        name="dramatiq",
        page="taskdemo_server.engines.dramatiq.page",
        endpoint=".send(message) and answers",
        where="in a Dramatiq worker, maybe on another machine",
        expect="Callers are answered at once; a broker keeps the task until a Dramatiq worker has done it.",
        cannot_cancel="Dramatiq offers no cancelling: a message that was sent is run.",
        gives_up={
            "track": "a task's state before its result",
            "cancel": "cancelling",
            "orchestrate": "a group's results in its final step",
            **_QUEUE,
        },
        engine=Engine(
            packages=("dramatiq", "redis"),
            install=("dramatiq[redis,rabbitmq]",),
            # Otherwise its main process takes half a minute to notice a process that died before it reported its start.
            worker="dramatiq taskdemo_server.engines.dramatiq.engine --processes {processes} --threads 1"
            " --worker-fork-timeout 3000",
            ready="Worker process is ready for action",
            ready_each=True,
            private_broker="valkey",
            brokers="redis://:PASSWORD@HOST:PORT/0 or amqp://USER:PASSWORD@HOST:PORT",
            # Otherwise each thread prefetches two messages, and one waits while another process is idle.
            variables={"dramatiq_queue_prefetch": "1"},
            has_backend=True,
            schemes=_REDIS_PY,
        ),
    ),
    Mode(
        name="taskiq",
        page="taskdemo_server.engines.taskiq.page",
        endpoint="await .kiq(message) and answers",
        where="in a Taskiq worker, maybe on another machine",
        expect="Callers are answered at once; a Redis stream keeps the task until a Taskiq worker has done it.",
        cannot_cancel="Taskiq offers no cancelling: a task that was sent is run.",
        gives_up={
            "track": "asking whether a task waits or runs",
            "cancel": "cancelling",
            "orchestrate": "chains, groups",
            "survive_worker_kill": "what a dead worker had begun, until another task comes",
            **_QUEUE,
        },
        engine=Engine(
            packages=("taskiq", "taskiq_redis", "redis"),
            install=("taskiq-redis",),
            worker="taskiq worker taskdemo_server.engines.taskiq.engine:broker --workers {processes}"
            " --max-async-tasks 1 --max-threadpool-threads 1",
            ready="Listening started",
            ready_each=True,
            private_broker="valkey",
            brokers="redis://:PASSWORD@HOST:PORT/0",
            has_backend=True,
            schemes=_REDIS_PY,
        ),
    ),
    Mode(
        name="rq",
        page="taskdemo_server.engines.rq.page",
        endpoint="queue.enqueue(function, message) and answers",
        where="in a process that an RQ worker forks for it, maybe on another machine",
        expect="Callers are answered at once; Redis keeps the job until an RQ worker forks a process that does it.",
        cannot_cancel="RQ could not be asked to cancel the job.",
        gives_up={
            **_RESULT,
            "survive_worker_kill": "the tasks that a killed process or worker had begun",
            "upkeep": _QUEUE["upkeep"],
        },
        engine=Engine(
            packages=("rq", "redis"),
            install=("rq",),
            worker="rq worker-pool {queue} -S json --num-workers {processes}"
            " --worker-class taskdemo_server.engines.rq.engine.Carrying",
            module="rq.cli",
            ready="Listening on ",
            ready_each=True,
            private_broker="valkey",
            brokers="redis://:PASSWORD@HOST:PORT/0",
            variables={"RQ_REDIS_URL": "{broker}"},
            schemes=_REDIS_PY,
        ),
    ),
    Mode(
        name="huey",
        page="taskdemo_server.engines.huey.page",
        endpoint="calls the task, which enqueues it, and answers",
        where="in a Huey worker on this machine",
        expect="Callers are answered at once; a file keeps the task until a Huey worker takes it out.",
        cannot_cancel="Huey can take back a task that still waits, never one that a worker has.",
        gives_up={
            **_RESULT,
            "track": "a task's state before its result",
            "cancel": "cancelling what has begun",
            "survive_worker_kill": "the tasks that a killed process or worker had begun",
            "machines": "other machines (a file is on one)",
            "worker": "running without a worker",
        },
        engine=Engine(
            packages=("huey",),
            install=("huey",),
            worker="huey_consumer taskdemo_server.engines.huey.engine.huey -k process -g TERM --workers {processes}",
            module="huey.bin.huey_consumer",
            ready="Huey consumer started with",
            begins_within_s=12.0,  # one that has long been idle polls every ten
            private_broker="file",
            brokers="FILE.db",
        ),
    ),
    Mode(
        name="procrastinate",
        page="taskdemo_server.engines.procrastinate.page",
        endpoint="await .defer_async(message=message) and answers",
        where="in a thread of a Procrastinate worker, maybe on another machine",
        expect="Callers are answered at once; PostgreSQL keeps the task until a Procrastinate worker has done it.",
        cannot_cancel="Procrastinate can take back a job that still waits; one that runs must ask whether to stop.",
        gives_up={
            "cancel": "cancelling what has begun",
            "orchestrate": "handing results on",
            "failure": "a task's error",
            **_QUEUE,
        },
        engine=Engine(
            packages=("procrastinate", "psycopg"),
            install=("procrastinate", "psycopg[binary]"),
            worker=_PROCRASTINATE + " worker -q {queue} --concurrency {processes}",
            once=_PROCRASTINATE + " schema --apply",
            ready="Starting worker on",
            private_broker="postgres",
            brokers="postgresql://USER:PASSWORD@HOST:PORT/DATABASE",
            schemes={"postgres": "postgresql"},
        ),
    ),
)
MODE_BY_NAME: Final[dict[str, Mode]] = {mode.name: mode for mode in MODES}
ENGINES: Final[tuple[str, ...]] = tuple(mode.name for mode in MODES if mode.engine is not None)
"""The modes whose work an engine's worker does."""
WITH_BACKEND: Final[tuple[str, ...]] = tuple(mode.name for mode in MODES if mode.engine and mode.engine.has_backend)
DEFAULT_MODES: Final[tuple[str, ...]] = (*(mode.name for mode in MODES if mode.engine is None), *ENGINES[:1])
"""The modes that are compared by default: one queue engine stands for all."""
GROUPS: Final[dict[str, tuple[str, ...]]] = {"queues": ENGINES, "all": tuple(MODE_BY_NAME)}
"""Names for several modes at once."""
