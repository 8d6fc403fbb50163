"""A private broker and a private worker: child processes that start and end with their server.

Each runs under a guard (`runtime.guard`), which ends it and all its descendants when the guard's standard input ends.
A worker that dies is replaced, and the engine redelivers its tasks if it can; a broker that dies ends the server.
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
"""Enough for a busy machine; less than the server's own start may take."""
_AGAIN_AFTER_S: Final = 0.2
MOST_DEATHS: Final = 3
"""A task whose process has died this often is not started again: the next process would die too."""


class Children:
    """The broker and the worker of one server. `ended` returns how many tasks have ended so far.

    `tell` is called with "ready" once, and with "failed" if one of the two does not start or is gone for good.
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
        """Set when the broker is ready, or has failed."""
        self.worker_since = math.inf
        """When the current worker started, on the monotonic clock; infinity while there is none."""
        self._hung = False
        self._children: dict[str, Child] = {}
        """The broker and the worker that were started last, by these names."""
        threading.Thread(target=self._run, name="engine", daemon=True).start()

    def end(self) -> None:
        """End the broker and the worker at once."""
        self._ending = True
        for child in reversed(list(self._children.values())):
            child.end()

    def replace_worker(self) -> None:
        """End a worker that takes no tasks; another then replaces it."""
        self._hung, self.worker_since = True, math.inf
        self._children["worker"].end()

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
        worker = self._settings.private_worker(self._settings.tasks_at_once)
        deaths, ended = 0, 0
        while (child := self._start("worker", _WORKER, worker.to_json(), again=deaths > 0)) is not None:
            if not deaths:
                self._tell("ready")
            self.worker_since = time.monotonic()
            child.wait()
            child.end()  # and the rest of its process group
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
        """Start a child and return it once it is ready; report a failure and return None if it does not start.

        With `again`, also return one that has died before it was ready, because a task may have killed it.
        """
        if self._ending:
            return None
        child = Child(python(module), told=told, errors=self._log(name), tidy=True, says_ready=True)
        self._children[name] = child
        if child.await_ready_line(_START_TIMEOUT_S):
            return child
        why = child.why_not_ready(_START_TIMEOUT_S, self._log(name))
        child.end()  # Some workers restart a dying process for ever.
        if again and not self._ending:
            return child
        self._fail(f"The private {self._settings.mode} {name} {why}")
        return None

    def _log(self, name: str) -> Path:
        return Path(str(self._settings.private_broker), f"{name}.log")

    def _attend_broker(self, broker: Child) -> None:
        broker.wait()
        broker.end()  # and the rest of its process group
        self._fail("The private broker died with everything in it: the server ends, and its tasks are lost.")

    def _fail(self, why: str) -> None:
        if not self._ending:
            complain(why)
            self._tell("failed")
