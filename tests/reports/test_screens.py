"""The screens while a run goes on, on an emulated terminal: one block, repainted in place; the cursor is given back."""

import contextlib
import io
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pyte
import pytest
from msgspec.structs import replace
from rich.console import Console

from reviewed import assert_reviewed
from samples import (
    HOSTILE,
    T0,
    background_run,
    blocking_run,
    capacity_document,
    event,
    events_of,
    limits_document,
    sample,
    scan_document,
)
from taskdemo_cli.analysis.routes import Route
from taskdemo_cli.loadgen.protocol import Batch, Plan, Sample, Started
from taskdemo_cli.recording.recorder import Recorder
from taskdemo_cli.reports.output import Output
from taskdemo_cli.reports.terminal.capacity import CapacityScreen
from taskdemo_cli.reports.terminal.limits import LimitsScreen
from taskdemo_cli.reports.terminal.live import ComparisonScreen, RunScreen
from taskdemo_cli.reports.terminal.painter import SHOW_CURSOR, Block
from taskdemo_cli.reports.terminal.run_frame import printed_lines
from taskdemo_cli.reports.terminal.scan import ScanScreen
from taskdemo_cli.runner import rig as runner
from taskdemo_cli.runner.target import Health, Target
from taskdemo_server.contract.events import TaskEvent
from taskdemo_server.contract.modes import MODES, Mode


class Scrolling(pyte.Screen):
    """A screen that scrolls up what is erased from its first cell on, as tmux does."""

    scrolled: tuple[str, ...] = ()

    def erase_in_display(self, how: int = 0, *args: Any, **kwargs: Any) -> None:
        if (how, self.cursor.x, self.cursor.y) == (0, 0, 0):
            self.scrolled += tuple(line for line in self.display if line.strip())
        super().erase_in_display(how, *args, **kwargs)


class Terminal(io.StringIO):
    """A terminal that keeps what it was sent and shows it on an emulated screen."""

    def __init__(self, columns: int = 80, lines: int = 30) -> None:
        super().__init__()
        self.screen = Scrolling(columns, lines)
        self.screen.set_mode(pyte.modes.LNM)  # as a terminal's line discipline: a line feed also returns
        self._stream = pyte.Stream(self.screen)
        self.console = Console(
            file=self,
            width=columns,
            height=lines,
            force_terminal=True,
            color_system="truecolor",
            markup=False,
            highlight=False,
            legacy_windows=False,
            _environ={"TERM": "xterm-256color"},
        )

    def write(self, text: str) -> int:
        self._stream.feed(text)
        return super().write(text)

    def resize(self, columns: int, lines: int) -> None:
        self.screen.resize(lines, columns)
        self.console.width, self.console.height = columns, lines

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display]

    @property
    def used(self) -> list[str]:
        return [line for line in self.lines if line]

    @property
    def shown(self) -> str:
        return "\n".join(self.used)


class Story:
    """A run of `count` requests at `background`, told to a recorder up to a moment."""

    def __init__(self, count: int, work: float = 1.0, message: str = "Hello from the background") -> None:
        self.recorder = Recorder(private=True, count=count)
        self.recorder.load(Started(T0))
        self._samples: list[Sample] = [sample(n, 0.01 + n * 0.001, task=f"k{n}") for n in range(1, count + 1)]
        self._events: list[TaskEvent] = []
        for n in range(1, count + 1):
            begun = 0.01 + n * 0.001
            self._events += events_of(f"k{n}", begun, begun, begun + work, message=message)
        self._events.sort(key=lambda event: event.clock)

    def until(self, moment: float) -> float:
        """Tell what happened up to `moment` seconds of the run; return that moment on the clock."""
        told = [one for one in self._samples if (one[4] or 0.0) <= T0 + moment]
        self._samples = self._samples[len(told) :]
        flying = [(one[0], one[2] or T0) for one in self._samples if (one[2] or 0.0) <= T0 + moment]
        sent = len(flying) + len(list(self.recorder._requests.places())) + len(told)
        self.recorder.load(Batch(told, flying, sent))
        while self._events and self._events[0].clock <= T0 + moment:
            self.recorder.event(self._events.pop(0))
        return T0 + moment


def test_a_block_of_many_requests_is_no_higher_than_the_terminal() -> None:
    for lines in (8, 12, 24, 60):
        terminal, story = Terminal(80, lines), Story(500)
        with RunScreen(terminal.console, "500 requests") as screen:
            for moment in (0.05, 0.2, 0.6, 1.2, 2.0):
                screen.update(story.recorder, story.until(moment))
                assert terminal.lines[0].startswith("500 requests")
                assert len(terminal.used) <= min(lines - 1, 30)


def test_a_frame_in_which_little_changed_writes_little() -> None:
    terminal, story = Terminal(120, 40), Story(20)
    with RunScreen(terminal.console, "20 requests") as screen:
        screen.update(story.recorder, story.until(2.8))
        before = len(terminal.getvalue())
        screen.update(story.recorder, story.until(2.801))
        assert len(terminal.getvalue()) - before < 400


@pytest.mark.parametrize("size", [(60, 20), (100, 40), (40, 10)])
def test_a_resized_terminal_still_shows_one_block(size: tuple[int, int]) -> None:
    terminal, story = Terminal(), Story(5)
    with RunScreen(terminal.console, "5 requests") as screen:
        screen.update(story.recorder, story.until(0.5))
        terminal.resize(*size)
        for moment in (0.6, 0.7):
            screen.update(story.recorder, story.until(moment))
        assert sum("5 requests" in line for line in terminal.lines) == 1
        assert sum("request  status" in line for line in terminal.lines) == 1
    assert terminal.screen.scrolled == (), "no frame stays above"


@pytest.mark.parametrize("columns", [1, 20, 39, 50, 79, 80, 120])
def test_nothing_above_the_block_is_touched_at_any_width(columns: int) -> None:
    terminal = Terminal(columns, 40)
    above = ["$", "~"]
    for line in above:
        terminal.write(f"{line}\r\n")
    modes = [mode.name for mode in MODES[:6]]
    title = "5 requests, all at once in each mode, work: sleep of 1 s"
    with ComparisonScreen(terminal.console, title, modes) as screen:
        for run in (blocking_run(), background_run()):
            screen.start(str(run.mode))
            screen.done(run)
            assert terminal.lines[: len(above)] == above
    assert terminal.used == above


def test_what_is_waited_for_is_shown_as_it_is_called() -> None:
    terminal = Terminal()
    output = Output(as_json=False)
    output.console = terminal.console
    with output.waiting("starting src/[draft]/a[/b]/main.py\x1b]0;title"):
        pass
    assert "starting src/[draft]/a[/b]/main.py\\x1b]0;title" in terminal.getvalue()
    assert terminal.used == []


@pytest.mark.skipif(os.name != "posix", reason="stops and goes on as on POSIX")
def test_a_screen_that_is_stopped_leaves_the_cursor_and_goes_on_below_what_came_meanwhile() -> None:
    program = (
        "import os, signal, sys\n"
        "from rich.console import Console\n"
        "from rich.text import Text\n"
        "from taskdemo_cli.reports.terminal.painter import Block\n"
        "with Block(Console(force_terminal=True, width=80, height=20)) as block:\n"
        "    block.paint([Text('before')])\n"
        "    sys.stdin.readline()\n"
        "    block.paint([Text('after')])\n"
        "    sys.stdin.readline()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    said = b""
    while b"before" not in said:
        said += os.read(process.stdout.fileno(), 4096)
    process.send_signal(signal.SIGTSTP)
    said = b""
    while SHOW_CURSOR.encode() not in said:
        said += os.read(process.stdout.fileno(), 4096)
    process.send_signal(signal.SIGCONT)  # where there is no shell to go on, it has not even stopped
    process.stdin.write(b"go on\n")
    process.stdin.flush()
    while b"after" not in said:
        said += os.read(process.stdout.fileno(), 4096)
    assert b"\x1b[1A" not in said  # it does not climb back into what the shell wrote
    process.send_signal(signal.SIGQUIT)
    with process.stdout:
        assert SHOW_CURSOR.encode() in process.stdout.read()
    process.stdin.close()
    assert process.wait(60) == -signal.SIGQUIT


def test_what_is_typed_does_not_move_the_block_and_is_seen_again_afterwards() -> None:
    program = (
        "import fcntl, sys, termios\n"
        "from rich.console import Console\n"
        "from rich.text import Text\n"
        "from taskdemo_cli.reports.terminal.painter import Block\n"
        "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "with Block(Console(force_terminal=True, width=80, height=20)) as block:\n"
        "    block.paint([Text('block')])\n"
        "    sys.stdin.readline()\n"
        "print('ended', flush=True)\n"
        "sys.stdin.readline()\n"
    )
    ours, theirs = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", program], stdin=theirs, stdout=theirs, start_new_session=True):
        said = ""
        for shown, typed in (("block", b"typed\n"), ("ended", b"later\n")):
            while shown not in said:
                said += os.read(ours, 4096).decode()
            os.write(ours, typed)
        while "later" not in said:
            said += os.read(ours, 4096).decode()
    assert "typed" not in said
    for end in (ours, theirs):
        os.close(end)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, None])
def test_the_cursor_comes_back_however_the_run_ends(error: type[BaseException] | None) -> None:
    terminal, story = Terminal(), Story(5)
    try:
        with RunScreen(terminal.console, "5 requests") as screen:
            screen.update(story.recorder, story.until(0.5))
            assert terminal.screen.cursor.hidden
            if error is not None:
                raise error
    except (KeyboardInterrupt, RuntimeError):
        assert terminal.lines[0].startswith("5 requests"), "what was seen stays"
    assert not terminal.screen.cursor.hidden
    assert terminal.screen.cursor.x == 0
    assert terminal.screen.cursor.y == len(terminal.used)
    assert terminal.getvalue().count(SHOW_CURSOR) == 1


def test_a_block_grows_and_shrinks_without_leaving_anything_behind() -> None:
    from taskdemo_cli.reports.terminal.style import row

    terminal = Terminal(40, 10)
    with Block(terminal.console) as block:
        for count in (3, 7, 2, 5, 1):
            block.paint([row(f"line {n} of {count}") for n in range(count)])
            assert terminal.used == [f"line {n} of {count}" for n in range(count)]
        block.paint([row(f"line {n}") for n in range(50)])
        assert terminal.used == [f"line {n}" for n in range(9)]
    assert terminal.used == []


def held_loop() -> Recorder:
    """Three callers of `blocking`, 2.4 s on: two were answered, and no event came since the loop is blocked."""
    held = Recorder(private=True, count=3, waits=True)
    held.load(Started(T0))
    held.bystander(Started(T0))
    held.event(event("b1", "accepted", 0.001, mode="blocking"))
    told = [sample(1, 1.0, task="b1"), sample(2, 2.0, task="b2")]
    held.load(Batch(told, [(3, T0 + 0.001)], 3))
    held.bystander(Batch([sample(1, 0.002)], [(2, T0 + 0.1)], 2, T0 + 2.4))
    return held


def failing() -> Recorder:
    recorder = Recorder(private=True, count=1)
    recorder.load(Started(T0))
    recorder.load(Batch([sample(1, 0.004, task="f")], [], 1))
    for told in (event("f", "accepted", 0.002), event("f", "started", 0.003), event("f", "failed", 0.5, error="no")):
        recorder.event(told)
    return recorder


def foreign() -> Recorder:
    recorder = Recorder(private=False, count=2, follows=False)
    recorder.load(Started(T0))
    recorder.load(Batch([sample(1, 0.25)], [(2, T0)], 2, T0 + 0.5))
    return recorder


def frame(source: Recorder, now: float, lines: int = 30, title: str = "Some requests") -> str:
    """What the terminal shows of a run at this moment, which steers it by nothing from outside."""
    terminal = Terminal(80, lines)
    with RunScreen(terminal.console, title) as screen:
        screen.update(source, now)
        assert not any(evil in terminal.getvalue() for evil in ("\x1b]", "\u202e"))
        return terminal.shown


def of_a_run() -> dict[str, str]:
    three, many, one, evil = Story(3), Story(1234), Story(1, work=3.0), Story(2, message=HOSTILE)
    one.recorder.bystander(Batch([], [(1, T0 + 0.5)], 1, T0 + 2.0))
    heard, begun = held_loop(), held_loop()
    heard.bystander(Batch([], [(2, T0 + 0.1)], 2, T0 + 0.103))
    begun.event(event("b2", "started", 1.0, mode="blocking"))
    return {
        "its tasks are running": frame(three.recorder, three.until(0.5)),
        "its tasks have ended": frame(three.recorder, three.until(2.0)),
        "its texts come from outside": frame(evil.recorder, evil.until(2.0), title=HOSTILE),
        "more requests than rows": frame(many.recorder, many.until(1.05), 24),
        "a task that failed": frame(failing(), T0 + 1),
        "nobody is answered, and an answer is the end of its task": frame(held_loop(), T0 + 2.4),
        "nobody is answered, and yet there was news": frame(begun, T0 + 2.4),
        "a server of others tells of no tasks": frame(foreign(), T0 + 0.5),
        "a ping waits no longer than was heard of it": frame(heard, T0 + 0.2),
        "a task is drawn only as far as there was news": frame(one.recorder, one.until(2.0)),
    }


def of_a_comparison() -> dict[str, str]:
    terminal, told = Terminal(80, 24), {}
    with ComparisonScreen(terminal.console, "3 requests in each mode", [mode.name for mode in MODES[:7]]) as screen:
        screen.skip("celery", f"not installed {HOSTILE}")
        told["all servers start"] = terminal.shown
        screen.start("blocking", "round 1 of 2")
        screen.update(held_loop(), T0 + 2.4)
        told["a comparison that begins"] = terminal.shown
        screen.done(blocking_run())
        screen.start("background", "round 1 of 2")
        told["between two modes the picture stays"] = terminal.shown
        story = Story(5)
        screen.update(story.recorder, story.until(0.0))
        told["no bar yet, and yet a line each"] = terminal.shown
        screen.update(story.recorder, story.until(0.5))
        told["the second mode"] = terminal.shown
        screen.done(background_run())
        told["two modes are through"] = terminal.shown
        assert "\x1b]" not in terminal.getvalue()
    assert terminal.used == []
    return told


def of_limits() -> dict[str, str]:
    terminal, told, cells = Terminal(), {}, limits_document().modes["celery"]
    with LimitsScreen(terminal.console, "Limits", ["background", "celery"], list(cells)) as screen:
        screen.start("celery", "retry")
        told["an experiment"] = terminal.shown
        screen.done("celery", "retry", cells["retry"])
        screen.skip("background", "left out")
        told["a limit is known, and a mode left out"] = terminal.shown
    assert terminal.used == []
    return told


def of_a_capacity() -> dict[str, str]:
    terminal, told, found = Terminal(), {}, capacity_document().modes["background"]
    with CapacityScreen(terminal.console, "How much", ["background", "async"]) as screen:
        screen.start("background", "41.2/s")
        screen.update([(0.125 * n, float(n)) for n in range(17)], 0.5)
        told["the backlog grows"] = terminal.shown
        screen.measured(found.steps[2])
        told["a step is through"] = terminal.shown
        screen.measured(found.steps[1])
        told["a mode gave in at a step"] = terminal.shown
        screen.done("background", found)
        screen.skip("async", "left out")
        told["a search is through"] = terminal.shown
    assert terminal.used == []
    return told


ROUTES = [Route(one.method, one.path, one.target or "", (), one.skipped) for one in scan_document().endpoints]


def of_a_scan() -> dict[str, str]:
    terminal, told, (quiet, slow, *rest) = Terminal(lines=12), {}, scan_document().endpoints
    with ScanScreen(terminal.console, "main:app: 5 endpoints", ROUTES) as screen:
        screen.start(ROUTES[1])
        for moment in (T0, T0 + 0.5):
            screen.update(Story(20).recorder, moment)
        told["an endpoint is asked"] = terminal.shown
        for one in (quiet, slow, *rest):
            screen.done(one)
        told["the endpoints of an application"] = terminal.shown
    assert terminal.used == []
    return told


def of_pipes() -> dict[str, str]:
    """What they all are where there is no terminal: plain lines, of which none is cut."""
    told: dict[str, str] = {}

    @contextlib.contextmanager
    def into(name: str) -> Iterator[Console]:
        file = io.StringIO()
        yield Console(file=file, width=100, markup=False, emoji=False, highlight=False)
        told[f"into a pipe: {name}"] = file.getvalue().rstrip("\n")

    story, cells, found = Story(3), limits_document().modes["celery"], capacity_document().modes["background"]
    with into("a run") as console, RunScreen(console, "3 requests") as screen:
        for moment in (0.011, 0.012, 0.5, 2.0, 2.1):
            screen.update(story.recorder, story.until(moment))
    story = Story(200)
    with into("a run of many requests") as console, RunScreen(console, "200 requests") as screen:
        for tenth in range(1, 36):
            screen.update(story.recorder, story.until(tenth / 10))
    with into("a comparison") as console, ComparisonScreen(console, "5 requests", ["blocking"]) as comparing:
        comparing.start("blocking", "round 2 of 3")
        comparing.update(Story(1).recorder, T0)
        comparing.done(blocking_run())
        comparing.skip(
            "celery", f"--work reports:nothing: there is no nothing in reports; {', '.join(['it has build'] * 9)}"
        )
        comparing.skip("process", HOSTILE)
    with into("limits") as console, LimitsScreen(console, "Limits", ["celery"], list(cells)) as experiments:
        experiments.start("celery", "retry")
        experiments.done("celery", "retry", cells["retry"])
        experiments.skip("background", "left out")
    with into("a capacity") as console, CapacityScreen(console, "How much", ["background"]) as searching:
        searching.start("background", "38/s")
        searching.update([], 0.5)
        searching.measured(found.steps[0])
        searching.done("background", found)
        searching.skip("async", "left out")
    with into("a scan") as console, ScanScreen(console, "main:app", ROUTES) as scanning:
        scanning.start(ROUTES[0])
        for one in scan_document().endpoints:
            scanning.done(one)
    return told


def test_what_every_screen_shows_is_what_was_reviewed() -> None:
    told = of_a_run() | of_a_comparison() | of_limits() | of_a_capacity() | of_a_scan() | of_pipes()
    assert_reviewed(__file__, told)
    assert all(text.replace("\n", "").isprintable() for text in told.values())


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: str(mode.name))
def test_an_answer_ends_a_task_in_the_modes_that_answer_after_the_work_and_in_no_other(mode: Mode) -> None:
    nothing: Any = None
    target = Target("http://127.0.0.1:1", health=Health(server="taskdemo", journal_offset=0, clock=0.0, mode=mode.name))
    run = runner._Run(nothing, target, Plan(url=target.url, count=1), nothing)
    run.recorder.load(Started(T0))
    run.recorder.load(Batch([sample(1, 0.5, task="t")], [], 1))
    assert run.recorder.live(T0 + 1, 1).ended == (0 if mode.answers_first else 1)


def test_of_a_long_output_the_first_and_the_last_lines_are_shown() -> None:
    (task, *_) = background_run(1).tasks
    lines = [f"line {number}" for number in range(20)]
    shown = printed_lines(replace(task, output="\n".join(lines)))
    assert shown == [*lines[:5], "...", *lines[-5:]]
    assert printed_lines(replace(task, output="\n".join(lines[:10]))) == lines[:10]
