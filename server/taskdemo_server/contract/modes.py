"""The modes: one entry each, with all that is known of it. Standard library only."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Mode:
    """One way to run slow work behind a FastAPI endpoint, in words; the code is in `taskdemo_server.modes`."""

    name: str
    endpoint: str
    who_waits: str
    where: str
    expect: str
    """What to expect of this mode, as one sentence."""
    answers_first: bool
    """Whether the response is sent before the work has ended."""
    extra: str | None = None
    """The optional extra of the distribution that must be installed for this mode."""


MODES: Final[tuple[Mode, ...]] = (
    Mode(
        "blocking",
        "async def, calls the work itself",
        "everybody",
        "on the event loop",
        "The work holds the event loop, so its caller waits, and so does everybody else.",
        answers_first=False,
    ),
    Mode(
        "async",
        "async def, awaits an async version of the work",
        "the caller",
        "on the event loop",
        "Each caller waits for its own work; others are served meanwhile, as long as the work really awaits.",
        answers_first=False,
    ),
    Mode(
        "threadpool",
        "plain def",
        "the caller",
        "a worker thread",
        "Each caller waits for its own work in a worker thread; when all threads are busy, the next one queues.",
        answers_first=False,
    ),
    Mode(
        "background",
        "async def + BackgroundTasks.add_task(function, message)",
        "nobody",
        "a worker thread, after the response",
        "Callers are answered at once; the work runs afterwards in a worker thread of this same process.",
        answers_first=True,
    ),
    Mode(
        "background-async",
        "BackgroundTasks.add_task(async function, message)",
        "nobody, unless the function blocks",
        "on the event loop, after the response",
        "Callers are answered at once; the work runs afterwards on the event loop, and must never block it.",
        answers_first=True,
    ),
    Mode(
        "process",
        "hands the work to a ProcessPoolExecutor and answers",
        "nobody",
        "another process",
        "Callers are answered at once; the work runs in another process, so even CPU work leaves the server free.",
        answers_first=True,
    ),
    Mode(
        "celery",
        ".delay(message) and answers",
        "nobody",
        "a Celery worker, maybe on another machine",
        "Callers are answered at once; a broker keeps the task until a Celery worker has done it.",
        answers_first=True,
        extra="celery",
    ),
)
MODE_BY_NAME: Final[dict[str, Mode]] = {mode.name: mode for mode in MODES}
