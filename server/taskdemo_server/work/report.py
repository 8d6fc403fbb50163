"""Reports a task's events to the server from another machine: the same lines that the journal has, over HTTP."""

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
_AT_ONCE: Final = 200


class Reporter:
    """Sends lines in a thread of its own, in their order, and keeps them until the server has taken them."""

    def __init__(self, server: str, token: str | None) -> None:
        self._url = urlsplit(server)
        self._headers = {"Content-Type": "application/x-ndjson"} | (
            {"Authorization": f"Bearer {token}"} if token else {}
        )
        self._lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._process = 0

    def write(self, line: bytes) -> None:
        """Take the line of one event."""
        if self._process != os.getpid():  # A pool process may be forked from the one that made this.
            self._process = os.getpid()
            threading.Thread(target=self._send, name="reporter", daemon=True).start()
        self._lines.put(line)

    def _send(self) -> None:
        said = ""
        while True:
            lines = [self._lines.get()]
            while len(lines) < _AT_ONCE and not self._lines.empty():
                lines.append(self._lines.get())
            while (trouble := self._post(b"".join(lines))) is not None:
                if trouble != said:
                    said = trouble
                    complain(f"The server {escape(self._url.netloc)} does not take reports ({escape(trouble)}).")
                time.sleep(_RETRY_AFTER_S)

    def _post(self, body: bytes) -> str | None:
        """Send lines; return why that failed, None where it did not."""
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._url.netloc, timeout=_TIMEOUT_S)
        # The server translates our clock into its own by what it reads here.
        headers = self._headers | {"X-Clock": repr(time.monotonic())}
        try:
            connection.request("POST", "/events", body, headers)
            response = connection.getresponse()
            text = response.read()
            if response.status == http.client.OK:
                return None
            return f"HTTP {response.status} {json.loads(text).get('detail', '')}"
        except (OSError, http.client.HTTPException, ValueError) as error:
            return str(error) or type(error).__name__
        finally:
            connection.close()
