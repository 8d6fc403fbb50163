"""What each thread of this process has computed, by the system's clock of it."""

import ctypes
import os
import threading
import time
from pathlib import Path

from taskdemo_server.runtime import thread_clocks


class Clocks:
    """Seconds that a thread of this process has computed, and has waited for a processor. Zeros where nobody says."""

    def __init__(self) -> None:
        self.own = threading.get_native_id()
        """The number of the thread that makes this, the event loop's: a Thread that was forked has its parent's."""
        self._files: dict[int | None, int] = {}

    def of(self, native_id: int | None) -> tuple[float, float]:
        """Return both for the thread of this number; it may have ended."""
        if file := self._files.get(native_id) or self._opened(native_id):
            text = ctypes.create_string_buffer(100)
            thread_clocks.SYSTEM.pread(file, text, len(text), 0)
            if (found := thread_clocks.times(text.value)) is not None:
                return found
        return (time.process_time(), 0.0) if native_id == self.own else (0.0, 0.0)

    def _opened(self, native_id: int | None) -> int | None:
        if (file := thread_clocks.opened(f"self/task/{native_id}")) is not None:
            for ended in self._files.keys() - {int(path.name) for path in Path("/proc/self/task").iterdir()}:
                os.close(self._files.pop(ended))
            self._files[native_id] = file
        return file
