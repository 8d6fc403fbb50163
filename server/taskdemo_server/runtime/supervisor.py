"""The supervisor of one server: its states are methods that take one piece of news and return the next state.

starting -> serving -> draining; a second signal abandons what is left.
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
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Final, NoReturn, TypeAlias

from taskdemo_server.access import is_loopback
from taskdemo_server.contract.events import Place, TaskRecord
from taskdemo_server.contract.import_string import UnusableError
from taskdemo_server.contract.modes import MODE_BY_NAME, Engine
from taskdemo_server.contract.settings import BUILT_IN_WORKS, CUT_OFF, Settings
from taskdemo_server.contract.stderr import COULD_NOT_RUN, complain, refuse
from taskdemo_server.contract.text import escape, shortened
from taskdemo_server.engines import base, claims
from taskdemo_server.engines.children import Children
from taskdemo_server.engines.deaths import follow_deaths
from taskdemo_server.engines.results import follow_results
from taskdemo_server.journal.file import Journal
from taskdemo_server.journal.index import Index
from taskdemo_server.runtime import console as say
from taskdemo_server.runtime import orphans
from taskdemo_server.runtime.processes import Processes
from taskdemo_server.runtime.server import AppServer, PageServer, Server
from taskdemo_server.runtime.signals import Inbox, catch_signals, hear
from taskdemo_server.user_app.application import find_application
from taskdemo_server.user_app.unready import tell_while_starting, where_it_is
from taskdemo_server.work.workplace import prepare

LOST: Final = 1
INTERRUPTED: Final = 130
_GRACE_S: Final = 2.0
"""Seconds that the user's own application has for its shutdown once the command that started it is gone."""

Next: TypeAlias = "Callable[[str, int], Next] | int"
"""A state, which takes the next piece of news and returns the state after it; or, at the end, the exit code."""


def serve(settings: Settings) -> int:
    """Serve according to `settings` until told to end, or until standard input ends; return the exit code."""
    if settings.token is None and not is_loopback(settings.host):
        settings = replace(settings, token=secrets.token_urlsafe(16))
    try:
        return _serve_page(settings) if settings.app is None else _serve_app(settings, settings.app)
    except UnusableError as error:
        return refuse(str(error))


def _serve_page(settings: Settings) -> int:
    inbox: Inbox = queue.SimpleQueue()
    orphans.end_with_starter()
    if settings.announce and settings.work not in BUILT_IN_WORKS:
        tell_while_starting(settings.folder, Path(settings.announce).exists)
    mode = MODE_BY_NAME[settings.mode]
    if mode.missing:
        raise UnusableError(f"Mode {mode.name} is not installed: pip install 'taskdemo[{mode.missing}]'")
    prepare(settings.work_settings)
    if mode.engine is not None:
        settings = base.with_broker(settings, mode.engine)
        claims.check(settings, mode.engine)
    listener = _listen(settings.host, settings.port)
    supervisor = Supervisor(settings, listener, inbox)
    if mode.engine is not None:
        supervisor.follow(mode.engine)
    if settings.workers == 1:
        crew: PageServer | Processes = PageServer(settings, listener, inbox, supervisor.console)
    else:
        crew = Processes(settings, listener, inbox)
    catch_signals(inbox)
    try:
        supervisor.await_broker()
        crew.start()
        return supervisor.run(crew)
    except BaseException:
        crew.abandon()  # At its exit, Python would wait for these processes, which keep serving.
        raise


def _serve_app(settings: Settings, name: str) -> int:
    """Serve the user's own application in this thread, the main one, as uvicorn would."""
    inbox: Inbox = queue.SimpleQueue()
    server: AppServer | None = None

    def end_in_order() -> None:
        inbox.put(("signal", signal.SIGTERM))
        time.sleep(_GRACE_S)
        if server is not None and not server.requests.open:
            where = where_it_is(settings.folder, threading.main_thread())
            still = f": still{where}" if where else ""
            complain(escape(f"its shutdown was cut off after {_GRACE_S:g} s{still}"))
            orphans.end(CUT_OFF)

    orphans.end_with_starter(end_in_order)
    if settings.announce:
        tell_while_starting(settings.folder, Path(settings.announce).exists)
    listener = _listen(settings.host, settings.port)
    app = find_application(name, settings.folder)
    supervisor = Supervisor(settings, listener, inbox)
    server = AppServer(settings, listener, inbox, app)
    thread = threading.Thread(target=supervisor.run, args=(server,), name="supervisor", daemon=True)
    thread.start()
    server.serve_here()
    thread.join()
    if failed := server.requests.start_failed:
        raise UnusableError(f"--app {name}: startup failed with {shortened(failed, 300)}")
    return 0 if server.started else LOST


class Supervisor:
    """The supervisor of one server, run by the thread that reads the inbox."""

    def __init__(self, settings: Settings, listener: socket.socket, inbox: Inbox) -> None:
        self.settings = settings
        self.console = say.Console(sys.stdout if settings.console else None)
        self._crew: Server | Processes
        self._inbox = inbox
        self._url, self._port = _address(settings.host, listener)
        try:
            self._journal = Journal(settings.journal)
        except OSError as error:
            raise UnusableError(f"The journal {settings.journal} cannot be written: {error.strerror}.") from error
        if not self._journal.claim():  # It would take the other one's tasks for its own.
            raise UnusableError(f"The journal {settings.journal} is another server's; type another --journal.")
        self._ready: set[int] = set()
        """The processes that are ready; 0 is the private worker."""
        self._told = 0
        self._waited_for: list[str] = []
        """The ids of the tasks that were unfinished when the server was told to end."""
        self._children: Children | None = None
        self._index = Index(self._journal)
        if lost := self._lose_what_the_dead_left():
            self.console.say(say.left_behind(lost))
        if not settings.shares_broker:  # From here on, only this server's own tasks count.
            self._index = Index(self._journal, self._journal.size())

    def follow(self, engine: Engine) -> None:
        """Start the engine's broker and worker if they are private, and from now on follow what it does with tasks."""
        settings, module = self.settings, base.load(engine)
        if settings.shares_broker:
            worker = say.worker_command(settings, self._url)
            follow_results(module, self._index, settings.mode, engine.begins_within_s, worker)
        else:
            self.console.say(f"Starting {settings.mode}'s broker and worker, which takes some seconds.\n")
            self._children = Children(settings, engine, self._index.ended, lambda news: self._inbox.put((news, 0)))
        if self._children is not None or module.REDELIVERED_AFTER_S is None:
            follow_deaths(module, self._index, settings.mode, settings.longest_s, self._children)

    def await_broker(self) -> None:
        """Wait until a private broker, if there is one, is ready or has failed."""
        if self._children is not None:
            self._children.broker_started.wait()

    def run(self, crew: Server | Processes) -> int:
        """Handle news until the server, which this crew runs, has ended; return the exit code."""
        self._crew = crew
        if not is_loopback(self.settings.host):
            complain(
                f"Other machines reach it on port {self._port}:"
                " starting a task needs no token, everything else needs the one below."
            )
        state: Next = self._starting
        while not isinstance(state, int):
            what, number = hear(self._inbox)
            if what == "failed":
                self._fail()
            state = state(what, number)
        return state

    def _starting(self, what: str, number: int) -> Next:
        """Wait until every process and the private worker are ready."""
        if what == "ready":
            self._ready.add(number)
            if len(self._ready) < self.settings.workers + (self._children is not None):
                return self._starting
            if self.settings.app is None:
                self.console.say(say.banner(self.settings, self._url, self._port, terminal=self.console.terminal))
            _announce(self.settings, self._url, self._port)
            return self._serving
        if what == "ended" and self._crew.ended(number):
            return self._over(COULD_NOT_RUN)
        if what == "signal":
            return self._drain(number)
        return self._starting

    def _serving(self, what: str, number: int) -> Next:
        """Serve until told otherwise."""
        if what == "signal":
            return self._drain(number)
        if what == "ended":
            if self._crew.ended(number):
                return self._over(LOST)  # It ended without being told to.
            self._lose_with(number)
        return self._serving

    def _draining(self, what: str, number: int) -> Next:
        """Finish the open tasks; a second signal abandons them."""
        if what == "signal":
            self._abandon(number)
        if what == "ended":
            last = self._crew.ended(number)
            self._lose_with(number)
            if last:
                return self._drained()
        return self._draining

    def _drained(self) -> int:
        """End the server once none of its processes is left, and say what became of the tasks that it waited for."""
        if self._children is not None:
            # First, because it may still run tasks of a server process that died earlier, which are lost now.
            self._children.end()
        self._lose(self._mine(), "The server ended before it had.")
        self._index.update()
        if self._waited_for:
            records = [self._index.find(task_id) for task_id in self._waited_for]
            lost = sum(record is not None and record.state == "lost" for record in records)
            self.console.say(say.drained(len(self._waited_for), lost))
        return self._over(INTERRUPTED if self._told == signal.SIGINT else 0)

    def _drain(self, number: int) -> Next:
        self._told = number
        self._crew.drain()
        if self.settings.shares_broker:
            self.console.say_on_signal(say.kept(_name(number), len(self._index.unfinished())))
        else:
            self._waited_for = [task.id for task in self._mine()]
            self.console.say_on_signal(say.draining(_name(number), len(self._waited_for)))
        return self._draining

    def _abandon(self, number: int) -> NoReturn:
        tasks = self._stop_all(f"Abandoned by a second {_name(number)}.")
        self.console.say_on_signal(say.abandoned(_name(number), tasks))
        self.console.close()
        orphans.end(INTERRUPTED if signal.SIGINT in (self._told, number) else LOST)

    def _fail(self) -> NoReturn:
        """End the server after its private broker or worker has failed for good, and has said why."""
        self._stop_all("Its broker or its worker has ended.")
        self.console.close()
        orphans.end(LOST if len(self._ready) > self.settings.workers else COULD_NOT_RUN)

    def _stop_all(self, why: str) -> int:
        """Stop all processes at once, journal as lost the tasks that die with them, and return their number."""
        self._crew.abandon()
        if self._children is not None:
            self._journal.seal()
            self._children.end()
        tasks = self._mine()
        self._lose(tasks, why)
        return len(tasks)

    def _over(self, code: int) -> int:
        if self._children is not None:
            self._children.end()
        orphans.end_group()
        self.console.close()
        return code

    def _mine(self) -> list[TaskRecord]:
        """Return the unfinished tasks that die with this server."""
        return [] if self.settings.shares_broker else self._index.unfinished()

    def _lose_with(self, pid: int) -> None:
        """Journal as lost the unfinished tasks of a server process that died, unless an engine has them."""
        if self._children is None:
            left = [task for task in self._mine() if task.accepted and task.accepted.pid == pid]
            self._lose(left, f"Server process {pid} died.")

    def _lose(self, tasks: Iterable[TaskRecord], why: str) -> None:
        place = Place.here(self.settings.mode)
        self._journal.write_sealed(b"".join(place.event(task.id, "lost", error=why).to_line() for task in tasks))

    def _lose_what_the_dead_left(self) -> int:
        """Journal as lost the unfinished tasks of dead servers on this host, and return their number."""
        host, lives = socket.gethostname(), functools.cache(orphans.lives)
        lost = [
            task
            for task in self._index.unfinished()
            if (accepted := task.accepted) and accepted.host == host
            if accepted.pid == os.getpid() or not lives(accepted.pid)  # Our own pid, reused after a reboot.
            if not (self.settings.shares_broker and task.ref is not None)
        ]
        self._lose(lost, "Its server died.")
        return len(lost)


def _listen(host: str, port: int) -> socket.socket:
    """Return the socket to serve on. Raises UnusableError if it cannot be opened."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][0]
        # Not left to uvicorn, because two servers may bind one port, and only listening shows which was first.
        return socket.create_server((host, port), family=family, backlog=2048)
    except UnicodeError as error:
        raise UnusableError(f"{shortened(host, 80)} is not a valid host name; type --host 127.0.0.1") from error
    except OSError as error:
        in_use = "it is in use. Try another --port, or --port 0 for any free one."
        why = in_use if error.errno == errno.EADDRINUSE else f"{error.strerror}."
        raise UnusableError(f"Cannot serve on {host} port {port}: {why}") from error


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
    draft.touch(0o600)  # private before it holds the token
    draft.write_text(json.dumps({"url": url, "port": port, "pid": os.getpid(), "token": settings.token}))
    draft.replace(path)


def _name(number: int) -> str:
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
