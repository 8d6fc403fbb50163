"""The server: an application, wrapped in tracking and access control, which uvicorn serves in this process.

The event loop runs in a thread of its own, because the main thread must always be free to handle a signal: work that
blocks the loop, in whatever foreign code, cannot delay the answer to a Ctrl-C. Only the user's own application gets
the main thread, as under uvicorn itself, because it may install signal handlers.
"""

import asyncio
import errno
import functools
import importlib
import multiprocessing
import os
import resource
import socket
import threading
import time
from typing import Any, Final

import anyio.to_thread
import uvicorn
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from taskdemo_server.access import Access
from taskdemo_server.api import beside, create_api_of_app, create_api_of_page, health
from taskdemo_server.api.state import State
from taskdemo_server.contract.events import TaskRecord
from taskdemo_server.contract.modes import MODE_BY_NAME, Mode
from taskdemo_server.contract.settings import WORK, Settings
from taskdemo_server.contract.stderr import complain
from taskdemo_server.contract.text import escape
from taskdemo_server.engines import base
from taskdemo_server.journal.file import Journal
from taskdemo_server.journal.index import Index
from taskdemo_server.runtime.console import LOGGING, Console
from taskdemo_server.runtime.signals import Inbox
from taskdemo_server.tracking import PageTracking, Tracking
from taskdemo_server.user_app.loop_stalls import LoopStalls
from taskdemo_server.user_app.open_requests import Requests, follow_background_tasks
from taskdemo_server.user_app.stacks import Reader
from taskdemo_server.user_app.threads import follow_threads
from taskdemo_server.work import pools, workplace

_HANG_UP_AFTER_S: Final = 3.0
_FOLLOW_EVERY_S: Final = 0.05
NO_DESCRIPTORS: Final = (
    "This server has used all {} of its file descriptors, so it hangs up on new callers. "
    "Raise the limit, then restart it: ulimit -Hn 65536 (as root)"
)


class Server(uvicorn.Server):
    """uvicorn's server, which also reports when it serves, and closes all connections after the last task.

    `served` is the whole ASGI application: the one in `tracking`, with access control and taskdemo's own API.
    """

    def __init__(
        self, listener: socket.socket, inbox: Inbox, tracking: Tracking[Any], served: ASGIApp, *, websockets: bool
    ) -> None:
        self.tracking = tracking
        self._listener = listener
        self._inbox = inbox
        self._is_full = False
        super().__init__(
            uvicorn.Config(
                served,
                interface="asgi3",
                log_level="error",
                access_log=False,
                log_config=LOGGING,
                ws="auto" if websockets else "none",
                proxy_headers=False,
            )
        )

    def start(self) -> None:
        """Start serving in a new thread; ("ready", pid) follows."""
        threading.Thread(target=self.serve_here, name="event loop", daemon=True).start()

    def serve_here(self) -> None:
        """Serve in this thread; ("ready", pid) follows, and at the end ("ended", pid)."""
        try:
            self.run([self._listener])
        except SystemExit:  # uvicorn's way to say that the application's start has failed
            pass
        finally:
            self._inbox.put(("ended", os.getpid()))

    def ended(self, _pid: int) -> bool:
        """Finish the journal of a server that has ended, and return True: no other process is left."""
        self.tracking.journal.finish()
        return True

    def drain(self) -> None:
        """Stop accepting connections and finish the open tasks; ("ended", pid) follows."""
        self.should_exit = True

    def abandon(self) -> None:
        """Stop all writing to the journal, and kill child processes; this process must then end at once."""
        self.tracking.journal.seal()
        for child in multiprocessing.active_children():
            child.kill()
            child.join()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and report it to the inbox."""
        await super().startup(sockets)
        if self.started:
            self._inbox.put(("ready", os.getpid()))

    async def on_tick(self, counter: int) -> bool:
        """Warn once if no file descriptor is left for the next client: uvloop hangs up on it without a word."""
        if not self._is_full:
            try:
                os.close(os.open(os.devnull, os.O_RDONLY))
            except OSError as error:
                self._is_full = error.errno in {errno.EMFILE, errno.ENFILE}
                if self._is_full:
                    complain(NO_DESCRIPTORS.format(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain: let streams end with the last task, and hang up on clients that do not read their response."""
        self.tracking.draining.set()
        hanging_up = asyncio.create_task(self._hang_up())
        await super().shutdown(sockets)
        while self.tracking.awaited:  # noqa: ASYNC110  their end is written to the journal, and sets no event
            await asyncio.sleep(_FOLLOW_EVERY_S)
        hanging_up.cancel()

    async def _hang_up(self) -> None:
        idle_since = time.monotonic()
        while True:
            if self.tracking.open:
                idle_since = time.monotonic()
            elif time.monotonic() - idle_since > _HANG_UP_AFTER_S:
                for connection in list(self.server_state.connections):
                    connection.transport.abort()
            await asyncio.sleep(0.1)


class PageServer(Server):
    """Serves the page of a mode."""

    def __init__(self, settings: Settings, listener: socket.socket, inbox: Inbox, console: Console) -> None:
        mode = MODE_BY_NAME[settings.mode]
        engine = None if mode.engine is None else base.load(mode.engine)
        journal = Journal(settings.journal, beside_threads=mode.runs != "loop")
        say = console.say if settings.console else None
        place = workplace.set_up(settings.work_settings, journal.write, say)
        # Pool processes read this when they set up their own workplace.
        os.environ[WORK] = settings.work_settings.to_json()
        os.environ["PROCESSES"] = str(settings.tasks_at_once)
        page = importlib.import_module(mode.page).app
        tracking = PageTracking(page, mode, journal, place, settings.max_pending)
        has_worker = None
        if engine is not None and settings.shares_broker:
            tracking.kept, has_worker = True, functools.partial(base.has_worker, engine)

        def close(task: TaskRecord) -> None:
            """Record that a task has ended outside this process, and print its output and how it ended."""
            if tracking.open.pop(task.id, None) and say is not None and task.done and task.end is not None:
                for line in (task.end.output or "").splitlines():
                    say(f"task {task.id[:8]} | {escape(line)}")
                say(workplace.end_line(task.message or "", task.end.error))

        index = Index(journal)
        if mode.runs in {"process", "worker"}:
            index = Index(journal, on_end=close)
            threading.Thread(target=_follow, args=(index,), name="follower", daemon=True).start()
        if mode.runs == "process":
            pools.follow_submits()
        cancel = functools.partial(_cancel, settings, mode, engine)
        state = State(settings, index, tracking, cancel, health.slots(settings), has_worker)
        api, is_own = create_api_of_page(state, page)
        served = Access(beside(api, is_own, tracking), settings)
        super().__init__(listener, inbox, tracking, served, websockets=False)
        self._threads = settings.threads

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, with as many worker threads as the settings say."""
        anyio.to_thread.current_default_thread_limiter().total_tokens = self._threads
        await super().startup(sockets)


class AppServer(Server):
    """Serves the user's own application, and watches it."""

    def __init__(self, settings: Settings, listener: socket.socket, inbox: Inbox, app: ASGIApp) -> None:
        journal = Journal(settings.journal, beside_threads=True)
        place = workplace.set_up(settings.work_settings, journal.write, None)
        os.environ[WORK] = settings.work_settings.to_json()
        # As under uvicorn by itself; the routes beside the application see who really asks.
        trusted = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1")
        behind_proxy: Any = ProxyHeadersMiddleware(app, trusted)  # type: ignore[arg-type]  # uvicorn has types of its own
        self.requests = Requests(behind_proxy, journal, place, Reader(settings.folder or "."))
        follow_background_tasks()
        follow_threads()
        state = State(settings, Index(journal), self.requests, lambda _: "A request cannot be cancelled from outside.")
        api, is_own = create_api_of_app(state, app)
        served = beside(Access(api, settings), is_own, self.requests)
        super().__init__(listener, inbox, self.requests, served, websockets=True)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and then watch the event loop."""
        await super().startup(sockets)
        if self.started:
            LoopStalls(self.requests, asyncio.get_running_loop())


def _follow(index: Index) -> None:
    while True:
        index.update()
        time.sleep(_FOLLOW_EVERY_S)


def _cancel(settings: Settings, mode: Mode, engine: base.EngineModule | None, task: TaskRecord) -> str | None:
    """Cancel a task of a page, or return why it cannot be cancelled."""
    if pools.cancel(task.id) if engine is None else task.ref is not None and engine.cancel(task.ref):
        return None
    waiting = task.accepted if task.state == "accepted" else None
    if mode.runs == "process" and waiting is not None and waiting.pid != os.getpid():
        return f"Another of the {settings.workers} server processes took the task, and only that one can cancel it."
    return mode.cannot_cancel
