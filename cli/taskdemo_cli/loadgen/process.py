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

import uvloop

from taskdemo_cli.loadgen.capacity import most_connections
from taskdemo_cli.loadgen.engine import Run
from taskdemo_cli.loadgen.protocol import Frame, Plan, Ready, Refused, Stop, decode_command, encode_frame
from taskdemo_server.contract.text import escape


async def serve(emit: Callable[[Frame], None]) -> None:
    """Run the plans that arrive on standard input, one at a time, for ever."""
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
        elif not plans.empty():  # the plan came just before, and its run begins in the loop's next turn
            loop.call_soon(stop)

    connections = most_connections()
    gc.freeze()  # what has been imported is no garbage: no collection before a run need look at it
    threading.Thread(target=listen, daemon=True).start()
    emit(Ready())
    while True:
        plan = await plans.get()
        try:
            run = Run(plan, emit, connections)
            gc.collect()
            gc.disable()  # the wire makes no cycles, and a collection in its middle would be measured
            await run.go()
        except Exception as error:  # noqa: BLE001  whatever it is, it is an answer: this process goes on
            emit(Refused(escape(f"{type(error).__name__}: {error}")))
        finally:
            run = None
            gc.enable()


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


def main() -> None:
    """Be the load process: frames to what was standard output, which from here on is standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the command line decides what Ctrl-C means
    descriptor = os.dup(1)
    os.dup2(2, 1)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(write_frames(descriptor)))


if __name__ == "__main__":
    main()
