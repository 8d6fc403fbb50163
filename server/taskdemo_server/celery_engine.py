"""What mode `celery` needs beside the server's own processes: a broker, a worker, and the events written down.

With `settings.broker` None, broker and worker are private: children of the server, started while it still imports, and
gone as soon as it is, because they hold the other ends of their standard inputs.
"""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from taskdemo_server import broker
from taskdemo_server.journal import Journal
from taskdemo_server.settings import Settings
from taskdemo_server.visible import visible
from taskdemo_server.worker import WorkerSettings

MOST_PROCESSES: Final = 8
_END_TIMEOUT_S: Final = 1.0


class CannotRunError(Exception):
    """Mode celery cannot be served here; the text is a sentence for the user."""


def missing(settings: Settings) -> str | None:
    """Return what to install, as a sentence; None where all is there."""
    if importlib.util.find_spec("celery") is None or importlib.util.find_spec("redis") is None:
        return "Mode celery needs Celery and its Redis client: pip install 'taskdemo[celery]'"
    if settings.broker is None and broker.binary() is None:
        return "Mode celery needs a broker: pip install 'taskdemo[celery]' brings a private one; or type --broker URL"
    return None


class Engine:
    """The broker, the worker and the receiver of one server; owned by its main process.

    `ready` is called once, when tasks can be worked on; `gone` where broker or worker end by themselves.
    """

    def __init__(self, settings: Settings, ready: Callable[[], None], gone: Callable[[], None]) -> None:
        if sentence := missing(settings):
            raise CannotRunError(sentence)
        self.private = settings.broker is None
        self.settings = settings
        self._ready = ready
        self._gone = gone
        self._broker: subprocess.Popen[bytes] | None = None
        self._worker: subprocess.Popen[bytes] | None = None
        self._ending = False
        if self.private:
            self._start_private()

    def follow(self, journal: Journal, say: Callable[[str], None]) -> None:
        """Connect to the broker and write down what happens. Raises CannotRunError where a given one cannot be used."""
        from taskdemo_server import brokers, celery_app
        from taskdemo_server.celery_events import Receiver

        settings = self.settings
        app = celery_app.for_server(str(settings.broker), settings.backend, settings.queue)
        if not self.private and (sentence := brokers.refusal(app)):
            raise CannotRunError(sentence)

        def ended(message: str, error: str | None) -> None:
            if error is None:
                say(f"Background Task called! {visible(message)}")
            else:
                say(f"Background Task failed! {visible(message)}: {visible(error)}")

        self._receiver = Receiver(app, journal, ended)
        self._receiver.start()
        threading.Thread(target=self._watch, name="celery worker", daemon=True).start()

    def stop(self) -> None:
        """End what is private, at once."""
        self._ending = True
        children = [child for child in (self._worker, self._broker) if child is not None]
        for child in children:
            with contextlib.suppress(OSError):
                child.stdin.close()  # type: ignore[union-attr]  # it is a pipe
        for child in children:
            try:
                child.wait(_END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _start_private(self) -> None:
        folder = _folder(self.settings.journal)
        url = broker.url(folder)
        settings = self.settings = replace(self.settings, broker=url, private_broker=True)
        self._broker = _child("taskdemo_server.broker", folder)
        self._worker = _child(
            "taskdemo_server.worker",
            WorkerSettings(
                broker=url,
                backend=settings.backend,
                queue=settings.queue,
                duration=settings.duration if settings.work in ("sleep", "cpu") else None,
                concurrency=min(MOST_PROCESSES, os.cpu_count() or 1),
                private=True,
            ).to_json(),
        )

    def _watch(self) -> None:
        worker = self._worker
        if worker is not None and worker.stdout is not None and not worker.stdout.readline():
            print("The private Celery worker did not start.", file=sys.stderr, flush=True)
            self._gone()
            return
        self._receiver.connected.wait()
        self._ready()


def _child(module: str, argument: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module, argument],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # A Ctrl-C in the terminal is for the server to judge.
    )


def _folder(journal: str) -> str:
    """Make the broker's private folder: beside the journal if that is private too, and near enough for a socket."""
    parent = Path(journal).resolve().parent
    with contextlib.suppress(OSError):
        stat = parent.stat()
        if stat.st_uid == os.getuid() and not stat.st_mode & 0o077:
            folder = tempfile.mkdtemp(prefix="broker-", dir=parent)
            if broker.fits(folder):
                return folder
            shutil.rmtree(folder, ignore_errors=True)
    return tempfile.mkdtemp(prefix="taskdemo-broker-")
