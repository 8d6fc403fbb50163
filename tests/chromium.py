"""A headless Chromium for tests, spoken to over its DevTools pipe: no driver, no download, nothing but the browser."""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--js-flags=--no-opt",  # no script lasts long enough to be worth it
    "--remote-debugging-pipe",
)
ONTO_3_AND_4 = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4); os.execvp(sys.argv[3], sys.argv[3:])"
)
PATIENCE_S = 60.0
AXE = """axe.run({resultTypes: ['violations']}).then(all => ({
  held: all.passes.length,
  violated: all.violations.map(one => [one.id, one.help, one.nodes.slice(0, 3).map(node => node.html)]),
}))"""
OVERFLOWING = """
[...document.querySelectorAll('body *')].filter(one => {
  if (one.closest('.scroll, pre') || one.closest('svg svg, svg g')) return false
  const box = one.getBoundingClientRect()
  return box.width > 0 && (box.right > innerWidth + 1 || box.left < -1)
}).map(one => one.outerHTML.slice(0, 200))
"""


def found() -> str | None:
    """The browser's path, if there is one."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """The DevTools connection; `complaints` are errors, warnings and exceptions of the page shown last."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands = commands
        self._answers = answers
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self._happened: list[str] = []
        self._own = "file:"
        """Where a page may ask for what belongs to it."""
        self._before = False
        """Whether the page before the one that is loaded is still there, and may still complain."""
        self.complaints: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        while True:
            message = self._next()
            if message.get("id") == self._number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                result: dict[str, Any] = message["result"]
                return result

    def show(self, page: Path | str, width: int, height: int = 900, *, dark: bool = False, calm: bool = False) -> None:
        """Load the page from a file or a server, at this size of the window; `calm` for who wants nothing to move."""
        phone = width < 600
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        motion = {"name": "prefers-reduced-motion", "value": "reduce" if calm else "no-preference"}
        self.call("Emulation.setEmulatedMedia", media="", features=[scheme, motion])
        self._before = True
        self._own = "file:" if isinstance(page, Path) else "/".join(page.split("/", 3)[:3])
        self._load(page.resolve().as_uri() if isinstance(page, Path) else page)

    def evaluate(self, expression: str) -> Any:
        """Return what a JavaScript expression, or the promise of it, comes to."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def violations(self, axe: str) -> list[Any]:
        """Return what axe-core, of which this is the source, finds wrong with the page."""
        self.evaluate(axe)
        found = self.evaluate(AXE)
        assert found["held"] > 15
        violated: list[Any] = found["violated"]
        return violated

    def overflowing(self) -> list[str]:
        """Return the elements that reach beyond the window's sides."""
        found: list[str] = self.evaluate(OVERFLOWING)
        return found

    def pdf(self) -> bytes:
        """Return the page as it is printed."""
        return base64.b64decode(self.call("Page.printToPDF", preferCSSPageSize=True, printBackground=True)["data"])

    def _load(self, url: str) -> None:
        self._happened.clear()
        self.call("Page.navigate", url=url)
        while "Page.loadEventFired" not in self._happened:
            self._next()

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE_S
        while b"\0" not in self._buffer:
            if not select.select([self._answers], [], [], max(end - time.monotonic(), 0))[0]:
                raise TimeoutError("the browser does not answer")
            received = os.read(self._answers, 1 << 20)
            if not received:
                raise RuntimeError("the browser has ended")
            self._buffer += received
        raw, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(raw)
        self._note(message)
        return message

    def _note(self, message: dict[str, Any]) -> None:
        method, happened = message.get("method"), message.get("params", {})
        self._happened.append(str(method))
        if method == "Page.frameNavigated" and self._before and "parentId" not in happened["frame"]:
            self._before = False
            self.complaints.clear()
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(happened["exceptionDetails"]))
        elif method == "Runtime.consoleAPICalled" and happened["type"] in {"error", "warning", "assert"}:
            self.complaints.append(str(happened["args"]))
        elif method == "Log.entryAdded" and happened["entry"]["level"] in {"error", "warning"}:
            self.complaints.append(happened["entry"]["text"])
        elif method == "Network.requestWillBeSent" and not happened["request"]["url"].startswith((self._own, "data:")):
            self.complaints.append(f"asked for {happened['request']['url']}")


@contextlib.contextmanager
def browser(program: str, folder: Path) -> Iterator[Browser]:
    """Start a browser whose files are all in this folder, and end it with everything that it started."""
    (read_commands, write_commands), (read_answers, write_answers) = os.pipe(), os.pipe()
    ours = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (read_commands, write_answers)]
    with contextlib.ExitStack() as stack:
        for end in (write_commands, read_answers):
            stack.callback(os.close, end)
        command = [program, *FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
        with (folder / "stderr").open("wb") as errors:
            process = subprocess.Popen(
                [sys.executable, "-c", ONTO_3_AND_4, *map(str, ours), *command],
                pass_fds=ours,
                stdin=subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
                env={**os.environ, "HOME": str(folder)},
            )
        for end in (read_commands, write_answers, *ours):
            os.close(end)
        try:
            yield Browser(write_commands, read_answers)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(PATIENCE_S)
