"""A private broker and a private worker: children of one server, started with it, and gone as soon as it is.

Each is run by a guard (`runtime.guard`), which ends it and all that it has started when its own standard input ends.
A worker that dies is replaced, and what it held comes back as its engine has it; with a broker all is over.
"""

import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal

from taskdemo_server.contract.child_process import Child, last_line, python
from taskdemo_server.contract.modes import Engine
from taskdemo_server.contract.settings import Settings
from taskdemo_server.contract.stderr import complain
from taskdemo_server.engines.base import PRIVATE, why_not

News = Literal["ready", "failed"]
_WORKER: Final = "taskdemo_server.worker"
_START_TIMEOUT_S: Final = 45.0
"""On a machine that has no time for it; less than its server's start may take."""
_AGAIN_AFTER_S: Final = 0.2
MOST_DEATHS: Final = 3
"""A task whose process has died so often is not to be begun again: the next one would die, too."""


class Children:
    """The broker and the worker of one server. `ended` counts the tasks that have ended so far.

    `tell` is told "ready" once, and "failed" where one of them cannot be had (any more).
    """

    def __init__(
        self, settings: Settings, engine: Engine, ended: Callable[[], int], tell: Callable[[News], None]
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._ended = ended
        self._tell = tell
        self._ending = False
        self.broker_started = threading.Event()
        """Set when the broker is ready, or cannot be had."""
        self.worker_since = math.inf
        """Since when there is the worker, on the monotonic clock."""
        self._worker: Child | None = None
        self._hung = False
        self._children: list[Child] = []
        threading.Thread(target=self._run, name="engine", daemon=True).start()

    def end(self) -> None:
        """End both at once."""
        self._ending = True
        for child in reversed(self._children):
            child.end()

    def replace_worker(self) -> None:
        """End a worker that takes no tasks; another takes its place."""
        if self._worker is not None:
            self._hung, self.worker_since = True, math.inf
            self._worker.end()

    def _run(self) -> None:
        folder = str(self._settings.private_broker)
        module = PRIVATE[self._engine.private_broker].module
        if module is not None:
            broker = self._start("broker", module, folder)
            if broker is None:
                self.broker_started.set()
                return
            threading.Thread(target=self._attend_broker, args=(broker,), name="broker", daemon=True).start()
        why = why_not(self._engine, str(self._settings.broker))
        self.broker_started.set()
        if why is not None:
            self._fail(f"The private {self._settings.mode} broker cannot be used: {why}")
            return
        worker = self._settings.private_worker(self._settings.tasks_at_once, folder if module is None else None)
        deaths, ended = 0, 0
        while (child := self._start("worker", _WORKER, worker.to_json(), again=deaths > 0)) is not None:
            if not deaths:
                self._tell("ready")
            self._worker, self.worker_since = child, time.monotonic()
            child.wait()
            child.end()  # what is left of its group
            if self._ending:
                return
            before, ended = ended, self._ended()
            deaths = deaths + 1 if ended == before else 1
            died = f"died ({last_line(self._log('worker')) or 'it printed nothing'})"
            said = f"The private {self._settings.mode} worker {'took no tasks and was ended' if self._hung else died}"
            self.worker_since, self._hung = math.inf, False
            if deaths > MOST_DEATHS * self._settings.tasks_at_once:
                self._fail(f"{said}, {deaths} times without a finished task: the server ends.")
                return
            complain(f"{said}; another takes its place.")
            time.sleep(_AGAIN_AFTER_S)

    def _start(self, name: str, module: str, told: str, *, again: bool = False) -> Child | None:
        """Start a child and wait until it is ready; `again`: or has died, for a task may end it before that."""
        if self._ending:
            return None
        child = Child(python(module), told=told, errors=self._log(name), tidy=True, says_ready=True)
        self._children.append(child)
        if child.await_ready_line(_START_TIMEOUT_S):
            return child
        why = child.why_not_ready(_START_TIMEOUT_S, self._log(name))
        child.end()  # Some workers replace a process that dies for ever.
        if again and not self._ending:
            return child
        self._fail(f"The private {self._settings.mode} {name} {why}")
        return None

    def _log(self, name: str) -> Path:
        return Path(str(self._settings.private_broker), f"{name}.log")

    def _attend_broker(self, broker: Child) -> None:
        broker.wait()
        broker.end()  # what is left of its group
        self._fail("The private broker died with everything in it: the server ends, and its tasks are lost.")

    def _fail(self, why: str) -> None:
        if not self._ending:
            complain(why)
            self._tell("failed")
