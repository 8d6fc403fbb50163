"""Starts programs of ours by forking a process that has imported them: a server costs 0.05 s of a core, not 0.6 s.

What is forked is as good as started: its module runs as `__main__`, with arguments, an environment, a folder and
streams of its own; the programs that it starts are forked too. That they start by themselves is shown by the tests
that watch a command's processes, and by those of what may be imported.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import types
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from taskdemo_server.contract.modes import MODES

START: Final = "import sys; exec(compile(open(sys.argv[1]).read(), '<forked>', 'exec'))"
"""Without a file, its frames are nobody's own to whoever looks at a stack."""
PROGRAM = str(Path(sys.executable).with_name("taskdemo"))
PROGRAMS = (
    "taskdemo_cli",
    "taskdemo_cli.loadgen.process",
    "taskdemo_server.serve",
    "taskdemo_server.runtime.fork_server",
    "taskdemo_server.worker",
    "taskdemo_server.engines.postgres",
    "taskdemo_server.engines.valkey",
    "uvicorn",
)
IMPORTED = (
    "taskdemo_cli.app",
    "taskdemo_cli.commands.capacity",
    "taskdemo_cli.commands.compare",
    "taskdemo_cli.commands.fire",
    "taskdemo_cli.commands.scan",
    "taskdemo_cli.loadgen.engine",
    "taskdemo_cli.reports.files",
    "taskdemo_cli.reports.terminal.documents",
    "taskdemo_server.engines.base",
    "taskdemo_server.runtime.supervisor",
    *(package for mode in MODES if mode.engine and not mode.missing for package in mode.engine.packages),
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
    "uvicorn.main",
    "uvicorn.protocols.http.httptools_impl",
    "uvloop",
)


class Forked:
    """A process that was forked for this one: what subprocess.Popen is, as far as it is used here."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        cwd: Any = None,
        env: Any = None,
        text: bool = False,
        encoding: str | None = None,
        start_new_session: bool = False,
    ) -> None:
        self.args = command
        self.returncode: int | None = None
        (ask, job), (told, tell) = os.pipe(), os.pipe()
        self._told = told
        weakref.finalize(self, os.close, told)
        self._lock = threading.Lock()
        theirs = [ask, tell]
        mode: dict[str, Any] = {"encoding": encoding or "utf-8"} if text else {}

        def stream(given: Any, number: int) -> Any:
            """Note the end that is for the process, and return the other, where it is ours."""
            if given == subprocess.PIPE:
                read, write = os.pipe()
                ours, end = (write, read) if number == 0 else (read, write)
                theirs.append(end)
                return os.fdopen(ours, ("w" if number == 0 else "r") + ("" if text else "b"), **mode)
            if given == subprocess.DEVNULL:
                theirs.append(os.open(os.devnull, os.O_RDWR))
            elif given == subprocess.STDOUT:
                theirs.append(os.dup(theirs[-1]))
            else:
                theirs.append(os.dup(number if given is None else given if isinstance(given, int) else given.fileno()))
            return None

        self.stdin, self.stdout, self.stderr = (stream(one, n) for n, one in enumerate((stdin, stdout, stderr)))
        with socket.socket(socket.AF_UNIX) as starter:
            starter.connect(forks_at())
            socket.send_fds(starter, [b"."], theirs)
        for descriptor in theirs:
            os.close(descriptor)
        with os.fdopen(job, "w") as asked:
            folder = os.fspath(cwd or Path.cwd())
            json.dump(
                [[os.fspath(word) for word in command], folder, dict(env or os.environ), start_new_session], asked
            )
        self.pid = int(os.read(told, 16))

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:  # several threads may wait
            if not select.select([self._told], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            with self._lock:
                if self.returncode is None:
                    self.returncode = int(os.read(self._told, 16))
        return self.returncode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def communicate(self, timeout: float | None = None) -> tuple[Any, Any]:
        """Read what it writes until its end."""
        texts: dict[Any, Any] = {}
        pipes = [pipe for pipe in (self.stdout, self.stderr) if pipe is not None and not pipe.closed]
        readers = [
            threading.Thread(target=lambda pipe=pipe: texts.update({pipe: pipe.read()}), daemon=True) for pipe in pipes
        ]
        if self.stdin is not None:
            self.stdin.close()
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(timeout)
        self.wait(0 if any(reader.is_alive() for reader in readers) else timeout)
        for pipe in pipes:
            pipe.close()
        return texts.get(self.stdout), texts.get(self.stderr)


def popen(command: Sequence[str], **options: Any) -> Any:
    """Fork where it is a program of ours, by `python -P -m` or by its name; else start."""
    words = [os.fspath(word) for word in command]
    if words[0] == PROGRAM:
        words = [sys.executable, "-P", "-m", "taskdemo_cli", *words[1:]]
    if words[:3] == [sys.executable, "-P", "-m"] and words[3] in PROGRAMS:
        return Forked(words[3:], **options)
    return subprocess.Popen(command, **options)


def fork_children() -> None:
    """Have this process fork what it would start."""
    from taskdemo_server.contract import child_process

    forks_at()  # now, and not among what is watched later
    forking = {**vars(subprocess), "Popen": popen}
    vars(child_process)["subprocess"] = types.SimpleNamespace(**forking)


@contextlib.contextmanager
def forking() -> Iterator[None]:
    """Have it fork what it would start meanwhile."""
    from taskdemo_server.contract import child_process

    usual = vars(child_process)["subprocess"]
    fork_children()
    try:
        yield
    finally:
        vars(child_process)["subprocess"] = usual


_socket: str | None = None
_starting: Final = threading.Lock()


def forks_at() -> str:
    """Return the address of the process that forks; the first time, start it. It ends with this one."""
    global _socket
    with _starting:
        if _socket is None:
            _socket = str(Path(tempfile.mkdtemp(prefix="forks-"), "sock"))
            # Not with the path of the test that is the first to need it: all others would have it, too.
            environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", START, __file__, _socket],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
            )
            atexit.register(process.communicate)
            assert process.stdout is not None
            process.stdout.readline()
    return _socket


def main(address: str) -> None:
    """Fork whatever is asked for, until standard input ends; tell the process id and, in time, the exit code."""
    global _socket
    for name in IMPORTED:
        importlib.import_module(name)
    _socket = address
    fork_children()
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    tell: dict[int, int] = {}
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        print("ready", flush=True)
        gc.collect()
        gc.freeze()
        waited_for: list[Any] = [0, listener, woken]
        while 0 not in (ready := select.select(waited_for, [], [])[0]):
            if woken in ready:
                os.read(woken, 4096)
                for pid in list(tell):
                    ended, status = os.waitpid(pid, os.WNOHANG)
                    if ended:
                        with contextlib.suppress(BrokenPipeError):
                            os.write(tell[pid], b"%d" % os.waitstatus_to_exitcode(status))
                        os.close(tell.pop(pid))
            if listener in ready:
                with listener.accept()[0] as asking:
                    ask, telling, *streams = socket.recv_fds(asking, 1, 5)[1]
                with os.fdopen(ask) as asked:
                    job = json.load(asked)
                pid = os.fork()
                if pid == 0:
                    listener.close()
                    for descriptor in (woken, wake, *tell.values()):
                        os.close(descriptor)
                    _become(telling, streams, *job)
                    return
                tell[pid] = telling
                for descriptor in streams:
                    os.close(descriptor)
    shutil.rmtree(Path(address).parent)


def _become(
    tell: int, streams: list[int], words: list[str], folder: str, environment: dict[str, str], leads: bool
) -> None:
    """Be the program, in this forked process, as if it had been started."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if leads:
        os.setsid()
    os.write(tell, b"%016d" % os.getpid())  # who hears of it may end its group at once
    os.close(tell)
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    if "PYTHONPATH" in environment:  # where Python looks for this as it starts
        sys.modules.pop("sitecustomize", None)
        with contextlib.suppress(ImportError):
            importlib.import_module("sitecustomize")
    if words[0] != "taskdemo_cli":  # a server starts its broker and its worker by itself, whom tests look for there
        from taskdemo_server.contract import child_process

        vars(child_process)["subprocess"] = subprocess
    sys.argv[1:] = words[1:]
    vars(threading.main_thread())["_native_id"] = threading.get_native_id()  # as of Python 3.13 by itself
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[2])
