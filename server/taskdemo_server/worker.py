"""`python -m taskdemo_server.worker JSON`: a Celery worker for the server's tasks, on any machine.

The JSON is a `WorkerSettings`. Started by a server as its private worker it says nothing but "ready" and ends with its
standard input; started by a person it says who it is and what it does, and ends with Ctrl-C.
"""

import contextlib
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
import warnings
from dataclasses import asdict, dataclass
from typing import Any, Final, Self

from taskdemo_server import printed
from taskdemo_server.named import UnusableError
from taskdemo_server.own_work import own_work
from taskdemo_server.settings import BUILT_IN_WORKS

_COULD_NOT_RUN: Final = 2
_PARENT_EVERY_S: Final = 0.25


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


def main() -> int:
    """Work until told to end; return the exit code."""
    try:
        settings = WorkerSettings.from_json(sys.argv[1])
    except (IndexError, ValueError, TypeError) as error:
        return _refuse(f"python -m taskdemo_server.worker takes one argument, its settings as JSON ({error}).")
    if settings.private:
        threading.Thread(target=_hold, name="lifeline", daemon=True).start()
        for name in ("SIGINT", "SIGHUP"):  # From a terminal, to everybody in it; the server alone judges.
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    return run(settings)


def run(settings: WorkerSettings) -> int:
    """Work as `settings` say until told to end; return the exit code."""
    try:
        from celery import signals
        from celery.platforms import SecurityWarning

        from taskdemo_server import celery_app
    except ImportError:
        return _refuse("Mode celery needs Celery: pip install 'taskdemo[celery]'")
    from taskdemo_server.brokers import refusal

    app = celery_app.for_worker(
        settings.broker, settings.backend, settings.queue, settings.duration, private=settings.private
    )
    celery_app.announcing = not settings.private
    if settings.work is not None and settings.work not in BUILT_IN_WORKS:
        try:
            celery_app.own = own_work(settings.work, settings.folder or os.getcwd())  # noqa: PTH109  a name, as told
        except UnusableError as error:
            return _refuse(str(error))
        printed.tell_apart()
    if settings.lab is not None:
        from taskdemo_server.lab import celery_tasks

        celery_tasks.take_notes(settings.lab)
    if not settings.private and (sentence := refusal(app)):
        return _refuse(sentence)
    # It warns root of pickle, which no worker of ours accepts.
    warnings.simplefilter("ignore", SecurityWarning)
    signals.worker_process_init.connect(_begin_process)
    name = settings.name or socket.gethostname()
    if settings.private:
        signals.worker_ready.connect(_say_ready)
        # Alone with its broker, it has nobody to learn from or to tell, and is ready a second earlier.
        alone: dict[str, Any] = {"without_mingle": True, "without_gossip": True, "without_heartbeat": True}
    else:
        logging.basicConfig(format="%(message)s", level=logging.WARNING)
        signals.worker_ready.connect(_greet)
        alone = {"without_gossip": True}
    worker = app.Worker(
        hostname=f"taskdemo@{name}",
        concurrency=settings.concurrency,
        loglevel=logging.CRITICAL if settings.private else logging.WARNING,
        quiet=True,
        optimization="fair",
        **alone,
    )
    worker.start()
    return int(worker.exitcode or 0)


def _greet(sender: Any, **_: Any) -> None:
    controller = sender.controller
    with contextlib.suppress(OSError):
        print(f"taskdemo worker {controller.hostname}, {controller.concurrency} processes.")
        print(f"  broker  {controller.app.connection().as_uri()}")
        print("  Ctrl-C ends it when its tasks have ended.\n", flush=True)


def _say_ready(**_: Any) -> None:
    with contextlib.suppress(OSError):
        print("ready", flush=True)


def _hold() -> None:
    """End this worker and its processes at once when standard input ends."""
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    billiard = sys.modules.get("billiard")
    for child in billiard.active_children() if billiard else ():
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
    os._exit(0)


def _begin_process(**_: Any) -> None:
    """In a new pool process: see to it that it does not outlive the worker, even at a SIGKILL."""
    parent = os.getppid()
    from taskdemo_server.broker import die_with_parent

    if ask := die_with_parent(parent):
        ask()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_EVERY_S)
        os._exit(1)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def _refuse(sentence: str) -> int:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        print(sentence, file=sys.stderr, flush=True)
    return _COULD_NOT_RUN


if __name__ == "__main__":
    sys.exit(main())
