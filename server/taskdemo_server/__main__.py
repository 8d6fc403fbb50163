"""`python -m taskdemo_server SETTINGS_JSON`: one server, from the first line it prints to the last.

Imports little at the top, because every pool process imports this file again when it starts.
"""

import errno
import functools
import json
import os
import queue
import secrets
import signal
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from taskdemo_server.contract.settings import Settings, told
from taskdemo_server.contract.stderr import complain
from taskdemo_server.contract.text import escape, shortened
from taskdemo_server.runtime import orphans

if TYPE_CHECKING:
    from taskdemo_server.contract.events import TaskEvent
    from taskdemo_server.journal.file import Journal
    from taskdemo_server.runtime.server import Inbox

_COULD_NOT_RUN: Final = 2
_LOST: Final = 1
_INTERRUPTED: Final = 130


def main() -> int:
    """Serve until told to end; return the exit code."""
    # The tracker of multiprocessing's semaphores warns when a killed server leaves it some to remove: its very job.
    sys.warnoptions.append("ignore:resource_tracker:UserWarning")
    try:
        settings = Settings.from_json(told(sys.argv))
    except (ValueError, TypeError) as error:
        return _refuse(f"python -m taskdemo_server takes one argument, its settings as JSON ({error}).")
    return run(settings)


def run(settings: Settings) -> int:
    """Serve as `settings` say until told to end; return the exit code."""
    if settings.lifeline:
        orphans.hold()
    from taskdemo_server.access import is_loopback
    from taskdemo_server.contract.import_string import UnusableError
    from taskdemo_server.modes import ENDPOINTS
    from taskdemo_server.work import prepare

    if settings.token is None and not is_loopback(settings.host):
        settings = replace(settings, token=secrets.token_urlsafe(16))
    if settings.max_pending < 1:
        return _refuse(f"max_pending is {settings.max_pending}; it must be 1 or more.")
    if settings.workers > 1 and os.name == "nt":
        return _refuse("Several server processes cannot share a port on Windows; leave --workers out.")
    if settings.mode not in ENDPOINTS:
        return _refuse(f"Unknown mode {settings.mode!r}; there are: {', '.join(ENDPOINTS)}.")
    try:
        prepare(settings)  # Before anything is started for a work that cannot be done.
        listener = _listen(settings.host, settings.port)
    except UnusableError as error:
        return _refuse(str(error))
    except UnicodeError:
        return _refuse(f"There can be no host named {shortened(settings.host, 80)}; type --host 127.0.0.1")
    except OSError as error:
        return _refuse(_why_not_listening(settings, error))
    try:
        return _serve(settings, listener)
    except OSError as error:
        return _refuse(f"The journal {settings.journal} cannot be written: {error.strerror}.")


def _serve(settings: Settings, listener: socket.socket) -> int:
    inbox: Inbox = queue.SimpleQueue()
    engine = None
    if settings.mode == "celery":
        # Before all that takes long to import: its processes start meanwhile.
        from taskdemo_server.celery_engine import CannotRunError, Engine

        try:
            engine = Engine(settings, lambda: inbox.put(("ready", 0)), lambda: inbox.put(("signal", signal.SIGTERM)))
        except CannotRunError as error:
            return _refuse(str(error))
        settings = engine.settings
    from taskdemo_server.access import is_loopback
    from taskdemo_server.journal.file import Journal, unfinished
    from taskdemo_server.runtime.console import Console, abandoned, banner, drained, draining, kept, left_behind
    from taskdemo_server.runtime.server import OneProcess, Processes, catch_signals, hear

    url, port = _address(settings.host, listener)
    journal = Journal(settings.journal)
    lost = _lose_what_the_dead_left(journal, settings)
    since = journal.size()
    console = Console(sys.stdout if settings.console else None)
    crew: OneProcess | Processes
    if settings.workers == 1:
        crew = OneProcess(settings, listener, inbox, console.say if settings.console else None)
    else:
        crew = Processes(settings, listener, inbox)
    catch_signals(inbox)

    with_broker = engine is not None and not engine.private
    """Whether the tasks outlive the server: then they neither hold up its end nor are lost with it."""

    def running() -> "dict[str, TaskEvent]":
        return {} if with_broker else unfinished(journal, since)

    if lost:
        console.say(left_behind(lost))
    if not is_loopback(settings.host):
        complain(
            f"Other machines reach it on port {port}: starting a task takes no token, all else the one shown below."
        )
    ready, told, waited_for = 0, 0, 0
    if engine is not None:
        try:
            engine.follow(journal, console.say)
        except CannotRunError as error:
            return _refuse(str(error))
    crew.start()
    while True:
        what, number = hear(inbox)
        if what == "ready":
            ready += 1
            if ready == settings.workers + (engine is not None):
                console.say(banner(settings, url, port, terminal=console.terminal))
                _announce(settings, url, port)
        elif what == "ended":
            if crew.ended(number):
                break
            if not told and engine is None:
                _lose(journal, settings, _tasks_of(number, running()), f"Server process {number} died.")
        elif not told:
            told = number
            crew.drain()
            waited_for = len(running())
            if with_broker:
                console.say_on_signal(kept(_name(number), len(unfinished(journal))))
            else:
                console.say_on_signal(draining(_name(number), waited_for))
        else:
            crew.abandon()
            if engine is not None:
                journal.seal()
                engine.stop()
            tasks = running()
            _lose(journal, settings, tasks, f"Abandoned by a second {_name(number)}.")
            console.say_on_signal(abandoned(_name(number), len(tasks)))
            console.close()
            orphans.end(_INTERRUPTED if signal.SIGINT in (told, number) else _LOST)
    if engine is not None:
        engine.stop()
    orphans.end_group()
    if (ready < settings.workers and not told) or (engine is not None and engine.failed):
        return _COULD_NOT_RUN
    if waited_for:
        console.say(drained(waited_for))
    console.close()
    if not told:
        return _LOST  # It ended by itself, which it should not.
    return _INTERRUPTED if told == signal.SIGINT else 0


def _listen(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    if os.name == "posix":
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        # Here rather than in uvicorn, because two may bind one port, and only listening shows which was first.
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    return listener


def _why_not_listening(settings: Settings, error: OSError) -> str:
    where = f"{settings.host} port {settings.port}"
    if error.errno == errno.EADDRINUSE:
        return f"Cannot serve on {where}: it is in use. Try another with --port, or --port 0 for any that is free."
    return f"Cannot serve on {where}: {error.strerror}."


def _address(host: str, listener: socket.socket) -> tuple[str, int]:
    """Return the URL to reach the server at from this machine, and its port."""
    port = listener.getsockname()[1]
    host = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  compared, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}", port


def _announce(settings: Settings, url: str, port: int) -> None:
    if settings.announce is None:
        return
    path = Path(settings.announce)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    told = json.dumps({"url": url, "port": port, "pid": os.getpid(), "token": settings.token})
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:  # noqa: PTH123  private from the start
        file.write(told)
    draft.replace(path)


def _lose(journal: "Journal", settings: Settings, tasks: "dict[str, TaskEvent]", why: str) -> None:
    from taskdemo_server.contract.events import event_line, place_of
    from taskdemo_server.work import here

    at, clock, place = time.time(), time.monotonic(), place_of(settings.mode, here())
    journal.write_sealed(b"".join(event_line(task, "lost", at, clock, place, None, why) for task in tasks))


def _lose_what_the_dead_left(journal: "Journal", settings: Settings) -> int:
    """Journal as lost what an earlier server of this host accepted, never ended, and has died over; return how many."""
    from taskdemo_server.journal.file import unfinished
    from taskdemo_server.work import process_of

    @functools.cache
    def is_gone(pid: int) -> bool:
        import psutil  # Only a journal with unfinished tasks makes it worth its import.

        return pid == os.getpid() or not psutil.pid_exists(pid)  # Ours is used again: an earlier boot's or container's.

    def is_dead(event: "TaskEvent") -> bool:
        place = process_of(event.where)
        if event.mode == "celery" and settings.broker is not None:
            return False  # The broker has it; a private one died with its server.
        if place is None or place[0] != socket.gethostname():
            return False
        return is_gone(place[1])

    lost = {task: event for task, event in unfinished(journal).items() if is_dead(event)}
    _lose(journal, settings, lost, "Its server died.")
    return len(lost)


def _tasks_of(pid: int, tasks: "dict[str, TaskEvent]") -> "dict[str, TaskEvent]":
    from taskdemo_server.work import process_of

    return {task: event for task, event in tasks.items() if (process_of(event.where) or ("", 0))[1] == pid}


def _name(number: int) -> str:
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def _refuse(sentence: str) -> int:
    complain(f"taskdemo: {escape(sentence)}")
    return _COULD_NOT_RUN


if __name__ == "__main__":
    sys.exit(main())
