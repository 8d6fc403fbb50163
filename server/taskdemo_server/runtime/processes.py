"""Serving from several processes, which share the listening socket and the journal.

Each ends with its parent, like every process that multiprocessing spawns here: see `serve.py`.
"""

import contextlib
import multiprocessing
import queue
import signal
import socket
import sys
import threading
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Final

from taskdemo_server.contract.settings import Settings
from taskdemo_server.contract.stderr import complain
from taskdemo_server.runtime.console import Console
from taskdemo_server.runtime.server import PageServer
from taskdemo_server.runtime.signals import Inbox, catch_signals, hear

_LOOK_EVERY_S: Final = 0.25


class Processes:
    """N server processes; one that dies is replaced."""

    def __init__(self, settings: Settings, listener: socket.socket, inbox: Inbox) -> None:
        self._settings = settings
        self._listener = listener
        self._inbox = inbox
        self._spawn = multiprocessing.get_context("spawn")
        self._processes: dict[int, BaseProcess] = {}
        self._ready: set[int] = set()
        self._draining = False

    def start(self) -> None:
        """Start the processes; ("ready", pid) follows for each."""
        for _ in range(self._settings.workers):
            self._start_one()

    def ended(self, pid: int) -> bool:
        """Record that a process has ended, replace it if it should not have, and return whether none is left."""
        self._processes.pop(pid).join()
        if pid not in self._ready:  # It could not start, and has said why; another could not either.
            self.drain()
        elif not self._draining:
            complain(f"Server process {pid} died; another takes its place.")
            self._start_one()
        return not self._processes

    def drain(self) -> None:
        """Stop accepting connections and finish the open tasks; ("ended", pid) follows for each process."""
        self._draining = True
        self._listener.close()
        for process in self._processes.values():
            process.terminate()

    def abandon(self) -> None:
        """Kill every process at once."""
        for process in self._processes.values():
            process.kill()
            process.join()

    def _start_one(self) -> None:
        ours, theirs = self._spawn.Pipe(duplex=False)
        process = self._spawn.Process(target=_one_of_many, args=(self._settings, self._listener, theirs))
        process.start()
        theirs.close()
        assert process.pid is not None  # noqa: S101  it was started
        self._processes[process.pid] = process
        threading.Thread(target=self._watch, args=(process.pid, process, ours), name="watch", daemon=True).start()

    def _watch(self, pid: int, process: BaseProcess, ours: Connection) -> None:
        while not ours.poll(_LOOK_EVERY_S) and process.is_alive():
            pass
        with contextlib.suppress(EOFError):
            if ours.poll():
                ours.recv_bytes()
                self._ready.add(pid)
                self._inbox.put(("ready", pid))
        process.join()  # Not until the pipe ends: processes that the work starts with os.system inherit it.
        self._inbox.put(("ended", pid))


def _one_of_many(settings: Settings, listener: socket.socket, theirs: Connection) -> None:
    inbox: Inbox = queue.SimpleQueue()
    catch_signals(inbox)
    console = Console(sys.stdout if settings.console else None)
    one = PageServer(settings, listener, inbox, console)
    one.start()
    while True:
        match hear(inbox):
            case "ready", _:
                theirs.send_bytes(b"ready")
            case "signal", signal.SIGTERM:  # A terminal sends the others to all processes; the parent decides.
                one.drain()
            case "ended", _:
                break
    console.close()
