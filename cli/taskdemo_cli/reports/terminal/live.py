"""The live screens of a run and of a comparison, and their plain lines where there is no terminal.

Draws the live figures and computes nothing. Every frame has fixed columns and at most MOST_LINES lines; rich draws
only the lines that changed (see painter).
"""

from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Console
from rich.style import Style
from rich.text import Text

from taskdemo_cli.documents.run import RunDocument
from taskdemo_cli.recording.live import Live
from taskdemo_cli.recording.recorder import Recorder
from taskdemo_cli.reports.terminal.comparison import comparison_cells, comparison_heading
from taskdemo_cli.reports.terminal.painter import Screen
from taskdemo_cli.reports.terminal.run_frame import (
    answer_words,
    bar_lines,
    end_words,
    horizon_of,
    printed_lines,
    progress_cells,
    progress_words,
    run_lines,
)
from taskdemo_cli.reports.terminal.style import NAME, Palette, cell, row
from taskdemo_cli.units import format_count, format_seconds

MOST_LINES: Final = 30
LOG_LINES: Final = 6
AROUND: Final = 7
"""Lines of a run's frame besides the requests and the log."""
SMALL: Final = 20
"""Up to this many requests, plain output has a line for each answer and each task's end."""
COMPARED_BARS: Final = 6
"""Live bars below the comparison's table."""


class RunScreen(Screen):
    """One run. As plain lines: each answer and each task's end of a small run, one line per second of a large one."""

    def __init__(self, console: Console, title: str, for_s: float | None = None) -> None:
        super().__init__(console, title)
        self._for_s = for_s
        self._live: Live | None = None
        self._log = 0
        self._answered: set[int] = set()
        self._ended = 0
        self._next = 1.0

    def update(self, source: Recorder, now: float) -> None:
        """Show the run at `now`, in seconds on the client's monotonic clock."""
        if self._block is None:
            self._show(*self._news(source.live(now, SMALL)))
            return
        lines = min(self._block.height, MOST_LINES)
        self._log = min(LOG_LINES, max(lines - 12, 0))
        self._live = source.live(now, max(lines - self._log - AROUND, 1))
        self._show()

    def _lines(self, width: int) -> Iterator[Text]:
        if self._live is not None:
            yield from run_lines(self._live, self._title, self._for_s, self._log, width)

    def _news(self, live: Live) -> Iterator[str]:
        if live.count is None or live.count > SMALL:
            if live.elapsed_s >= self._next:
                self._next = int(live.elapsed_s) + 1.0
                took = cell(format_seconds(live.elapsed_s), 8, "right")
                yield f"{took}  {progress_words(live)}; {format_count(live.failed)} failed"
            return
        for one in live.rows:
            request = one.request
            if one.state in {"answered", "failed"} and request.n not in self._answered:
                self._answered.add(request.n)
                yield f"  request {request.n}: {answer_words(request)}"
        for number, n, task in live.completions:
            if number > self._ended:
                self._ended = number
                yield f"  {end_words(n, task)}"
                for line in printed_lines(task):
                    yield f"            | {line}"


class ComparisonScreen(Screen):
    """A comparison: a row per mode, and below them the bars of the running one."""

    def __init__(self, console: Console, title: str, modes: Sequence[str]) -> None:
        super().__init__(console, title, modes)
        self._done: dict[str, list[RunDocument]] = {}
        self._running: str | None = None
        self._stage = ""
        self._scale_s = 1.0
        self._live: Live | None = None
        self._last: tuple[str, Live] | None = None
        """The bars shown: the running mode's or, until it has some, the previous mode's."""

    def start(self, mode: str, stage: str = "") -> None:
        """Show that this mode runs now; `stage` stands beside the title and names, for example, the round."""
        self._running, self._stage, self._live = mode, stage, None
        self._show(f"  {mode} ({stage}) ..." if stage else f"  {mode} ...")

    def update(self, source: Recorder, now: float) -> None:
        """Show the running mode's figures at `now`."""
        self._live = source.live(now, COMPARED_BARS)
        if self._running is not None:
            self._last = self._running, self._live
        self._show()

    def done(self, run: RunDocument) -> None:
        """Show the figures of a run in its mode's row, combined with those of earlier rounds."""
        if run.mode is not None:
            self._done.setdefault(run.mode, []).append(run)
        self._running = None
        told = "no answers"
        if response := run.summary.response_s:
            told = f"response p50 {format_seconds(response.p50)}, max {format_seconds(response.max)}"
        self._show(f"  {run.mode}: {told}")

    def _lines(self, width: int) -> Iterator[Text]:
        yield row((cell(self._title, width - len(self._stage) - 1), Palette.BOLD), " ", (self._stage, Palette.DIM))
        yield row("")
        yield from comparison_heading(width)
        for mode in self._names:
            yield row((cell(mode, NAME), Palette.BOLD), *self._cells(mode, width))
        if self._last is not None:
            mode, last = self._last
            self._scale_s = max(self._scale_s, horizon_of(last.elapsed_s))
            yield row("")
            yield from bar_lines(last, mode, self._scale_s, width)

    def _cells(self, mode: str, width: int) -> Iterator[tuple[str, Style]]:
        if mode == self._running:
            yield " ", Palette.PLAIN
            yield from progress_cells(self._live, None, 20)
            yield (f"  {progress_words(self._live)}" if self._live else "  starting"), Palette.DIM
        elif mode in self._done:
            yield from comparison_cells(self._done[mode], width)
        else:
            yield (" waiting" if self._running or self._done else " starting"), Palette.DIM  # all start together
