"""Ends commands at random moments and looks for what is left: `python tests/soak/kill_anywhere.py`.

Each case has a temporary folder and a mark in its environment of its own, so that what it started is found wherever it
is, and only that is touched. Five seconds after a command's end there must be no process, no port and no file of it;
after a SIGKILL, the files may wait for the next start of taskdemo. Arguments: how many cases (100), the first seed (0).
"""

import contextlib
import fcntl
import os
import pty
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil

TASKDEMO: Final = str(Path(sys.executable).with_name("taskdemo"))
MODES: Final = ("blocking", "async", "threadpool", "background", "background-async", "process", "celery")
MARK: Final = "TASKDEMO_KILLED_ANYWHERE"
ENDS_WITHIN_S: Final = 15.0
"""Whatever ends it but a SIGKILL, a command first writes what it has measured, of thousands of requests maybe."""
GONE_WITHIN_S: Final = 5.0
WORK_S: Final = 0.5
ENDINGS: Final = ("ctrl-c", "ctrl-c twice", "SIGTERM", "SIGHUP", "SIGKILL", "terminal closed")
SIGNALS: Final = {"ctrl-c": 2, "ctrl-c twice": 2, "SIGTERM": 15, "SIGHUP": 1, "SIGKILL": 9, "terminal closed": 1}
REQUESTS: Final = 4


@dataclass
class Case:
    """One command, how it is ended, when, and what came of it."""

    seed: int
    command: list[str]
    ending: str
    after_s: float
    """Seconds from the start to the first signal."""
    pause_s: float
    """Seconds from the first to the second Ctrl-C."""
    code: int = 0
    took_s: float = 0.0
    """Seconds from the last signal to the command's end."""
    saw: int = 0
    """Processes that were there when the signal came."""
    troubles: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        what = f"{' '.join(self.command)}, {self.ending} after {self.after_s:.2f} s"
        how = f"exit {self.code} {self.took_s:.2f} s later, {self.saw} processes"
        return f"seed {self.seed:<4} {what}: {how}{''.join(f'; {trouble}' for trouble in self.troubles)}"


def make_case(seed: int) -> Case:
    """Return the case of this seed: modes and endings by turns, so that a hundred has them all, the rest by chance."""
    chance = random.Random(seed)
    mode = MODES[seed % len(MODES)]
    work = ["--duration", str(WORK_S)]
    others = ",".join(chance.sample(MODES, 3))
    command, span = chance.choice(
        [
            (["serve", "--port", "0", "--mode", mode, *work], 3.0),
            (["serve", "--port", "0", "--mode", mode, "--workers", "2", *work], 4.0),
            (["fire", "--mode", mode, "--count", "6", *work, "--save", "run.json"], 4.0),
            (["fire", "--mode", mode, "--for", "3", "--json", "--html", "run.html"], 4.0),
            (["compare", "--modes", f"{mode},{others}", *work, "--save", "all.json"], 6.0),
            (["compare", "--modes", mode, "--rounds", "2", *work, "--json", "--save", "one.json"], 5.0),
            (["limits", "--modes", mode, "--save", "limits.json"], 8.0),
        ]
    )
    ending = ENDINGS[(seed // 2) % len(ENDINGS)]
    return Case(seed, command, ending, span * chance.random(), 0.6 * chance.random() ** 2)


def run(case: Case) -> Case:
    """Run the command, end it, look around, and note every trouble in the case."""
    place = Path(tempfile.mkdtemp(prefix="tdk"))
    mark = f"{MARK}={place}"
    temporary, folder = place / "t", place / "here"
    for one in (temporary, folder):
        one.mkdir()
    # While Python starts, coverage's a1_coverage.pth imports that, and drops a Ctrl-C (`except: pass`) for good.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_PROCESS_")}
    environment = {**inherited, "TMPDIR": str(temporary), "PYTHONFAULTHANDLER": "1", MARK: str(place)}
    try:
        _run(case, folder, environment, mark)
        left = _files(temporary, folder)
        if left and case.ending == "SIGKILL":
            _start_the_next(environment, folder)
            left = _files(temporary, folder)
        if left:
            case.troubles.append(f"left behind: {', '.join(left[:5])}")
    finally:
        for process in members(mark):
            with contextlib.suppress(psutil.Error):
                process.kill()
        shutil.rmtree(place, ignore_errors=True)
    return case


def _run(case: Case, folder: Path, environment: dict[str, str], mark: str) -> None:
    ours, theirs = pty.openpty()
    on_terminal = case.ending == "terminal closed"

    def take_terminal() -> None:
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    with (folder / ".out").open("wb") as out, (folder / ".err").open("wb") as err:
        process = subprocess.Popen(
            [TASKDEMO, *case.command],
            cwd=folder,
            env=environment,
            stdin=theirs if on_terminal else subprocess.DEVNULL,
            stdout=theirs if on_terminal else out,
            stderr=theirs if on_terminal else err,
            start_new_session=True,
            preexec_fn=take_terminal if on_terminal else None,
        )
    os.close(theirs)
    _read_until(ours, time.monotonic() + case.after_s)
    if case.command[0] == "serve":
        _give_it_tasks(mark)
    family = members(mark)
    case.saw = len(family)
    ports = _ports(family)
    if on_terminal:
        os.close(ours)
    else:
        process.send_signal(SIGNALS[case.ending])
        if case.ending == "ctrl-c twice":
            time.sleep(case.pause_s)
            process.send_signal(signal.SIGINT)
        os.close(ours)
    since = time.monotonic()
    try:
        case.code = process.wait(ENDS_WITHIN_S + (3 * WORK_S * REQUESTS if case.ending in {"ctrl-c", "SIGTERM"} else 0))
    except subprocess.TimeoutExpired:
        for member in members(mark):  # with PYTHONFAULTHANDLER each says where it is
            with contextlib.suppress(psutil.Error):
                member.send_signal(signal.SIGABRT)
        case.code = process.wait()
        case.troubles.append(f"the command does not end: {(folder / '.err').read_text(errors='replace')[-9000:]}")
    case.took_s = time.monotonic() - since
    left = _until_none(lambda: members(mark))
    if left:
        case.troubles.append(f"alive: {[' '.join(one.cmdline())[:80] for one in left if one.is_running()]}")
    held = _until_none(lambda: [port for port in ports if _answers(port)])
    if held:
        case.troubles.append(f"ports held: {held}")
    said = (folder / ".err").read_text(errors="replace")
    # In its first milliseconds Python itself answers a Ctrl-C, before a line of ours can.
    by_python = "taskdemo_cli/app.py" not in said and (case.code == -signal.SIGINT or "init_import_site" in said)
    if ("Traceback" in said or "Exception ignored" in said) and not by_python:
        case.troubles.append(said[-1500:])
    if case.code not in _codes(case):
        case.troubles.append(f"unexpected exit code: {said[-300:]}")


def members(mark: str) -> list[psutil.Process]:
    """Return the living processes of a case: its mark is in their environment, or its folder in their command."""
    place = mark.partition("=")[2]
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            environ, command = (Path(f"/proc/{process.pid}/{name}").read_bytes() for name in ("environ", "cmdline"))
            ours = mark.encode() in environ.split(b"\0") or place.encode() in command
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _ports(family: list[psutil.Process]) -> list[int]:
    ports = set()
    for process in family:
        with contextlib.suppress(psutil.Error):
            ports |= {one.laddr.port for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN}
    return sorted(ports)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _give_it_tasks(mark: str) -> None:
    for port in _ports(members(mark))[:1]:
        for _ in range(REQUESTS):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as one:
                one.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")


def _read_until(terminal: int, deadline: float) -> None:
    """Let time pass; what is written to the terminal meanwhile is read, so that nobody waits for that."""
    os.set_blocking(terminal, False)
    while time.monotonic() < deadline:
        with contextlib.suppress(BlockingIOError, OSError):
            os.read(terminal, 65536)
        time.sleep(0.01)


def _until_none(look: Callable[[], list]) -> list:  # type: ignore[type-arg]  # of processes or of ports
    deadline = time.monotonic() + GONE_WITHIN_S
    while (found := look()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return found


def _files(temporary: Path, folder: Path) -> list[str]:
    # Python tries by a file of its own where temporary files may be: who is killed then leaves that.
    tries = {file for file in temporary.glob("*") if file.is_file() and file.read_bytes() in {b"", b"blat"}}
    left = [str(file.relative_to(temporary)) for file in temporary.rglob("*") if file not in tries]
    left = [name for name in left if name != f"taskdemo-{os.getuid()}"]
    return left + [file.name for file in folder.iterdir() if file.name.endswith(".part")]


def _start_the_next(environment: dict[str, str], folder: Path) -> None:
    """Do what the next command does first, a minute later."""
    for file in folder.iterdir():
        os.utime(file, (time.time() - 100, time.time() - 100))
    code = (
        "from taskdemo_cli.reports import files; from taskdemo_cli.processes import tempdirs; tempdirs.sweep();"
        "files.check(['run.json', 'all.json', 'one.json', 'limits.json'], 'run.html')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=folder)


def _codes(case: Case) -> set[int]:
    number = SIGNALS[case.ending]
    ended_before = {0, 1} if case.command[0] != "serve" else set()
    codes = {128 + number, -number} | ended_before
    if case.command[0] == "serve":
        codes |= {0, 1}  # SIGTERM and a hang-up are obeyed
    return codes


def main() -> int:
    """Run so many cases, two at a time, and return how many were in trouble."""
    count, first = (int(text) for text in (sys.argv[1:] + ["100", "0"][len(sys.argv) - 1 :])[:2])
    troubled = 0
    with ThreadPoolExecutor(2) as pool:
        for case in pool.map(lambda seed: run(make_case(seed)), range(first, first + count)):
            print("ok  " if not case.troubles else "BAD ", case, flush=True)
            troubled += bool(case.troubles)
    print(f"{count} cases, {troubled} in trouble")
    return min(troubled, 1)


if __name__ == "__main__":
    sys.exit(main())
