"""`python -m taskdemo_server.worker JSON`: a Celery worker for the server's tasks, on any machine.

The JSON is a `WorkerSettings`. Started by a server as its private worker it says nothing but "ready" and ends with its
standard input; started by a person it says who it is and what it does, and ends with Ctrl-C.
"""

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
import warnings
from typing import Any, Final

from taskdemo_server.contract.import_string import UnusableError
from taskdemo_server.contract.settings import BUILT_IN_WORKS, WorkerSettings, told
from taskdemo_server.contract.stderr import complain
from taskdemo_server.contract.text import escape
from taskdemo_server.runtime import orphans
from taskdemo_server.work import task_output
from taskdemo_server.work.user_function import own_work

_COULD_NOT_RUN: Final = 2
_INTERRUPTED: Final = 130
_PARENT_EVERY_S: Final = 0.25


def main() -> int:
    """Work until told to end; return the exit code."""
    if os.name == "nt":
        return _refuse("Celery has no worker for Windows; start it on Linux or macOS, with the same broker.")
    try:
        settings = WorkerSettings.from_json(told(sys.argv))
    except (ValueError, TypeError) as error:
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
    if celery_app.is_redis(settings.broker):
        from taskdemo_server.celery_redis import take_in_one_step

        take_in_one_step()
    if settings.work is not None and settings.work not in BUILT_IN_WORKS:
        try:
            celery_app.own = own_work(settings.work, settings.folder or os.getcwd())  # noqa: PTH109  a name, as told
        except UnusableError as error:
            return _refuse(str(error))
        task_output.tell_apart()
    if settings.lab is not None:
        from taskdemo_server.limits import celery_tasks

        celery_tasks.take_notes(settings.lab)
    if not settings.private and (sentence := refusal(app, needed=True)):
        return _refuse(sentence)
    # It warns root of pickle, which no worker of ours accepts.
    warnings.simplefilter("ignore", SecurityWarning)
    # Asked for here, because the worker may have died before its new process is able to ask.
    worker_pid = os.getpid()
    signals.worker_process_init.connect(lambda **_: _begin_process(worker_pid), weak=False)
    signals.setup_logging.connect(_log)
    ended_by: list[str] = []
    signals.worker_shutting_down.connect(lambda sig, **_: ended_by.append(sig), weak=False)
    name = settings.name or socket.gethostname()
    if settings.private:
        signals.worker_ready.connect(_say_ready)
        # Alone with its broker, it has nobody to learn from or to tell, and is ready a second earlier.
        alone: dict[str, Any] = {"without_mingle": True, "without_gossip": True, "without_heartbeat": True}
    else:
        signals.worker_ready.connect(_greet)
        alone = {"without_gossip": True}
    worker = app.Worker(
        # Two workers of one name would take each other's control messages.
        hostname=f"taskdemo-{os.getpid()}@{name}",
        concurrency=settings.concurrency,
        loglevel=logging.CRITICAL if settings.private else logging.WARNING,
        quiet=True,
        optimization="fair",
        **alone,
    )
    worker.start()
    orphans.end_group()
    return _INTERRUPTED if "SIGINT" in ended_by else int(worker.exitcode or 0)


class _Plain(logging.Formatter):
    """A log of single lines: no traceback, and nothing in it can steer the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the message alone."""
        return escape(record.getMessage().partition("\n")[0])


def _log(loglevel: int, **_: Any) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_Plain())
    logging.basicConfig(handlers=[handler], level=loglevel)
    # Celery warns, with filters of its own, that tasks go on when the connection is lost, as is meant.
    pending = "CPendingDeprecationWarning"
    logging.getLogger("py.warnings").addFilter(lambda record: pending not in record.getMessage())


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
    try:
        for child in sys.modules["billiard"].active_children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        orphans.end_group()
    finally:  # whatever the pool is in the middle of: its processes notice by themselves too
        os._exit(0)


def _begin_process(worker: int) -> None:
    """In a new pool process of `worker`: see to it that it does not outlive that, even at a SIGKILL."""
    from taskdemo_server.broker import die_with_parent

    if ask := die_with_parent(worker):
        ask()

    def watch() -> None:
        while os.getppid() == worker:
            time.sleep(_PARENT_EVERY_S)
        os._exit(1)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def _refuse(sentence: str) -> int:
    complain(f"taskdemo: {escape(sentence)}")
    return _COULD_NOT_RUN


if __name__ == "__main__":
    sys.exit(main())
