"""`serve` and `stop`: a server as long as its command, or a detached one that `stop` ends by its record."""

import contextlib
import json
import shutil
import signal
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from taskdemo_cli import scratch, servers
from taskdemo_cli.errors import FAILED, OK, UserError
from taskdemo_cli.stopping import STOP_SIGNALS, Stopping
from taskdemo_server.settings import Settings

if TYPE_CHECKING:
    import psutil


def serve(settings: Settings) -> int:
    """Serve until a signal, which the server itself answers, and return its exit code.

    The server has a session of its own, so a signal reaches it once, and from here.
    """
    with scratch.scratch() as folder:
        process = servers.start(placed(settings, folder), folder, stdout=None)

        def pass_on(number: int, _frame: FrameType | None) -> None:
            servers.ask_to_stop(process, number)

        for number in STOP_SIGNALS:
            signal.signal(number, pass_on)
        try:
            code = process.wait()
        finally:
            servers.end(servers.Server(settings, folder, process))
    if code < 0:
        raise UserError(f"the server was ended by {signal.Signals(-code).name}", FAILED)
    return code


def detach(settings: Settings) -> int:
    """Start a server that stays when this command ends, and say how to reach and how to stop it."""
    stopping = Stopping()
    with stopping.watching():
        record, port = start(settings, scratch.make(), stopping)
    print(f"{settings.mode} server at {record.url} (pid {record.pid}), log in {record.log}")
    print(f"fire at it:  taskdemo fire --count 5 --port {port}")
    print(f"end it:      taskdemo stop --port {port}")
    return OK


def stop(port: int) -> int:
    """End the detached server on `port` and say so."""
    stopping = Stopping()
    with stopping.watching():
        end(port, stopping)
    print(f"the server on port {port} has ended")
    return OK


def placed(settings: Settings, folder: Path) -> Settings:
    """Return the settings with the files that a server of ours needs, in `folder`; a journal that was named stays."""
    journal = settings.journal or str(folder / "journal.jsonl")
    return replace(settings, journal=str(Path(journal).absolute()), announce=str(folder / "announce.json"))


@dataclass(frozen=True, slots=True)
class Record:
    """What is remembered of a detached server. The pid counts only together with the time its process was made."""

    pid: int
    created: float
    url: str
    folder: str

    @property
    def log(self) -> Path:
        """The server's console output."""
        return Path(self.folder) / "log"


def _file(port: int) -> Path:
    return scratch.root() / f"detached-{port}.json"


def find(port: int) -> Record | None:
    """Return the detached server on `port`, None if there is none; the record of a dead one is removed."""
    try:
        record = Record(**json.loads(_file(port).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError):
        _file(port).unlink(missing_ok=True)
        return None
    if scratch.alive(record.pid, record.created):
        return record
    _forget(port, record)
    return None


def _forget(port: int, record: Record) -> None:
    _file(port).unlink(missing_ok=True)
    folder = Path(record.folder)
    if folder.parent == scratch.root():
        shutil.rmtree(folder, ignore_errors=True)


def start(settings: Settings, folder: Path, stopping: Stopping) -> tuple[Record, int]:
    """Start a server that stays when this command ends, wait until it serves, and record it by its port.

    `folder` is a folder of `scratch.make()`; it becomes the server's. Raises UserError where it does not start.
    """
    import psutil

    settings = replace(placed(settings, folder), lifeline=False)
    with (folder / "log").open("wb") as log:
        process = servers.start(settings, folder, stdout=log)
    server = servers.Server(settings, folder, process)
    try:
        scratch.own(folder, process.pid)
        created = psutil.Process(process.pid).create_time()
        servers.await_ready(server, lambda: stopping.asked)
    except BaseException:
        servers.kill(server)
        shutil.rmtree(folder, ignore_errors=True)
        raise
    record = Record(process.pid, created, server.url, str(folder))
    _file(server.port).write_text(json.dumps(asdict(record)), encoding="utf-8")
    process.returncode = 0  # it is nobody's child from here on: Popen must not warn that it still runs
    return record, server.port


def end(port: int, stopping: Stopping) -> None:
    """End the detached server on `port`: it finishes its tasks first, unless `stopping` is asked meanwhile.

    Raises UserError where there is none.
    """
    import psutil

    record = find(port)
    if record is None:
        raise UserError(_nothing_to_stop(port))
    process = psutil.Process(record.pid)
    _signal(process)
    insisted = False
    while True:
        with contextlib.suppress(psutil.TimeoutExpired):
            process.wait(timeout=0.1)
            break
        if stopping.asked and not insisted:
            insisted = True
            _signal(process)
    _forget(port, record)


def _signal(process: "psutil.Process") -> None:
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        if sys.platform == "win32":
            process.send_signal(signal.CTRL_BREAK_EVENT)
        else:
            process.terminate()


def _nothing_to_stop(port: int) -> str:
    with contextlib.suppress(OSError, UserError):
        found = servers.health(f"http://127.0.0.1:{port}")
        if found is not None:
            return f"the server on port {port} was not started with --detach: press Ctrl-C where it runs"
    return f"no detached server on port {port}; taskdemo serve --detach --port {port} starts one"
