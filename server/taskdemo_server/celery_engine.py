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
from taskdemo_server.contract.settings import BUILT_IN_WORKS, Settings, WorkerSettings
from taskdemo_server.contract.stderr import complain
from taskdemo_server.contract.text import escape
from taskdemo_server.journal.file import Journal

MOST_PROCESSES: Final = 8
_END_TIMEOUT_S: Final = 1.0


class CannotRunError(Exception):
    """Mode celery cannot be served here; the text is a sentence for the user."""


def missing(settings: Settings) -> str | None:
    """Return what to install, as a sentence; None where all is there."""
    if importlib.util.find_spec("celery") is None or importlib.util.find_spec("redis") is None:
        return "Mode celery needs Celery and its Redis client: pip install 'taskdemo[celery]'"
    if settings.broker is None and broker.binary() is None:
        return broker.NEEDED
    return None


class Engine:
    """The broker, the worker and the receiver of one server; owned by its main process.

    `ready` is called once, when tasks can be worked on; `gone` where a private worker or broker cannot even start. One
    that dies later is replaced: what a worker held goes back to the broker, what a broker held is lost.
    """

    def __init__(self, settings: Settings, ready: Callable[[], None], gone: Callable[[], None]) -> None:
        if sentence := missing(settings):
            raise CannotRunError(sentence)
        self.private = settings.broker is None
        self.settings = settings
        self.failed = False
        """Whether `gone` was called."""
        self._ready = ready
        self._gone = gone
        self._ending = False
        self._dismissed = False
        """Whether the worker was ended because its broker died."""
        self._broker: subprocess.Popen[bytes] | None = None
        self._worker: subprocess.Popen[bytes] | None = None
        if self.private:
            try:
                self._folder = _folder(settings.announce or settings.journal)
            except OSError as error:
                raise CannotRunError(
                    f"Mode celery cannot have a private broker: {error}; or type --broker URL"
                ) from None
            self.settings = replace(settings, broker=broker.url(self._folder), private_broker=True)
            self._broker = self._start_broker()
            self._worker = self._start_worker()

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
                say(f"Background Task called! {escape(message)}")
            else:
                say(f"Background Task failed! {escape(message)}: {escape(error)}")

        self._say = say
        self._receiver = Receiver(app, journal, ended)
        self._receiver.start()
        threading.Thread(target=self._get_ready, name="celery", daemon=True).start()

    def stop(self) -> None:
        """End what is private, at once."""
        self._ending = True
        children = [child for child in (self._worker, self._broker) if child is not None]
        for child in children:
            _cut(child)
        for child in children:
            try:
                child.wait(_END_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if self.private:
            shutil.rmtree(self._folder, ignore_errors=True)  # as the broker does, unless it was ended otherwise

    def _start_broker(self) -> "subprocess.Popen[bytes]":
        return _child("taskdemo_server.broker", self._folder, self._folder)

    def _start_worker(self) -> "subprocess.Popen[bytes]":
        settings = self.settings
        worker = WorkerSettings(
            broker=str(settings.broker),
            backend=settings.backend,
            queue=settings.queue,
            duration=settings.duration if settings.work in BUILT_IN_WORKS else None,
            work=settings.work,
            folder=settings.folder,
            concurrency=min(MOST_PROCESSES, os.cpu_count() or 1),
            private=True,
            lab=settings.lab,
        )
        return _child("taskdemo_server.worker", worker.to_json(), self._folder)

    def _get_ready(self) -> None:
        for name, child in (("broker", self._broker), ("worker", self._worker)):
            if child is not None and not _says(child):
                self._fail(f"The private Celery {name} did not start.")
                return
        self._receiver.connected.wait()
        self._ready()
        if self.private:
            threading.Thread(target=self._tend_broker, name="broker", daemon=True).start()
            self._tend_worker()

    def _tend_worker(self) -> None:
        while self._worker is not None and _is_gone(self._worker, self._say) and not self._ending:
            if self._dismissed:
                self._dismissed = False
            else:
                complain("The private Celery worker died; another takes its place, and does again what it had begun.")
                with contextlib.suppress(Exception):  # Without a broker there is nothing to give back.
                    self._receiver.give_back()
            self._worker = self._start_worker()
            if not _says(self._worker) and not self._ending:
                self._fail("It did not start.")

    def _tend_broker(self) -> None:
        while self._broker is not None and _is_gone(self._broker, self._say) and not self._ending:
            lost = self._receiver.lose("The private broker died.")
            complain(
                f"The private broker died, and with it what it kept: {lost} tasks are lost. Another takes its place."
            )
            self._broker = self._start_broker()
            # What the worker runs came from there, and its ends would be told there.
            self._dismissed = True
            if self._worker is not None:
                _cut(self._worker)
            if not _says(self._broker) and not self._ending:
                self._fail("It did not start.")

    def _fail(self, sentence: str) -> None:
        if not self._ending:
            complain(sentence)
            self.failed = True
            self._gone()


def _child(module: str, argument: str, folder: str) -> "subprocess.Popen[bytes]":
    """Start a module; its temporary files are to go with `folder`, because nobody tidies up after a SIGKILL."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module, argument],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "TMPDIR": folder},
        start_new_session=True,  # A Ctrl-C in the terminal is for the server to judge.
    )


def _says(child: "subprocess.Popen[bytes]") -> bool:
    """Wait until it says that it is ready; False where it ends instead."""
    return child.stdout is not None and bool(child.stdout.readline())


def _is_gone(child: "subprocess.Popen[bytes]", say: Callable[[str], None]) -> bool:
    """Show what it prints until it, and every process it has started, is gone: each holds its standard output open."""
    for line in child.stdout or ():
        say(escape(line.decode(errors="replace").rstrip("\n")))
    _cut(child)
    child.wait()
    return True


def _cut(child: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(OSError):
        if child.stdin is not None:
            child.stdin.close()


def _folder(beside: str) -> str:
    """Make the broker's private folder: beside a file of this server, if it is private there and a socket's path short.

    There it goes with the rest even where a SIGKILL ends everybody who would have removed it.
    """
    parent = Path(beside).resolve().parent
    with contextlib.suppress(OSError):
        stat = parent.stat()
        if hasattr(os, "getuid") and stat.st_uid == os.getuid() and not stat.st_mode & 0o077:
            folder = tempfile.mkdtemp(prefix="b-", dir=parent)
            if broker.fits(folder):
                return folder
            shutil.rmtree(folder, ignore_errors=True)
    return broker.short_folder()
