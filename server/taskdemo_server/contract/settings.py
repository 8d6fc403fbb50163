"""How one server process is to run, as the command line tells it. Standard library only."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final, Self

TOLD: Final = "TASKDEMO_TOLD"
"""The environment variable that may hold a process's settings in place of its argument, which every user can see."""

OWN_PATHS: Final = "/.taskdemo"
"""Where taskdemo's own paths are in a server that is really somebody else's application."""
BROKER_FOLDER: Final = "taskdemo-broker-"
"""How the name of a private broker's folder begins where it cannot lie beside the other files of its server."""
BROKER_SOCKET: Final = "sock"
"""The private broker's socket, in its folder; short, because the path of a socket must be."""
BUILT_IN_WORKS: Final = ("sleep", "cpu")
"""The works that come along; any other is the user's own `module:function`."""


def told(arguments: Sequence[str]) -> str:
    """Return the JSON that this process was started with; what it starts in its turn does not inherit it."""
    return arguments[1] if len(arguments) > 1 else os.environ.pop(TOLD, "")


def telling(text: str) -> dict[str, str]:
    """Return the environment in which to start a process that is to be told this JSON, a token or a password in it."""
    return {**os.environ, TOLD: text}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything `python -m taskdemo_server JSON` needs to know; the JSON is `to_json()`."""

    mode: str
    journal: str
    """The journal's path; the folder exists and is private to the user."""
    announce: str | None = None
    """A file that the server writes, in one rename, as soon as it serves: {"url", "port", "pid"}."""
    work: str = "sleep"
    """`sleep`, `cpu`, or `module:function`."""
    app: str | None = None
    """The user's own ASGI application, `module:name`: no mode, no work."""
    folder: str | None = None
    """Where the user's own module is looked for first; the process does not do so on its own."""
    duration: float = 1.0
    """Seconds that `sleep` and `cpu` take."""
    host: str = "127.0.0.1"
    port: int = 8000
    """0 takes a free port."""
    workers: int = 1
    """Server processes that share the port and the journal."""
    threads: int = 40
    """Worker threads per server process (AnyIO's limiter)."""
    max_pending: int = 10_000
    """Tasks per server process that may be accepted and not have ended; what would be one more is refused with 503."""
    console: bool = True
    """Whether to print the banner and the task-completion log."""
    lifeline: bool = True
    """Whether standard input is a pipe whose end means that the starter is gone, and so must the server be."""
    broker: str | None = None
    """Mode celery: the broker's URL; None for a private one, which the server starts and ends."""
    backend: str | None = None
    """Mode celery: where results go; None for what suits the broker."""
    queue: str = "taskdemo"
    """Mode celery: the queue, which is to be another one where servers that share a broker must not share workers."""
    private_broker: bool = False
    """Mode celery: whether `broker` is one that the server itself started, and filled in."""
    token: str | None = None
    lab: str | None = None
    """The notebook of `taskdemo limits`, a file; its experiments' endpoints under /lab are there only with one."""

    def to_json(self) -> str:
        """Return the settings as one JSON object."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read `to_json()` back. Raises ValueError or TypeError where the text is not such an object."""
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """Everything a worker needs to know; what it is to do comes with each task."""

    broker: str
    backend: str | None = None
    """None for the server's default: a Redis broker itself, nowhere with RabbitMQ."""
    queue: str = "taskdemo"
    duration: float | None = None
    """Seconds that the longest work takes; None for unknown. Over Redis, what a dead worker held is delivered again
    after twice that and 5 s, and a work that takes longer than this runs twice."""
    work: str | None = None
    """`module:function`, the user's own work, if this worker is to know one; a built-in one needs no telling."""
    folder: str | None = None
    """Where that module is looked for first; None for the current folder."""
    concurrency: int | None = None
    """Pool processes; None for as many as there are CPUs."""
    name: str | None = None
    """The host name under which this worker appears; None for the machine's."""
    private: bool = False
    """Whether a server started it for itself, and will end it by closing its standard input."""
    lab: str | None = None
    """The notebook of `taskdemo limits`: with it the worker knows the laboratory's tasks, and notes what it runs."""

    def to_json(self) -> str:
        """Return the settings as one JSON object."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read `to_json()` back. Raises ValueError or TypeError where the text is not such an object."""
        return cls(**json.loads(text))
