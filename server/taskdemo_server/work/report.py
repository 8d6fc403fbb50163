"""Reports a task's events to the server from another machine: the same lines that the journal has, over HTTP."""

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
"""Of the lines that are sent at once, but for the last: a server refuses 4 MiB, and a failed task may have 40 kB."""
_WAIT_S: Final = 1.0
"""For so long at most does a task that has ended wait until the server knows: its process may end with it."""


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
        """Why the server takes no reports now; empty where it does."""

    def write(self, line: bytes) -> None:
        """Take the line of one event, and of an end wait a moment until the server has taken it."""
        if self._process != os.getpid():  # A pool process may be forked from the one that made this.
            self._process = os.getpid()
            self._lines = queue.SimpleQueue()  # what the other has not sent yet, it will
            threading.Thread(target=self._send, name="reporter", daemon=True).start()
        tried = threading.Event()
        self._lines.put((line, tried))
        if b'"state":"started"' not in line and not self._trouble:
            tried.wait(_WAIT_S)

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
                    complain(f"The server {escape(self._url.netloc)} does not take reports ({escape(trouble)}).")
                for _, tried in waiting:
                    tried.set()  # a server that is away holds up no task
                time.sleep(_RETRY_AFTER_S)
            self._trouble = ""
            for _, tried in waiting:
                tried.set()

    def _post(self, body: bytes) -> str:
        """Send lines; return why that failed, which is empty where it did not."""
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._url.netloc, timeout=_TIMEOUT_S)
        # The server translates our clock into its own by what it reads here.
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
        with contextlib.suppress(ValueError, TypeError, KeyError):  # somebody else's answer
            return f"HTTP {response.status} {json.loads(text)['detail']}"
        return f"HTTP {response.status}"
