"""How a server, the work in it, and a worker are to run, as the command line tells them."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Final, Self

VERSION: Final = "0.1.0"

ARGUMENT: Final = "TASKDEMO_TOLD"
"""The environment variable that may hold a process's settings in place of its argument, which every user can see."""
WORK: Final = "TASKDEMO_WORK"
"""The environment variable from which a pool process, or an engine's worker, knows its `WorkSettings`."""

OWN_PATHS: Final = "/.taskdemo"
"""Where taskdemo's own paths are in a server that is really somebody else's application."""
REALM: Final = "taskdemo"
"""What a server calls itself where it asks for its token, in WWW-Authenticate."""
CUT_OFF: Final = 3
"""The exit code of a server whose application was still busy with its shutdown when there was no more time for it."""
BROKER_FOLDER: Final = "taskdemo-broker-"
"""How the name of a private broker's folder begins where it cannot lie beside the other files of its server."""
BROKER_SOCKET: Final = "sock"
"""The private broker's socket, in its folder; short, because the path of a socket must be."""
MOST_PROCESSES: Final = 8
"""Where nobody says how many: each takes its time to start, on a big machine too."""
LARGEST_POOL: Final = 1000
"""So many processes may be asked for."""
BUILT_IN_WORKS: Final = ("sleep", "cpu")
"""The works that come along; any other is the user's own `module:function`."""
QUEUE: Final = "taskdemo"
"""An engine's queue, unless somebody says otherwise."""
LONGEST_UNKNOWN_S: Final = 3600.0
"""How long a work may take of which nobody knows."""


def one_per_cpu() -> int:
    """Return how many processes work where nobody said so."""
    return min(MOST_PROCESSES, os.cpu_count() or 1)


def results_beside(broker: str) -> str | None:
    """Return where an engine's results go unless somebody says otherwise: beside the tasks; RabbitMQ keeps none."""
    return None if broker.startswith("amqp") else broker


def take_argument(arguments: Sequence[str]) -> str:
    """Return the one argument that this process was started with; what it starts in its turn does not inherit it."""
    return arguments[1] if len(arguments) > 1 else os.environ.pop(ARGUMENT, "")


def environment_with(text: str) -> dict[str, str]:
    """Return the environment in which to start a process that is to be told this JSON, a token or a password in it."""
    return {**os.environ, ARGUMENT: text}


class Json:
    """Settings that cross to another process as one JSON object."""

    __slots__ = ()

    def to_json(self) -> str:
        """Return the settings as one JSON object."""
        return json.dumps(asdict(self))  # type: ignore[call-overload]  # every subclass is a dataclass

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read `to_json()` back. Raises ValueError where the text is not such an object."""
        from msgspec import convert  # the command line, which tells, starts sooner without

        return convert(json.loads(text), cls)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work(Json):
    """What the server and the processes in which it works know alike."""

    mode: str
    """A mode's name; `app` for the user's own application."""
    work: str = "sleep"
    """`sleep`, `cpu`, or `module:function`."""
    duration: float = 1.0
    """Seconds that `sleep` and `cpu` take."""
    folder: str | None = None
    """Where the user's own module is looked for first; the process does not do so on its own."""
    journal: str | None = None
    """The journal's path; None where this process cannot write it."""
    step_log: str | None = None
    """The file in which the experiments of `taskdemo limits` note their steps; only with one are their routes there."""

    @property
    def longest_s(self) -> float:
        """The seconds that the work takes, as far as one knows."""
        return self.duration if self.work in BUILT_IN_WORKS else LONGEST_UNKNOWN_S


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkSettings(Work):
    """What `slow_work` is to do in one process, and where it journals what becomes of it."""

    cwd: str | None = None
    """The folder to work in, where this process was started in another one."""
    server: str | None = None
    """The URL of the server to report to, from another machine."""
    token: str | None = None
    """The token of that server."""
    console: bool = False
    """Whether to print what tasks print, and their ends, on this process's standard output."""
    worker: int | None = None
    """The pid of the worker's main process, with which all the others are to end; None where a guard ends them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Work):
    """Everything `python -m taskdemo_server.serve JSON` needs to know; the JSON is `to_json()`."""

    journal: str
    """The journal's path; the folder exists and is private to the user."""
    announce: str | None = None
    """A file that the server writes, in one rename, as soon as it serves: {"url", "port", "pid", "token"}."""
    app: str | None = None
    """The user's own ASGI application, `module:name`: no mode, no work."""
    host: str = "127.0.0.1"
    port: int = 8000
    """0 takes a free port."""
    workers: int = 1
    """Server processes that share the port and the journal."""
    threads: int = 40
    """Worker threads per server process (AnyIO's limiter)."""
    processes: int | None = None
    """Tasks that mode `process`, or an engine's private worker, runs at once; None for one per CPU, at most eight."""
    max_pending: int = 10_000
    """Tasks per server process that may be accepted and not have ended; what would be one more is refused with 503."""
    console: bool = True
    """Whether to print the banner and the task-completion log."""
    lifeline: bool = True
    """Whether standard input is a pipe whose end means that the starter is gone, and so must the server be."""
    broker: str | None = None
    """An engine's broker, a URL; None for a private one, which the server starts and ends with a worker."""
    private_broker: str | None = None
    """The folder of the private broker, once the server has made it: `broker` leads there."""
    backend: str | None = None
    """Where an engine's results go; None for what suits the broker."""
    queue: str = QUEUE
    """The engine's queue, which is to be another one where servers that share a broker must not share workers."""
    token: str | None = None

    @property
    def tasks_at_once(self) -> int:
        """How many tasks mode `process`, or an engine's private worker, runs at once."""
        return self.processes or one_per_cpu()

    @property
    def work_settings(self) -> WorkSettings:
        """What the work in this server's own processes, and in its private worker, needs to know."""
        return WorkSettings(**{field.name: getattr(self, field.name) for field in fields(Work)})

    def private_worker(self, processes: int, folder: str | None = None) -> "WorkerSettings":
        """Return what a private worker for this server's broker needs to know; `folder` goes with it."""
        return WorkerSettings(
            engine=self.mode,
            broker=str(self.broker),
            backend=self.backend,
            queue=self.queue,
            work=self.work_settings,
            processes=processes,
            private=True,
            folder=folder,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings(Json):
    """Everything `python -m taskdemo_server.worker` needs to know to start an engine's own worker."""

    engine: str
    broker: str
    backend: str | None = None
    """None for the engine's default."""
    queue: str = QUEUE
    work: WorkSettings
    processes: int | None = None
    """Tasks at once; None for as many as there are CPUs, eight at the most."""
    private: bool = False
    """Whether it ends with its standard input, and says nothing on standard output but "ready"."""
    folder: str | None = None
    """A folder that goes then, because no broker runs that would take it along."""
