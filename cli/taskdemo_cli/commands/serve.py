"""`serve` and `stop`: a server as long as its command, or a detached one that `stop` ends by its record."""

import contextlib
import json
import math
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Final

from taskdemo_cli.errors import FAILED, OK, UserError
from taskdemo_cli.processes import servers
from taskdemo_cli.processes import tempdirs as scratch
from taskdemo_cli.processes.signals import Stopped, Stopping, listen
from taskdemo_cli.reports.output import say
from taskdemo_server.contract.settings import Settings
from taskdemo_server.contract.text import escape, shortened

_INSIST_AFTER_S: Final = 3.0
"""A terminal that was closed tells once and never again: then the server is told to abandon its tasks."""
_KILL_AFTER_S: Final = 3.0
"""A server that was told twice and is still there after this long is killed."""
_POLL_S: Final = 0.05


def serve(settings: Settings) -> int:
    """Serve until a signal, which the server itself answers, and return its exit code.

    The server has a session of its own, so a signal reaches it once, and from here.
    """
    if not servers.port_is_free(settings.host, settings.port):
        _refuse_beside(settings.port)
    heard: queue.SimpleQueue[int] = queue.SimpleQueue()

    def hear(number: int, _frame: FrameType | None) -> None:
        heard.put(number)

    listen(hear)
    with scratch.scratch() as folder:
        settings = placed(settings, folder)
        process = servers.start(settings, folder, stdout=None)
        try:
            code = _attend(process, Path(str(settings.announce)), heard)
        finally:
            servers.end(servers.Server(settings, folder, process))
    if code < 0:
        raise UserError(f"the server was ended by {signal.Signals(-code).name}", FAILED)
    return code


def _attend(process: "subprocess.Popen[bytes]", announced: Path, heard: "queue.SimpleQueue[int]") -> int:
    """Pass on the signals that are heard until the server has ended, and return its exit code.

    Raises Stopped where the server does not listen (yet, or any more) and is to be ended from outside.
    """

    def wait() -> None:
        process.wait()
        heard.put(0)

    threading.Thread(target=wait, name="server", daemon=True).start()
    first, insist_at, kill_at = 0, math.inf, math.inf
    while (code := process.poll()) is None:
        number = 0
        with contextlib.suppress(queue.Empty):
            # With a timeout, because a system may hand a signal to another thread, which does not end the wait.
            number = heard.get(timeout=0.25)
        now = time.monotonic()
        if now >= kill_at:
            raise Stopped(first)
        if now >= insist_at:
            number = first
        if number and not first:
            first = number
            if not announced.exists():
                raise Stopped(first)
            servers.ask_to_stop(process, number)
            if number == getattr(signal, "SIGHUP", None):
                insist_at = now + _INSIST_AFTER_S
        elif number and kill_at == math.inf:
            insist_at, kill_at = math.inf, now + _KILL_AFTER_S
            servers.ask_to_stop(process, number)
    return code


def detach(settings: Settings) -> int:
    """Start a server that stays when this command ends, and say how to reach and how to stop it."""
    record, port = start(settings, Stopping().listen())
    say(f"{settings.mode} server at {record.url} (pid {record.pid}), log in {record.log}")
    say(f"fire at it:  taskdemo fire --count 5 --port {port}")
    say(f"end it:      taskdemo stop --port {port}")
    return OK


def stop(port: int) -> int:
    """End the detached server on `port`, say what it says meanwhile, and return the exit code."""
    stopping = Stopping().listen()
    end(port, stopping)
    say(f"the server on port {port} has ended")
    return stopping.exit_code if stopping.asked else OK


def placed(settings: Settings, folder: Path) -> Settings:
    """Return the settings with the files that a server of ours needs, in `folder`; a journal that was named stays."""
    journal = settings.journal or str(folder / "journal.jsonl")
    return replace(settings, journal=str(Path(journal).absolute()), announce=str(folder / "announce.json"))


@dataclass(frozen=True, slots=True)
class Record:
    """What is remembered of a detached server. The pid counts only together with the time its process was made."""

    pid: int
    born: str
    url: str
    folder: str

    @property
    def log(self) -> Path:
        """The server's console output."""
        return Path(self.folder) / "log"

    def is_alive(self) -> bool:
        """Whether the server still runs; another process that has its pid now does not count."""
        return scratch.alive(self.pid, self.born)


def _file(port: int) -> Path:
    return scratch.root() / f"detached-{port}.json"


def find(port: int) -> Record | None:
    """Return the record of the detached server on `port`, which may have ended; None if there is none to be read."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        record = Record(**json.loads(_file(port).read_text(encoding="utf-8")))
        texts = (record.born, record.url, record.folder)
        if type(record.pid) is int and all(isinstance(text, str) for text in texts):
            return record
    return None


def _refuse_beside(port: int) -> None:
    """Raise UserError where a detached server of ours is on this port."""
    former = find(port)
    if former is not None and former.is_alive():
        raise UserError(
            f"a detached server is at {escape(former.url)} already; taskdemo stop --port {port} ends it, "
            "--port 0 takes a free port"
        )


def _forget(port: int, record: Record) -> None:
    with contextlib.suppress(OSError):
        _file(port).unlink(missing_ok=True)
    folder = Path(record.folder).resolve()
    if folder.parent == scratch.root().resolve():
        scratch.remove(folder)


def start(settings: Settings, stopping: Stopping) -> tuple[Record, int]:
    """Start a server that stays when this command ends, wait until it serves, and record it by its port.

    Until it is recorded it ends with this command, however that ends. Raises UserError where it does not start.
    """
    if settings.port:
        _refuse_beside(settings.port)
        if (former := find(settings.port)) is not None:
            _forget(settings.port, former)
    folder = scratch.make()
    settings = placed(settings, folder)
    with (folder / "log").open("wb") as log:
        process = servers.start(settings, folder, stdout=log)
    server = servers.Server(settings, folder, process)
    try:
        when = scratch.born(process.pid)
        servers.await_ready(server, stopping.check)
        record = Record(process.pid, str(when), server.url, str(folder))
        draft = _file(server.port).with_suffix(f".{process.pid}")
        draft.write_text(json.dumps(asdict(record)), encoding="utf-8")
        draft.replace(_file(server.port))
    except BaseException:
        servers.end(server)
        scratch.remove(folder)
        raise
    scratch.give_away(folder, process.pid)
    servers.let_go(server)
    process.returncode = 0  # it is nobody's child from here on: Popen must not warn that it still runs
    return record, server.port


def end(port: int, stopping: Stopping) -> None:
    """End the detached server on `port`: it finishes its tasks first, unless `stopping` is asked meanwhile.

    What it says is passed on. Raises UserError where there is none.
    """
    record = find(port)
    if record is None:
        raise UserError(_nothing_to_stop(port))
    if not record.is_alive():
        words = _last_words(record)
        _forget(port, record)
        raise UserError(
            f"the detached server on port {port} is gone already, without being told to{words}; "
            f"taskdemo serve --detach --port {port} starts one"
        )
    said = _Said(record.log)
    _signal(record)
    kill_at = math.inf
    while record.is_alive():
        said.pass_on()
        if stopping.asked and kill_at == math.inf:
            kill_at = time.monotonic() + _KILL_AFTER_S
            _signal(record)
        if time.monotonic() >= kill_at:
            _signal(record, kill=True)
        time.sleep(_POLL_S)
    said.pass_on()
    _forget(port, record)


class _Said:
    """What a detached server's log says from now on."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._offset = 0
        with contextlib.suppress(OSError):
            self._offset = log.stat().st_size

    def pass_on(self) -> None:
        """Print what is new."""
        with contextlib.suppress(OSError), self._log.open("rb") as log:
            log.seek(self._offset)
            new = log.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._offset += len(whole)
            for line in whole.decode("utf-8", "replace").splitlines():
                say(escape(line))


def _last_words(record: Record) -> str:
    for name in ("stderr", "log"):
        with contextlib.suppress(OSError):
            lines = (Path(record.folder) / name).read_text(encoding="utf-8", errors="replace").split("\n")
            if words := [line for line in lines if line.strip()]:
                return f" (its last words: {shortened(words[-1].removeprefix('taskdemo: '), 200)})"
    return ""


def _signal(record: Record, *, kill: bool = False) -> None:
    """Ask a detached server to end, or kill it, and never another process that has its pid."""
    try:
        with contextlib.ExitStack() as stack:
            descriptor = -1
            if sys.platform == "linux":
                with contextlib.suppress(OSError):  # not every Linux has it
                    descriptor = os.pidfd_open(record.pid)
                    stack.callback(os.close, descriptor)
            if not record.is_alive():
                return
            if sys.platform == "win32":
                # A Ctrl-Break; anything that is not a key would end it without asking.
                os.kill(record.pid, signal.SIGTERM if kill else signal.CTRL_BREAK_EVENT)
            elif sys.platform == "linux" and descriptor >= 0:
                # The pid may be used again between the look and the signal; what the descriptor stands for is not.
                signal.pidfd_send_signal(descriptor, signal.SIGKILL if kill else signal.SIGTERM)
            else:
                os.kill(record.pid, signal.SIGKILL if kill else signal.SIGTERM)
    except ProcessLookupError:
        pass
    except PermissionError:
        raise UserError(f"the server (pid {record.pid}) belongs to somebody else; only they can end it") from None
    except OSError as error:  # Windows, whose keys reach no further than the console
        raise UserError(
            f"the server (pid {record.pid}) cannot be asked to end from here ({error.strerror}); "
            f"type it where it was started, or end it with: taskkill /f /pid {record.pid}"
        ) from None


def _nothing_to_stop(port: int) -> str:
    with contextlib.suppress(OSError, UserError):
        found = servers.health(f"http://127.0.0.1:{port}")
        if found is not None:
            return f"the server on port {port} was not started with --detach: press Ctrl-C where it runs"
    return f"no detached server on port {port}; taskdemo serve --detach --port {port} starts one"
