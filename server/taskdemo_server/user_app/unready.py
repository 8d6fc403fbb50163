"""Finds where the user's own code is while its startup or shutdown takes long, and reports it on standard error."""

import gc
import inspect
import threading
import time
from collections.abc import Callable

from taskdemo_server.contract.stderr import complain
from taskdemo_server.contract.text import shortened
from taskdemo_server.user_app.stacks import Reader, frames, stack, suspended_at

EVERY_S = 10.0


def where_it_is(folder: str | None, thread: threading.Thread) -> str:
    """Return ` at` and the application's line that this thread, or else a coroutine, is at; empty if there is none."""
    reader, steps = Reader(folder or "."), stack(frames().get(thread.ident or 0))
    suspended = map(suspended_at, filter(inspect.iscoroutine, gc.get_objects()))
    look = next(filter(None, (reader.look(seen, others=False) for seen in (steps, *suspended))), None)
    return "" if look is None else f" at {look.place}" + (f": {look.calling}" if look.calling else "")


def tell_while_starting(folder: str | None, is_ready: Callable[[], bool]) -> None:
    """Say every EVERY_S seconds where the application is, until `is_ready()`."""

    def watch() -> None:
        while True:
            time.sleep(EVERY_S)
            if is_ready():
                return
            complain(shortened(f"still starting{where_it_is(folder, threading.main_thread())}", 200))

    threading.Thread(target=watch, name="start", daemon=True).start()
