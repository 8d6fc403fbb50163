"""The settings that the command line passes to a server, to the work in it, and to a worker."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Final, Self

VERSION: Final = "0.1.0"

ARGUMENT: Final = "TASKDEMO_TOLD"
"""The environment variable for a process's settings, in place of its argument, which every user can see."""
WORK: Final = "TASKDEMO_WORK"
"""The environment variable that holds the `WorkSettings` of a pool process or an engine's worker."""

OWN_PATHS: Final = "/.taskdemo"
"""The prefix of taskdemo's own paths beside the user's own application."""
REALM: Final = "taskdemo"
"""The realm in WWW-Authenticate when a server asks for its token."""
CUT_OFF: Final = 3
"""The exit code of a server whose application was still shutting down when its time was up."""
BROKER_FOLDER: Final = "taskdemo-broker-"
"""The prefix of the name of a private broker's folder that cannot be beside its server's other files."""
BROKER_SOCKET: Final = "sock"
"""The private broker's socket, in its folder; short, because socket paths are limited."""
MOST_PROCESSES: Final = 8
"""The maximum number of processes by default: each takes time to start, even on a big machine."""
LARGEST_POOL: Final = 1000
"""The maximum number of processes that one may ask for."""
BUILT_IN_WORKS: Final = ("sleep", "cpu")
"""The built-in works; any other is the user's own `module:function`."""
QUEUE: Final = "taskdemo"
"""The default name of an engine's queue."""
LONGEST_UNKNOWN_S: Final = 3600.0
"""The seconds to allow for a work of unknown duration."""


def one_per_cpu() -> int:
    """Return the default number of processes: one per CPU, at most MOST_PROCESSES."""
    return min(MOST_PROCESSES, os.cpu_count() or 1)


def results_beside(broker: str) -> str | None:
    """Return where an engine's results go by default: beside the tasks; None for RabbitMQ, which keeps none."""
    return None if broker.startswith("amqp") else broker


def take_argument(arguments: Sequence[str]) -> str:
    """Return this process's one argument, from the command line or the environment; its children do not inherit it."""
    return arguments[1] if len(arguments) > 1 else os.environ.pop(ARGUMENT, "")


def environment_with(text: str) -> dict[str, str]:
    """Return the environment for a process whose settings are this JSON, which may hold a token or a password."""
    return {**os.environ, ARGUMENT: text}


class Json:
    """Settings that are passed to another process as one JSON object."""

    __slots__ = ()

    def to_json(self) -> str:
        """Return the settings as one JSON object."""
        return json.dumps(asdict(self))  # type: ignore[call-overload]  # every subclass is a dataclass

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read `to_json()` back. Raises ValueError if the text is not such an object."""
        from msgspec import convert  # not at the top: the command line only writes settings, and starts sooner without

        return convert(json.loads(text), cls)


@dataclass(frozen=True, slots=True, kw_only=True)
class Work(Json):
    """What the server and every process that works for it need to know."""

    mode: str
    """A mode's name; `app` for the user's own application."""
    work: str = "sleep"
    """`sleep`, `cpu`, or `module:function`."""
    duration: float = 1.0
    """Seconds that `sleep` and `cpu` take."""
    folder: str | None = None
    """The folder to import the user's own module from first; the process does not look there by itself."""
    journal: str | None = None
    """The journal's path; None if this process cannot write it."""
    step_log: str | None = None
    """The file in which the experiments of `taskdemo limits` log their steps; without it their routes do not exist."""

    @property
    def known_duration(self) -> float | None:
        """The configured duration of a built-in work, in seconds; None for the user's own function."""
        return self.duration if self.work in BUILT_IN_WORKS else None

    @property
    def longest_s(self) -> float:
        """The seconds that the work takes, or a high guess for the user's own function."""
        return LONGEST_UNKNOWN_S if self.known_duration is None else self.known_duration


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkSettings(Work):
    """What `slow_work` does in one process, and where it journals that."""

    cwd: str | None = None
    """The folder to work in, if this process was started in another one."""
    server: str | None = None
    """The URL of the server to report to, from another machine."""
    token: str | None = None
    """The token of that server."""
    console: bool = False
    """Whether to print what tasks print, and their ends, to this process's standard output."""
    worker: int | None = None
    """The pid of the worker's main process, with which all the others must end; None if a guard ends them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Work):
    """Everything `python -m taskdemo_server.serve JSON` needs to know; the JSON is `to_json()`."""

    journal: str
    """The journal's path; its folder exists and is private to the user."""
    announce: str | None = None
    """A file that the server writes atomically, by a rename, once it serves: {"url", "port", "pid", "token"}."""
    app: str | None = None
    """The user's own ASGI application, `module:name`; it has no mode and no work."""
    host: str = "127.0.0.1"
    port: int = 8000
    """0 picks a free port."""
    workers: int = 1
    """Server processes that share the port and the journal."""
    threads: int = 40
    """Worker threads per server process (AnyIO's limiter)."""
    processes: int | None = None
    """Tasks that mode `process`, or an engine's private worker, runs at once; None for one per CPU, at most eight."""
    max_pending: int = 10_000
    """Unfinished tasks that a server process may have; it refuses one more with 503."""
    console: bool = True
    """Whether to print the banner and the task-completion log."""
    broker: str | None = None
    """The URL of an engine's broker; None for a private one, which the server starts and ends along with a worker."""
    private_broker: str | None = None
    """The private broker's folder, once the server has made it; `broker` then points there."""
    backend: str | None = None
    """Where an engine's results go; None for the broker's default."""
    queue: str = QUEUE
    """The engine's queue; servers that share a broker but not their workers need different ones."""
    token: str | None = None

    @property
    def tasks_at_once(self) -> int:
        """How many tasks mode `process`, or an engine's private worker, runs at once."""
        return self.processes or one_per_cpu()

    @property
    def shares_broker(self) -> bool:
        """Whether a broker that is not private keeps the tasks: they neither delay the shutdown nor are lost."""
        return self.broker is not None and self.private_broker is None

    @property
    def work_settings(self) -> WorkSettings:
        """The settings of the work in this server's own processes and in its private worker."""
        return WorkSettings(**{field.name: getattr(self, field.name) for field in fields(Work)})

    def private_worker(self, processes: int) -> "WorkerSettings":
        """Return the settings of a private worker for this server's broker."""
        return WorkerSettings(
            engine=self.mode,
            broker=str(self.broker),
            backend=self.backend,
            queue=self.queue,
            work=self.work_settings,
            processes=processes,
            private=True,
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
    """Tasks at once; None for one per CPU, at most eight."""
    private: bool = False
    """Whether it ends with its standard input, and prints only "ready" on standard output."""
