"""The load process: takes plans one after another, fires them, and reports without waiting for its reader.

See `loadgen.protocol` for what comes in and goes out.
"""

import asyncio
import gc
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable

from taskdemo_cli.loadgen.capacity import SPARE_FILES, raise_file_limit
from taskdemo_cli.loadgen.engine import Run
from taskdemo_cli.loadgen.protocol import Frame, Plan, Ready, Refused, Stop, decode_command, encode_frame
from taskdemo_server.contract.text import escape


class LoadProcess:
    """The commands that come in, one run at a time."""

    def __init__(self, emit: Callable[[Frame], None]) -> None:
        self._emit = emit
        self._loop = asyncio.get_running_loop()
        self._commands: asyncio.Queue[Plan] = asyncio.Queue()
        self._run: Run | None = None

    async def serve(self) -> None:
        """Run the plans that arrive, for ever."""
        connections = raise_file_limit() - SPARE_FILES
        threading.Thread(target=self._listen, daemon=True).start()
        self._emit(Ready())
        while True:
            plan = await self._commands.get()
            try:
                await self._fire(plan, connections)
            except Exception as error:  # noqa: BLE001  whatever it is, it is an answer: this process goes on
                self._emit(Refused(escape(f"{type(error).__name__}: {error}")))
            finally:
                self._run = None
                gc.enable()
                gc.unfreeze()

    async def _fire(self, plan: Plan, connections: int) -> None:
        self._run = Run(plan, self._emit, connections)
        gc.collect()
        gc.freeze()
        if not self._run.through_httpx:
            gc.disable()  # our own wire makes no cycles, and a collection in its middle would be measured
        await self._run.go()

    def _listen(self) -> None:
        for line in sys.stdin.buffer:
            match decode_command(line):
                case Plan() as plan:
                    self._loop.call_soon_threadsafe(self._commands.put_nowait, plan)
                case Stop():
                    self._loop.call_soon_threadsafe(self._stop)
        os._exit(0)

    def _stop(self) -> None:
        if self._run is not None:
            self._run.stop()


def write_frames(descriptor: int) -> Callable[[Frame], None]:
    """Start a thread that writes frames, and return the function that queues one without ever waiting."""
    frames: queue.SimpleQueue[Frame] = queue.SimpleQueue()

    def write() -> None:
        with os.fdopen(descriptor, "wb", buffering=0) as pipe:
            while True:
                body = encode_frame(frames.get())
                left = memoryview(len(body).to_bytes(4, "big") + body)
                try:
                    while left:
                        left = left[pipe.write(left) :]
                except OSError:
                    os._exit(0)  # nobody reads any more

    threading.Thread(target=write, daemon=True).start()
    return frames.put


async def _main(emit: Callable[[Frame], None]) -> None:
    await LoadProcess(emit).serve()


def main() -> None:
    """Be the load process: frames to what was standard output, which from here on is standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command line decides what Ctrl-C means
    descriptor = os.dup(1)
    os.dup2(2, 1)
    loop_factory = None
    try:
        import uvloop
    except ImportError:
        pass
    else:
        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_main(write_frames(descriptor)))


if __name__ == "__main__":
    main()
