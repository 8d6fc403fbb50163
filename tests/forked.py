"""Starts programs of ours by forking a process that has imported them: a server costs 0.05 s of a core, not 0.6 s.

What is forked is as good as started: its module runs as `__main__`, with arguments, an environment, a folder and
streams of its own; the programs that it starts are forked too, and so is the worker of an engine that is guarded. That
they start by themselves is shown by the sample of tests/soak/kill_anywhere.py, and by the tests of command lines, of
closed or limited streams and files, and of what may be imported.
"""

import atexit
import contextlib
import fcntl
import gc
import importlib.util
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
import termios
import threading
import types
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from taskdemo_server.contract import child_process
from taskdemo_server.contract.modes import MODES
from taskdemo_server.runtime import guard

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
    *(["celery.apps.worker", "celery.bin.celery"] if importlib.util.find_spec("celery") else []),
    "uvicorn.lifespan.on",
    "uvicorn.loops.uvloop",
    "uvicorn.main",
    "uvicorn.protocols.http.httptools_impl",
    "uvloop",
)


class Forked(subprocess.Popen[Any]):
    """A process that was forked for this one. Only its start and its end are not as subprocess has them."""

    def _execute_child(self, args: Sequence[str], *given: Any) -> None:
        cwd, env, *_ = given[4:]
        pipes, start_new_session = given[9:15], given[20]
        (ask, job), (self._told, tell) = os.pipe(), os.pipe()
        weakref.finalize(self, os.close, self._told)
        streams = [ours if number < 0 else number for ours, number in enumerate((pipes[0], pipes[3], pipes[5]))]
        with socket.socket(socket.AF_UNIX) as starter:
            starter.connect(forks_at())
            socket.send_fds(starter, [b"."], [ask, tell, *streams])
        for descriptor in (ask, tell):
            os.close(descriptor)
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]  # subprocess's own
        with os.fdopen(job, "w") as asked:
            words = [os.fspath(word) for word in args]
            folder, environment = os.fspath(cwd or Path.cwd()), dict(env or os.environ)
            json.dump([os.getpid(), words, folder, environment, start_new_session], asked)
        self.pid = int(os.read(self._told, 16))

    def _wait(self, timeout: float | None) -> int:
        if self.returncode is None:
            if not select.select([self._told], [], [], timeout and max(timeout, 0))[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            with self._waitpid_lock:  # type: ignore[attr-defined]  # as above; several threads may wait
                if self.returncode is None:
                    self.returncode = int(os.read(self._told, 16))
        return self.returncode

    def _internal_poll(self, *_: Any) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._wait(0)
        return self.returncode

    def __del__(self) -> None:
        """It is no child of this process, which nobody must wait for."""


class OfItself(subprocess.Popen[Any]):
    """A child that a process forks of itself, because whatever it is to run has been imported there."""

    def _execute_child(self, args: Sequence[str], *given: Any) -> None:
        begin, pipes = given[1], given[9:15]
        self.pid = os.fork()
        if self.pid == 0:
            for number, descriptor in enumerate((pipes[0], pipes[3], pipes[5])):
                os.dup2(descriptor, number)
            begin()
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # as it is a pipe
            _run(args[3:])
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]  # subprocess's own


def forked_for(pid: int) -> list[int]:
    """Return the living processes that were forked for this one, which are no children of it."""
    return [int(record.name.partition("-")[2]) for record in Path(forks_at()).parent.glob(f"{pid}-*")]


def runs(pid: int) -> str | None:
    """Return the module that a forked process runs, which stands in no list of the system's."""
    return next((str(record.readlink()) for record in _records(pid)), None)


def _records(pid: int) -> Iterator[Path]:
    """Give the link that is there while a forked process lives: for whom it was forked, and what it runs."""
    return Path(forks_at()).parent.glob(f"*-{pid}")


def popen(command: Sequence[str], **options: Any) -> Any:
    """Fork where it is a program of ours, by `python -P -m` or by its name; else start."""
    words = [os.fspath(word) for word in command]
    if words[0] == PROGRAM:
        words = [sys.executable, "-P", "-m", "taskdemo_cli", *words[1:]]
    if words[:3] == [sys.executable, "-P", "-m"] and words[3] in PROGRAMS:
        return Forked(words[3:], **options)
    return subprocess.Popen(command, **options)


@contextlib.contextmanager
def forking() -> Iterator[None]:
    """Have this process fork what it would start meanwhile."""
    forks_at()  # now, and not among what is watched later
    usual = _start_by(child_process, popen)
    try:
        yield
    finally:
        vars(child_process)["subprocess"] = usual


def _start_by(module: Any, popen: Any) -> Any:
    """Have a module start processes so; return what it had as `subprocess`."""
    usual = vars(module)["subprocess"]
    vars(module)["subprocess"] = types.SimpleNamespace(**{**vars(subprocess), "Popen": popen})
    return usual


_socket = os.environ.get("FORKS_AT")
_starting: Final = threading.Lock()


def forks_at() -> str:
    """Return the address of the process that forks; the first time, start it. It ends with this one."""
    global _socket
    with _starting:
        if _socket is None:
            _socket = os.environ["FORKS_AT"] = str(Path(tempfile.mkdtemp(prefix="forks-"), "sock"))
            # Not with the path of the test that is the first to need it: all others would have it, too.
            environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(_socket)
                listener.listen(128)
                process = subprocess.Popen(
                    [sys.executable, "-P", "-c", START, __file__, _socket, str(listener.fileno())],
                    stdin=subprocess.PIPE,
                    pass_fds=[listener.fileno()],
                    env=environment,
                )
            atexit.register(process.communicate)
    return _socket


def main(address: str, listening: int) -> None:
    """Fork whatever is asked for, until standard input ends; tell the process id and, in time, the exit code."""
    global _socket
    for name in IMPORTED:
        importlib.import_module(name)
    if "coverage" in sys.modules:
        # It would start twice in what is forked, four times in what that forks, and so on; and each time it would look
        # through all modules for what the stack is, which takes 0.08 s, for a message of its own developers.
        vars(importlib.import_module("coverage.patch"))["_patch_fork"] = lambda _: None
        vars(importlib.import_module("coverage.collector"))["short_stack"] = lambda: ""
    _socket = address
    _start_by(child_process, popen)
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    tell: dict[int, int] = {}
    with socket.socket(fileno=listening) as listener:
        gc.collect()
        gc.freeze()
        waited_for: list[Any] = [0, listener, woken]
        while 0 not in (ready := select.select(waited_for, [], [])[0]):
            if woken in ready:
                os.read(woken, 4096)
                for pid in list(tell):
                    ended, status = os.waitpid(pid, os.WNOHANG)
                    if ended:
                        for record in _records(pid):
                            record.unlink()
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
    tell: int,
    streams: list[int],
    wanted_by: int,
    words: list[str],
    folder: str,
    environment: dict[str, str],
    leads: bool,
) -> None:
    """Be the program, in this forked process, as if it had been started."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if leads:
        os.setsid()
    Path(forks_at()).with_name(f"{wanted_by}-{os.getpid()}").symlink_to(words[0])
    os.write(tell, b"%016d" % os.getpid())  # who hears of it may end its group at once
    os.close(tell)
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    if leads and os.isatty(0):  # whoever leads a session and has a terminal has it for his own
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    if "PYTHONPATH" in environment:  # where Python looks for this as it starts
        sys.modules.pop("sitecustomize", None)
        with contextlib.suppress(ImportError):
            importlib.import_module("sitecustomize")
    if words[0] == "taskdemo_server.worker":
        _start_by(guard, OfItself)
    if words[0] in {"taskdemo_server.worker", "taskdemo_cli.loadgen.process"} and "coverage" in sys.modules:
        sys.modules["coverage"].Coverage.current().stop()  # it always ends by os._exit, with which that is forgotten
        del os.environ["COVERAGE_PROCESS_CONFIG"]  # nor do the programs that a worker starts end in another way
    _run(words)


def _run(words: Sequence[str]) -> NoReturn:
    """Be this module, with these arguments, in a process that was just forked."""
    sys.argv[1:] = words[1:]
    vars(threading.main_thread())["_native_id"] = threading.get_native_id()  # as of Python 3.13 by itself
    code = None
    try:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    _end(code)


def _end(code: str | int | None) -> NoReturn:
    """End as Python does, but do not take everything apart: that writes to all the memory that was shared so far."""
    threading._shutdown()  # type: ignore[attr-defined]  # these two are the first that Python does then
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError, ValueError):
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        if not isinstance(code, str):
            os._exit(code or 0)
    sys.exit(code)  # which says what was wrong


if __name__ == "__main__":
    main(sys.argv[2], int(sys.argv[3]))
