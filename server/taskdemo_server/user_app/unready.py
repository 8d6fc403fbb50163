"""Where the user's own code is while its start or its end takes long: told on standard error, its last words."""

import gc
import inspect
import threading
import time
from collections.abc import Callable

from taskdemo_server.contract.stderr import complain
from taskdemo_server.contract.text import shortened
from taskdemo_server.user_app.stacks import Reader, frames, stack, suspended_at

EVERY_S = 10.0


def where_it_is(reader: Reader, thread: threading.Thread) -> str:
    """Return ` at` the line of the application's own that this thread, or else a coroutine, is at; empty for none."""
    steps = stack(frames().get(thread.ident or 0))
    suspended = map(suspended_at, filter(inspect.iscoroutine, gc.get_objects()))
    look = next(filter(None, (reader.look(seen, others=False) for seen in (steps, *suspended))), None)
    return "" if look is None else f" at {look.place}" + (f": {look.calling}" if look.calling else "")


def tell_while_starting(folder: str | None, is_ready: Callable[[], bool]) -> None:
    """From now on until it is ready, say every now and then where it is."""
    reader = Reader(folder or ".")

    def watch() -> None:
        while True:
            time.sleep(EVERY_S)
            if is_ready():
                return
            complain(shortened(f"still starting{where_it_is(reader, threading.main_thread())}", 200))

    threading.Thread(target=watch, name="start", daemon=True).start()
