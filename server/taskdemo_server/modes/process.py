"""Mode `process`: the endpoint hands the work to a pool of processes and answers."""

import asyncio
import multiprocessing
import os
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Final

from taskdemo_server.contract.events import DEFAULT_MESSAGE
from taskdemo_server.contract.stderr import complain
from taskdemo_server.modes.endpoint import Endpoint, Greeting, Message
from taskdemo_server.work import OverloadedError, Work, prepare_process, run_in_process, said

MOST_PROCESSES: Final = 8
"""Processes are started before the server serves, so a big machine gets no more than these."""
_START_TIMEOUT_S: Final = 30.0


def endpoint(work: Work) -> Endpoint:
    """Answer at once; the work runs in another process, with an interpreter of its own."""
    pool = Pool(work)

    async def hello(message: Message = DEFAULT_MESSAGE) -> Greeting:
        pool.submit(message)
        return {"message": "Hello World!"}

    return Endpoint(
        hello,
        cannot_cancel="A process pool can take back a task that still waits, never one that a process has.",
        cancel=pool.cancel,
        start=pool.start,
        stop=pool.stop,
        accepts=True,
        engine=pool,
    )


class Pool:
    """A ProcessPoolExecutor and the futures that it has not yet done."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._futures: dict[str, Future[None]] = {}
        self._executor: ProcessPoolExecutor | None = None
        self.processes = min(MOST_PROCESSES, os.cpu_count() or 1)

    @property
    def executor(self) -> ProcessPoolExecutor:
        """The pool as it is now; a broken one is replaced."""
        assert self._executor is not None  # noqa: S101  started with the server
        return self._executor

    async def start(self) -> None:
        """Start every process and wait until each is ready, so that no task pays for it."""
        await asyncio.to_thread(self._start)

    async def stop(self) -> None:
        """Wait until the last task has ended, and end the processes."""
        if self._executor is not None:
            await asyncio.to_thread(self._executor.shutdown)

    def submit(self, message: str) -> None:
        """Hand the work for the current request to the pool."""
        task_id = self._work.accept(message)
        try:
            future = self._hand_over(task_id, message)
        except BrokenProcessPool:
            # Killing one process breaks the whole pool for good, and its tasks are lost. Later ones need a new pool.
            complain("A process of the pool died, and the pool with it; a new one takes over.")
            self._executor = self._make()[0]
            try:
                future = self._hand_over(task_id, message)
            except (BrokenProcessPool, OSError) as error:
                self._work.ended_unseen(task_id, "failed", said(error))
                raise OverloadedError("The process pool cannot be started anew: ask again later.") from error
        self._futures[task_id] = future
        future.add_done_callback(lambda done: self._ended(task_id, message, done))

    def cancel(self, task_id: str) -> bool:
        """Take a waiting task back; False where a process has it already, or it has ended."""
        future = self._futures.get(task_id)
        return future is not None and future.cancel()

    def _hand_over(self, task_id: str, message: str) -> "Future[None]":
        return self.executor.submit(run_in_process, task_id, message)

    def _make(self) -> "tuple[ProcessPoolExecutor, multiprocessing.synchronize.Semaphore]":
        # Forking a process that has threads and an event loop is asking for trouble; spawn starts clean.
        spawn = multiprocessing.get_context("spawn")
        ready = spawn.Semaphore(0)
        initargs = (self._work.settings, ready)
        return ProcessPoolExecutor(self.processes, spawn, initializer=prepare_process, initargs=initargs), ready

    def _start(self) -> None:
        self._executor, ready = self._make()
        # A process is started whenever a task comes and none is idle.
        for _ in range(self.processes):
            self._executor.submit(os.getpid)
        for _ in range(self.processes):
            if not ready.acquire(timeout=_START_TIMEOUT_S):
                raise TimeoutError(f"The process pool did not start within {_START_TIMEOUT_S:.0f} s.")

    def _ended(self, task_id: str, message: str, future: "Future[None]") -> None:
        self._futures.pop(task_id, None)
        if future.cancelled():
            self._work.ended_unseen(task_id, "cancelled")
        elif isinstance(error := future.exception(), BrokenProcessPool):
            self._work.ended_unseen(task_id, "lost", "A process of the pool died.")
        else:
            self._work.ended_elsewhere(task_id, message, None if error is None else said(error))
