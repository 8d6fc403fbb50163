"""The screens of a run and of a comparison while they go on, and the plain lines where there is no terminal.

Draws the live figures and computes nothing. Every frame has fixed columns and at most MOST_LINES lines; rich is asked
to draw only lines that changed (see painter).
"""

import functools
from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Console
from rich.style import Style
from rich.text import Text

from taskdemo_cli.analysis.mode_summary import ModeSummary
from taskdemo_cli.documents.run import RunDocument
from taskdemo_cli.recording.live import Live
from taskdemo_cli.recording.recorder import Recorder
from taskdemo_cli.reports.terminal.comparison_table import NAME, comparison_cells, comparison_heading
from taskdemo_cli.reports.terminal.painter import Block, PlainLines, screens
from taskdemo_cli.reports.terminal.run_frame import (
    answer_words,
    bar_lines,
    completion_words,
    horizon_of,
    printed_lines,
    progress_cells,
    progress_words,
    run_lines,
)
from taskdemo_cli.reports.terminal.style import WIDEST, Palette, cell, row, say
from taskdemo_cli.units import format_seconds

MOST_LINES: Final = 30
LOG_LINES: Final = 6
AROUND: Final = 7
"""Lines of a run's frame besides the requests and the log."""
SMALL: Final = 20
"""Up to so many requests, plain output has a line for each answer and each task's end."""
COMPARED_BARS: Final = 6
"""Live bars under the comparison's table."""


class RunScreen:
    """One run on a terminal."""

    def __init__(self, block: Block, title: str, *, count: int | None, for_s: float | None = None) -> None:
        del count  # only plain lines depend on it
        self._block = block
        self._title = title
        self._for_s = for_s
        self._glyphs = block.glyphs

    def update(self, source: Recorder, now: float) -> None:
        """Show the run as it is at `now`, the client's monotonic clock."""
        lines = min(self._block.height, MOST_LINES)
        log = min(LOG_LINES, max(lines - 12, 0))
        live = source.live(now, max(lines - log - AROUND, 1))
        self._block.paint(list(run_lines(live, self._title, self._for_s, log, self._block.width, self._glyphs)))


class ComparisonScreen:
    """A comparison on a terminal: a row per mode, and under it the bars of the one that runs."""

    def __init__(self, block: Block, title: str, modes: Sequence[str]) -> None:
        self._block = block
        self._title = title
        self._glyphs = block.glyphs
        self._modes = list(modes)
        self._done: dict[str, tuple[ModeSummary, list[RunDocument]]] = {}
        self._skipped: dict[str, str] = {}
        self._running: str | None = None
        self._stage = ""
        self._scale_s = 1.0
        self._last: tuple[str, Live] | None = None
        """The bars that are shown: the running mode's, and until it has some, those of the one before."""
        self._paint(None)

    def start(self, mode: str, stage: str = "") -> None:
        """Say that this mode runs now; `stage` is what to say beside the title, such as the round."""
        self._running, self._stage = mode, stage
        self._paint(None)

    def update(self, source: Recorder, now: float) -> None:
        """Show the running mode's figures at `now`."""
        live = source.live(now, COMPARED_BARS)
        if self._running is not None:
            self._last = self._running, live
        self._paint(live)

    def done(self, run: RunDocument) -> None:
        """Put the figures of a run, with those of its mode's rounds before, into the mode's row."""
        if run.mode is not None:
            _, runs = self._done.get(run.mode, (None, []))
            runs = [*runs, run]
            self._done[run.mode] = ModeSummary(runs), runs
        self._running = None
        self._paint(None)

    def skip(self, mode: str, why: str) -> None:
        """Say in a mode's row why it does not run."""
        self._skipped[mode] = why
        self._paint(None)

    def _paint(self, live: Live | None) -> None:
        self._block.paint(list(self._lines(live, min(self._block.width, WIDEST))))

    def _lines(self, live: Live | None, width: int) -> Iterator[Text]:
        yield row((cell(self._title, width - len(self._stage) - 1), Palette.BOLD), " ", (self._stage, Palette.DIM))
        yield row("")
        yield from comparison_heading(width)
        for mode in self._modes:
            yield row((cell(mode, NAME), Palette.BOLD), *self._cells(mode, live, width))
        if self._last is not None:
            mode, last = self._last
            self._scale_s = max(self._scale_s, horizon_of(last.elapsed_s))
            yield row("")
            yield from bar_lines(last, mode, self._scale_s, width, self._glyphs)

    def _cells(self, mode: str, live: Live | None, width: int) -> Iterator[tuple[str, Style]]:
        if mode == self._running:
            yield " ", Palette.PLAIN
            yield from progress_cells(live, None, 20, self._glyphs)
            yield (f"  {progress_words(live)}" if live else "  starting"), Palette.DIM
        elif mode in self._done:
            yield from comparison_cells(*self._done[mode], width, self._glyphs)
        elif mode in self._skipped:
            yield " " + cell(f"skipped: {self._skipped[mode]}", max(width - NAME - 1, 0)).rstrip(), Palette.DIM
        else:
            yield " waiting", Palette.DIM


class PlainRun:
    """A run as plain lines: each answer and each task's end of a small one, one line per second of a large one."""

    def __init__(self, console: Console, title: str, *, count: int | None, for_s: float | None = None) -> None:
        del for_s  # only the frame of a terminal shows it
        self._say = functools.partial(say, console)
        self._small = count is not None and count <= SMALL
        self._answered: set[int] = set()
        self._ended = 0
        self._next = 1.0
        self._say(title)

    def update(self, source: Recorder, now: float) -> None:
        """Print what is new."""
        if not self._small:
            live = source.live(now, 1)
            if live.elapsed_s >= self._next:
                self._next = int(live.elapsed_s) + 1.0
                self._say(
                    f"{cell(format_seconds(live.elapsed_s), 8, 'right')}  {progress_words(live)}; {live.failed} failed"
                )
            return
        live = source.live(now, SMALL)
        for request in live.rows:
            if request.state in {"answered", "failed"} and request.n not in self._answered:
                self._answered.add(request.n)
                self._say(f"  request {request.n}: {answer_words(request)}")
        for completion in live.completions:
            if completion.number > self._ended:
                self._ended = completion.number
                self._say(f"  {completion_words(completion)}")
                for line in printed_lines(completion):
                    self._say(f"            | {line}")


class PlainComparison(PlainLines):
    """A comparison as plain lines: one when a mode starts, one when it is done."""

    def start(self, mode: str, stage: str = "") -> None:
        """Say that this mode runs now."""
        self._say(f"  {mode} ({stage}) ..." if stage else f"  {mode} ...")

    def done(self, run: RunDocument) -> None:
        """Say what came of a mode."""
        response = run.summary.response_s
        told = "no answers"
        if response is not None:
            told = f"response p50 {format_seconds(response.p50)}, max {format_seconds(response.max)}"
        self._say(f"  {run.mode}: {told}")


run_screen = screens(RunScreen, PlainRun)
"""The screen of one run; call `update` often."""
comparison_screen = screens(ComparisonScreen, PlainComparison)
