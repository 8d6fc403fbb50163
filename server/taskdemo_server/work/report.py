"""Reports a task's events from another machine to the server: the lines of the journal, over HTTP."""

import contextlib
import http.client
import json
import os
import queue
import threading
import time
from typing import Final
from urllib.parse import urlsplit

from taskdemo_server.contract.stderr import complain
from taskdemo_server.contract.text import escape

_TIMEOUT_S: Final = 5.0
_RETRY_AFTER_S: Final = 1.0
_MOST_BYTES: Final = 1 << 20
"""For lines sent together, before the last is added: a server refuses 4 MiB, and a failed task may have 40 kB."""
_END_TIMEOUT_S: Final = 1.0
"""An ended task waits at most this long for the server to know: its process may end right after."""


class Reporter:
    """Sends lines in a thread of its own, in their order, and keeps them until the server has taken them."""

    def __init__(self, server: str, token: str | None) -> None:
        self._url = urlsplit(server)
        self._headers = {"Content-Type": "application/x-ndjson"} | (
            {"Authorization": f"Bearer {token}"} if token else {}
        )
        self._lines: queue.SimpleQueue[tuple[bytes, threading.Event]] = queue.SimpleQueue()
        self._process = 0
        self._trouble = ""
        """Why the server accepts no reports now; empty if it does."""

    def write(self, line: bytes) -> None:
        """Queue the line of one event; if it is an end, wait up to _END_TIMEOUT_S until the server has taken it."""
        if self._process != os.getpid():  # This may be a forked process, which has no thread to send.
            self._process = os.getpid()
            self._lines = queue.SimpleQueue()  # the parent sends what is in the old one
            threading.Thread(target=self._send, name="reporter", daemon=True).start()
        tried = threading.Event()
        self._lines.put((line, tried))
        if b'"state":"started"' not in line and not self._trouble:
            tried.wait(_END_TIMEOUT_S)

    def _send(self) -> None:
        while True:
            waiting = [self._lines.get()]
            body = waiting[0][0]
            while len(body) < _MOST_BYTES and not self._lines.empty():
                waiting.append(self._lines.get())
                body += waiting[-1][0]
            while trouble := self._post(body):
                if trouble != self._trouble:
                    self._trouble = trouble
                    complain(f"The server {escape(self._url.netloc)} does not accept reports ({escape(trouble)}).")
                for _, tried in waiting:
                    tried.set()  # an unreachable server must not delay tasks
                time.sleep(_RETRY_AFTER_S)
            self._trouble = ""
            for _, tried in waiting:
                tried.set()

    def _post(self, body: bytes) -> str:
        """Send lines; return why that failed, or an empty string."""
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._url.netloc, timeout=_TIMEOUT_S)
        # The server uses this to convert our clock into its own.
        headers = self._headers | {"X-Clock": repr(time.monotonic())}
        try:
            connection.request("POST", "/events", body, headers)
            response = connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException, ValueError) as error:
            return str(error) or type(error).__name__
        finally:
            connection.close()
        if response.status == http.client.OK:
            return ""
        with contextlib.suppress(ValueError, TypeError, KeyError):  # not an answer of taskdemo's
            return f"HTTP {response.status} {json.loads(text)['detail']}"
        return f"HTTP {response.status}"
