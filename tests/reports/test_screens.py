"""The screens while a run goes on, on an emulated terminal: one block, repainted in place; the cursor is given back."""

import io
import os
import signal
import subprocess
import sys
from typing import Any

import pyte
import pytest
from msgspec.structs import replace
from rich.console import Console

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
from taskdemo_cli.reports.terminal.capacity import CapacityScreen, capacity_screen
from taskdemo_cli.reports.terminal.cursor import SHOW_CURSOR
from taskdemo_cli.reports.terminal.limits import LimitsScreen, PlainLimits, limits_screen
from taskdemo_cli.reports.terminal.live import PlainRun, comparison_screen, run_screen
from taskdemo_cli.reports.terminal.painter import Block
from taskdemo_cli.reports.terminal.run_frame import horizon_of
from taskdemo_cli.reports.terminal.scan import scan_screen
from taskdemo_cli.runner import rig as runner
from taskdemo_cli.runner.target import Health, Target
from taskdemo_server.contract.events import TaskEvent
from taskdemo_server.contract.modes import MODES, Mode


class Terminal(io.StringIO):
    """A terminal that keeps what it was sent and shows it on an emulated screen."""

    def __init__(self, columns: int = 80, lines: int = 30) -> None:
        super().__init__()
        self.screen = pyte.Screen(columns, lines)
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


def plain_console(width: int = 100) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, width=width, markup=False, emoji=False, highlight=False), file


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
        sent = len(flying) + self.recorder._requests.reported + len(told)
        self.recorder.load(Batch(told, flying, sent))
        while self._events and self._events[0].clock <= T0 + moment:
            self.recorder.event(self._events.pop(0))
        return T0 + moment


def test_a_run_is_one_block_that_stays_in_its_place() -> None:
    terminal, story = Terminal(), Story(5)
    terminal.write("$ taskdemo fire\n")
    with run_screen(terminal.console, "5 requests at background", count=None) as screen:
        heights = set()
        for moment in (0.001, 0.012, 0.02, 0.3, 0.9, 1.0):
            screen.update(story.recorder, story.until(moment))
            assert terminal.lines[0] == "$ taskdemo fire"
            assert terminal.lines[1].startswith("5 requests at background")
            assert sum("5 requests at background" in line for line in terminal.lines) == 1
            heights.add(len(terminal.used))
        assert len(heights) == 1
    assert terminal.used == ["$ taskdemo fire"]


def test_each_request_has_a_row_with_its_times_and_its_task() -> None:
    terminal, story = Terminal(), Story(3)
    with run_screen(terminal.console, "3 requests", count=None) as screen:
        screen.update(story.recorder, story.until(0.5))
        (row,) = [line for line in terminal.lines if line.startswith("      2")]
        assert row.split()[:5] == ["2", "200", "12", "ms", "running"]
        assert "3 of 3 answered, 0 tasks ended" in terminal.lines[1]
        screen.update(story.recorder, story.until(2.0))
        (row,) = [line for line in terminal.lines if line.startswith("      2")]
        assert row.split()[:7] == ["2", "200", "12", "ms", "finished", "1.01", "s"]
        assert "3 tasks ended" in terminal.lines[1]
        assert any("request 3: finished, Hello from the background" in line for line in terminal.lines)


def test_more_requests_than_rows_show_the_interesting_ones_within_the_terminal() -> None:
    for lines in (8, 12, 24, 60):
        terminal, story = Terminal(80, lines), Story(500)
        with run_screen(terminal.console, "500 requests", count=None) as screen:
            for moment in (0.05, 0.2, 0.6, 1.2, 2.0):
                screen.update(story.recorder, story.until(moment))
                assert terminal.lines[0].startswith("500 requests")
                assert len(terminal.used) <= min(lines - 1, 30)
            if lines > 12:
                assert any(line.startswith("slowest") for line in terminal.lines)
                assert any(line.startswith("newest") for line in terminal.lines)


def test_a_frame_in_which_little_changed_writes_little() -> None:
    terminal, story = Terminal(120, 40), Story(20)
    with run_screen(terminal.console, "20 requests", count=None) as screen:
        screen.update(story.recorder, story.until(2.8))
        before = len(terminal.getvalue())
        screen.update(story.recorder, story.until(2.801))
        assert len(terminal.getvalue()) - before < 400


@pytest.mark.parametrize("size", [(60, 20), (100, 40), (40, 10)])
def test_a_resized_terminal_still_shows_one_block(size: tuple[int, int]) -> None:
    terminal, story = Terminal(), Story(5)
    with run_screen(terminal.console, "5 requests", count=None) as screen:
        screen.update(story.recorder, story.until(0.5))
        terminal.resize(*size)
        for moment in (0.6, 0.7):
            screen.update(story.recorder, story.until(moment))
        assert sum("5 requests" in line for line in terminal.lines) == 1
        assert sum("request  status" in line for line in terminal.lines) == 1


@pytest.mark.parametrize("columns", [1, 20, 39, 50, 79, 80, 120])
def test_nothing_above_the_block_is_touched_at_any_width(columns: int) -> None:
    terminal = Terminal(columns, 40)
    above = ["$", "~"]
    for line in above:
        terminal.write(f"{line}\r\n")
    modes = [mode.name for mode in MODES[:6]]
    title = "5 requests, all at once in each mode, work: sleep of 1 s"
    with comparison_screen(terminal.console, title, modes) as screen:
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


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, None])
def test_the_cursor_comes_back_however_the_run_ends(error: type[BaseException] | None) -> None:
    terminal, story = Terminal(), Story(5)
    try:
        with run_screen(terminal.console, "5 requests", count=None) as screen:
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


def test_hostile_messages_do_not_reach_the_terminal() -> None:
    terminal, story = Terminal(100), Story(2, message=HOSTILE)
    with run_screen(terminal.console, HOSTILE, count=None) as screen:
        screen.update(story.recorder, story.until(2.0))
        assert "\x1b]" not in terminal.getvalue()
        assert "\u202e" not in terminal.getvalue()
        assert terminal.screen.title == ""
        assert any("[bold]rich[/bold]" in line for line in terminal.lines)


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


def test_a_run_into_a_pipe_is_a_line_for_each_answer_and_each_end() -> None:
    console, file = plain_console()
    story = Story(3)
    with run_screen(console, "3 requests", count=3) as screen:
        assert isinstance(screen, PlainRun)
        for moment in (0.011, 0.012, 0.5, 2.0, 2.1):
            screen.update(story.recorder, story.until(moment))
    text = file.getvalue()
    assert "\x1b" not in text
    assert text.count("\n") == 1 + 3 + 3
    assert "request 2: 200 after" in text
    assert "request 2: finished, Hello from the background" in text


def test_a_large_run_into_a_pipe_is_a_line_a_second() -> None:
    console, file = plain_console()
    story = Story(200)
    with run_screen(console, "200 requests", count=200) as screen:
        for tenth in range(1, 36):
            screen.update(story.recorder, story.until(tenth / 10))
    lines = file.getvalue().splitlines()
    assert len(lines) == 4
    assert "200 of 200 answered" in lines[-1]


def test_a_comparison_fills_in_a_row_a_mode() -> None:
    terminal = Terminal()

    def row(mode: str) -> str:
        return next(line for line in terminal.used if line.startswith(mode))

    with comparison_screen(terminal.console, "5 requests in each mode", ["blocking", "background", "celery"]) as screen:
        screen.skip("celery", f"not installed {HOSTILE}")
        assert row("blocking").split()[1:] == ["waiting"]
        for run, moment in ((blocking_run(), 0.011), (background_run(), 0.5)):
            screen.start(str(run.mode), "round 1 of 2")
            story = Story(5)
            screen.update(story.recorder, story.until(moment))
            assert f"{1 if moment < 0.1 else 5} of 5 answered" in row(str(run.mode))
            assert "round 1 of 2" in terminal.lines[0]
            assert sum("request " in line for line in terminal.used) == 5
            screen.done(run)
        assert "5.0" in row("blocking")
        assert "1.00 s" in row("background")
        assert "skipped: not installed" in row("celery")
        assert "\x1b]" not in terminal.getvalue()
    assert terminal.used == []


def test_a_comparison_into_a_pipe_is_plain_lines_of_which_none_is_cut() -> None:
    console, file = plain_console(60)
    why = f"--work reports:nothing: there is no nothing in reports; {'reports.py has build, ' * 6}"
    with comparison_screen(console, "5 requests in each mode", ["blocking"]) as screen:
        screen.start("blocking", "round 2 of 3")
        screen.update(Story(1).recorder, T0)
        screen.done(blocking_run())
        screen.skip("celery", why)
        screen.skip("process", HOSTILE)
    *lines, hostile = file.getvalue().splitlines()
    assert lines == [
        "5 requests in each mode",
        "  blocking (round 2 of 3) ...",
        "  blocking: response p50 3.01 s, max 5.01 s",
        f"  celery skipped: {why}",
    ]
    assert hostile.isprintable()


def test_the_limits_fill_in_while_the_experiments_run() -> None:
    terminal, cells = Terminal(), limits_document().modes["celery"]
    with limits_screen(terminal.console, "Limits", ["background", "celery"], list(cells)) as screen:
        assert isinstance(screen, LimitsScreen)
        screen.start("celery", "retry", "work that fails twice")
        assert any("celery, retry: work that fails twice" in line for line in terminal.lines)
        screen.done("celery", "retry", cells["retry"])
        assert any(line.startswith("retry") and "✓" in line for line in terminal.lines)
        screen.skip("background", "left out")
        assert not any("background" in line for line in terminal.lines)
    assert terminal.used == []


def test_the_limits_into_a_pipe_are_plain_lines() -> None:
    console, file = plain_console()
    cells = limits_document().modes["celery"]
    with limits_screen(console, "Limits", ["celery"], list(cells)) as screen:
        assert isinstance(screen, PlainLimits)
        screen.start("celery", "retry", "work that fails twice")
        screen.done("celery", "retry", cells["retry"])
        screen.skip("background", "left out")
    assert file.getvalue().splitlines() == ["Limits", "  celery, retry: yes 2", "  background skipped: left out"]


def test_the_search_for_a_limit_shows_its_steps_and_how_the_backlog_grows() -> None:
    terminal, found = Terminal(), capacity_document().modes["background"]
    with capacity_screen(terminal.console, "How much", ["background", "async"]) as screen:
        assert isinstance(screen, CapacityScreen)
        screen.start("background", "41.2/s")
        screen.update([(0.125 * n, float(n)) for n in range(17)], 0.5)
        assert any("background: 41.2/s, step 1 (mode 1 of 2)" in line for line in terminal.lines)
        assert any(line.startswith("backlog") and "▁" in line and line.endswith("█ 16") for line in terminal.lines)
        screen.measured(found.steps[2])
        assert any("41.2/s ✗ gave in, threads" in line for line in terminal.lines)
        screen.done("background", found)
        screen.skip("async", "left out")
        assert any(line.startswith("background") and "38/s" in line for line in terminal.lines)
        assert not any("async" in line for line in terminal.lines)
    assert terminal.used == []


def test_the_search_for_a_limit_into_a_pipe_is_a_line_a_step() -> None:
    console, file = plain_console()
    found = capacity_document().modes["background"]
    with capacity_screen(console, "How much", ["background"]) as screen:
        screen.start("background", "38/s")
        screen.update([], 0.5)
        screen.measured(found.steps[0])
        screen.done("background", found)
        screen.skip("async", "left out")
    assert file.getvalue().splitlines() == [
        "How much",
        "  background 38/s: sustained, response p50 1.9 ms, backlog 4, growing by 0/s",
        "  background: 38/s, threads",
        "  async skipped: left out",
    ]


ROUTES = [Route(one.method, one.path, one.target or "", (), one.skipped) for one in scan_document().endpoints]


def test_the_endpoints_fill_in_while_a_scan_goes_on() -> None:
    terminal, rows = Terminal(), scan_document().endpoints
    with scan_screen(terminal.console, "main:app: 3 endpoints", ROUTES) as screen:
        screen.start(ROUTES[1])
        screen.update(Story(20).recorder, T0 + 0.5)
        assert any(line.startswith("→ GET /slow") and "of 20 answered" in line for line in terminal.lines)
        for one in rows:
            screen.done(one)
        assert terminal.lines[1] == "3 of 3 endpoints"
        slow = next(line for line in terminal.lines if line.startswith("✗ GET /slow"))
        assert slow.split()[3:8] == ["3", "4.5", "ms", "400", "ms"]
        assert "at main.py:7 in" in slow
        assert not any("POST" in line for line in terminal.lines)
    assert terminal.used == []


def test_of_more_endpoints_than_fit_those_that_block_stay_on_the_screen() -> None:
    terminal, (quiet, slow, *_) = Terminal(lines=12), scan_document().endpoints
    with scan_screen(terminal.console, "main:app", [Route("GET", f"/r{n}", f"/r{n}") for n in range(60)]) as screen:
        screen.done(slow)
        for n in range(60):
            screen.done(replace(quiet, path=f"/r{n}"))
        assert any(line.startswith("✗ GET /slow") for line in terminal.lines)
        assert any(line.startswith("✓ GET /r59") for line in terminal.lines)
        assert len(terminal.used) <= 12


def test_a_scan_into_a_pipe_is_a_line_for_each_endpoint_that_was_called() -> None:
    console, file = plain_console()
    with scan_screen(console, "main:app", ROUTES) as screen:
        screen.start(ROUTES[0])
        for one in scan_document().endpoints:
            screen.done(one)
    assert file.getvalue().splitlines() == [
        "main:app",
        "  GET /: quiet, others waited 3 ms at most",
        "  GET /slow: holds up everybody, others waited 400 ms at most",
        "  GET /orders/{order_id}: does not block, but see the end, others waited 3 ms at most",
    ]


def test_a_task_that_fails_is_told_with_its_error() -> None:
    recorder = Recorder(private=True, count=1)
    recorder.load(Started(T0))
    recorder.load(Batch([sample(1, 0.004, task="f")], [], 1))
    recorder.event(event("f", "accepted", 0.002))
    recorder.event(event("f", "started", 0.003))
    recorder.event(event("f", "failed", 0.5, error="ValueError: no such report"))
    terminal = Terminal()
    with run_screen(terminal.console, "1 request", count=None) as screen:
        screen.update(recorder, T0 + 1)
        assert any("request 1: failed, ValueError: no such report" in line for line in terminal.lines)


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


def test_where_callers_wait_an_answer_is_the_end_of_its_task_though_no_event_has_come() -> None:
    terminal = Terminal()
    with run_screen(terminal.console, "3 requests at blocking", count=None) as screen:
        screen.update(held_loop(), T0 + 2.4)
        shown = "\n".join(terminal.lines)
        assert "2 of 3 answered, 2 tasks ended" in shown
        assert "queued" not in shown.replace("·· queued", "")
        for n in "12":
            (row,) = [line for line in terminal.lines if line.startswith(f"      {n}")]
            assert "finished" in row
            assert row.rstrip().endswith("●")
        (row,) = [line for line in terminal.lines if line.startswith("      3")]
        assert row.split()[2:4] == ["s", "waiting"]


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: str(mode.name))
def test_an_answer_ends_a_task_in_the_modes_that_answer_after_the_work_and_in_no_other(mode: Mode) -> None:
    nothing: Any = None
    target = Target("http://127.0.0.1:1", health=Health(server="taskdemo", journal_offset=0, clock=0.0, mode=mode.name))
    run = runner._Run(nothing, target, Plan(url=target.url, count=1), nothing)
    run.recorder.load(Started(T0))
    run.recorder.load(Batch([sample(1, 0.5, task="t")], [], 1))
    assert run.recorder.live(T0 + 1, 1).ended == (0 if mode.answers_first else 1)


def test_while_the_server_answers_nobody_nothing_is_claimed_of_what_runs() -> None:
    terminal = Terminal()
    silent, story = held_loop(), Story(1)
    with run_screen(terminal.console, "3 requests", count=None) as screen:
        screen.update(silent, T0 + 2.4)
        (summary,) = [line for line in terminal.lines if line.startswith("p50")]
        assert "no news for  2.30 s" in summary  # the bystander waits since then
        silent.event(event("b2", "started", 1.0, mode="blocking"))
        screen.update(silent, T0 + 2.4)
        (summary,) = [line for line in terminal.lines if line.startswith("p50")]
        assert "no news for  1.40 s" in summary  # and yet there was news
        assert "running" not in summary
        assert "queued" not in summary
        screen.update(story.recorder, story.until(0.5))
        (summary,) = [line for line in terminal.lines if line.startswith("p50")]
        assert "running  1  queued  0" in summary


def test_a_task_of_which_there_is_no_news_is_drawn_only_as_far_as_there_was_some() -> None:
    story = Story(1, work=3.0)
    story.recorder.bystander(Batch([], [(1, T0 + 0.5)], 1, T0 + 2.0))
    terminal = Terminal()
    with run_screen(terminal.console, "1 request", count=None) as screen:
        screen.update(story.recorder, story.until(2.0))
        (row,) = [line for line in terminal.lines if line.startswith("      1")]
    assert "no news" in row
    assert 4 < row.count("▄") < 12  # of 33 columns for 2 s, those of the first half second


def test_the_live_comparison_shows_the_bystander_and_what_its_signs_mean() -> None:
    terminal = Terminal(80, 24)
    with comparison_screen(terminal.console, "3 requests", [mode.name for mode in MODES]) as screen:
        screen.start("blocking")
        screen.update(held_loop(), T0 + 2.4)
        (ping,) = [line for line in terminal.lines if "GET /ping" in line]
        assert ping.count("▂") > 20
        assert ping.endswith("2.30 s")
        assert any("▂▂ waits" in line and "●  answered".replace("  ", " ") in line for line in terminal.lines)
        assert len(terminal.used) <= 23


def test_between_two_modes_the_picture_stays_until_the_next_has_one() -> None:
    terminal = Terminal(80, 24)
    with comparison_screen(terminal.console, "5 requests", ["blocking", "background"]) as screen:
        screen.start("blocking")
        story = Story(5)
        screen.update(story.recorder, story.until(2.0))
        before = [line for line in terminal.lines if "request " in line]
        assert any(line.startswith("blocking    ") and "0 s" in line for line in terminal.lines)
        screen.done(blocking_run())
        assert [line for line in terminal.lines if "request " in line] == before
        screen.start("background")
        assert [line for line in terminal.lines if "request " in line] == before
        height = len(terminal.used)
        story = Story(5)
        screen.update(story.recorder, story.until(0.0))
        assert len(terminal.used) == height  # no bar yet, and yet a line each
        assert any(line.startswith("background    ") and "0 s" in line for line in terminal.lines)


@pytest.mark.parametrize(("elapsed", "horizon"), [(0.2, 1.0), (1.2, 1.5), (5.01, 6.0), (9.0, 10.0), (70.0, 90.0)])
def test_the_live_scale_is_not_much_longer_than_what_it_shows(elapsed: float, horizon: float) -> None:
    assert horizon_of(elapsed) == horizon


def test_a_ping_waits_no_longer_than_was_heard_of_it() -> None:
    held = held_loop()
    held.bystander(Batch([], [(2, T0 + 0.1)], 2, T0 + 0.103))
    terminal = Terminal()
    with run_screen(terminal.console, "3 requests at blocking", count=None) as screen:
        screen.update(held, T0 + 0.2)
        assert "/ping max    3 ms" in "\n".join(terminal.lines)
