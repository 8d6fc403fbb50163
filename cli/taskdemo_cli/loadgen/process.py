"""The load process: runs one plan after another and reports without waiting for its reader.

See `loadgen.protocol` for its input and output.
"""

import asyncio
import gc
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable

import uvloop

from taskdemo_cli.loadgen.os_limits import most_connections
from taskdemo_cli.loadgen.protocol import Frame, Plan, Ready, Refused, Stop, decode_command, encode_frame
from taskdemo_server.contract.text import escape


async def serve(emit: Callable[[Frame], None]) -> None:
    """Run the plans that arrive on standard input, one at a time, until it ends."""
    sys.modules["httpx._main"] = None  # type: ignore[assignment]  # its command line takes longer to import than the rest
    from taskdemo_cli.loadgen.engine import Run

    loop = asyncio.get_running_loop()
    plans: asyncio.Queue[Plan] = asyncio.Queue()
    run: Run | None = None

    def listen() -> None:
        for line in sys.stdin.buffer:
            match decode_command(line):
                case Plan() as plan:
                    loop.call_soon_threadsafe(plans.put_nowait, plan)
                case Stop():
                    loop.call_soon_threadsafe(stop)
        os._exit(0)

    def stop() -> None:
        if run is not None:
            run.stop()
        elif not plans.empty():  # the plan has just arrived; its run begins in the loop's next iteration
            loop.call_soon(stop)

    connections = most_connections()
    gc.freeze()  # imported objects are not garbage, so later collections can skip them
    gc.enable()
    threading.Thread(target=listen, daemon=True).start()
    emit(Ready())
    while True:
        plan = await plans.get()
        try:
            run = Run(plan, emit, connections)
            gc.collect()
            gc.disable()  # a run makes no cycles, and a collection would be part of the measurement
            await run.go()
        except Exception as error:  # noqa: BLE001  any error is reported, and the process goes on
            emit(Refused(escape(f"{type(error).__name__}: {error}")))
        finally:
            run = None
            gc.enable()


def write_frames(descriptor: int) -> Callable[[Frame], None]:
    """Start a thread that writes frames to the pipe, and return the function that queues one without blocking."""
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
                    os._exit(0)  # the reader is gone

    threading.Thread(target=write, daemon=True).start()
    return frames.put


def main() -> None:
    """Run the load process: frames go to the original standard output; anything printed goes to standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command line decides what Ctrl-C means
    gc.disable()  # imports leave no garbage, and looking for it takes a tenth of their time
    descriptor = os.dup(1)
    os.dup2(2, 1)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(write_frames(descriptor)))


if __name__ == "__main__":
    main()
