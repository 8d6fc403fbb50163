"""The screens of a run and of a comparison while they go on, and the plain lines where there is no terminal.

Draws the live figures and computes nothing. Every frame has fixed columns and at most MOST_LINES lines; rich is asked
to draw only lines that changed (see repaint).
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Final, Protocol, Self

from rich.console import Console
from rich.style import Style
from rich.text import Text

from taskdemo_cli.documents import Completion, Live, LiveRow, RunDocument
from taskdemo_cli.units import format_count, format_seconds
from taskdemo_cli.views.compared import NAME, comparison_cells, comparison_heading
from taskdemo_cli.views.figures import progress
from taskdemo_cli.views.ink import (
    ASCII,
    BAD,
    BOLD,
    DIM,
    GOOD,
    PLAIN,
    QUEUED,
    UNICODE,
    WAITING,
    WIDEST,
    WORKING,
    Glyphs,
    cell,
    row,
    say,
)
from taskdemo_cli.views.repaint import Block, can_repaint
from taskdemo_cli.views.timeline import STEPS, Bar, Lane, paint

MOST_LINES: Final = 30
LOG_LINES: Final = 6
SMALL: Final = 20
"""Up to so many requests, plain output has a line for each answer and each task's end."""
COMPARED_BARS: Final = 6
"""Live bars under the comparison's table."""


class Source(Protocol):
    """Where live figures come from: the recorder."""

    def live(self, now: float, rows: int) -> Live:
        """Return the figures at `now`, with at most `rows` requests."""
        ...


class RunScreen(AbstractContextManager["RunScreen"]):
    """One run on a terminal."""

    def __init__(self, console: Console, title: str, for_s: float | None) -> None:
        self._block = Block(console)
        self._title = title
        self._for_s = for_s
        self._glyphs = ASCII if console.options.ascii_only else UNICODE

    def __enter__(self) -> Self:
        self._block.__enter__()
        return self

    def __exit__(self, *details: object) -> None:
        self._block.__exit__(*details)  # type: ignore[arg-type] # what `with` gives is passed on as it is

    def update(self, source: Source, now: float) -> None:
        """Show the run as it is at `now`, the client's monotonic clock."""
        lines = min(self._block.height, MOST_LINES)
        log = min(LOG_LINES, max(lines - 12, 0))
        live = source.live(now, max(lines - log - 5, 1))
        self._block.paint(list(run_lines(live, self._title, self._for_s, log, self._block.width, self._glyphs)))


class ComparisonScreen(AbstractContextManager["ComparisonScreen"]):
    """A comparison on a terminal: a row a mode, and under it the bars of the one that runs."""

    def __init__(self, console: Console, modes: Sequence[str], title: str) -> None:
        self._block = Block(console)
        self._title = title
        self._glyphs = ASCII if console.options.ascii_only else UNICODE
        self._modes = list(modes)
        self._done: dict[str, RunDocument] = {}
        self._skipped: dict[str, str] = {}
        self._running: str | None = None
        self._stage = ""
        self._scale_s = 1.0

    def __enter__(self) -> Self:
        self._block.__enter__()
        self._paint(None)
        return self

    def __exit__(self, *details: object) -> None:
        self._block.__exit__(*details)  # type: ignore[arg-type] # what `with` gives is passed on as it is

    def start(self, mode: str, stage: str = "") -> None:
        """Say that this mode runs now; `stage` is what to say beside the title, such as the round."""
        self._running, self._stage = mode, stage
        self._paint(None)

    def update(self, source: Source, now: float) -> None:
        """Show the running mode's figures at `now`."""
        self._paint(source.live(now, COMPARED_BARS))

    def done(self, run: RunDocument) -> None:
        """Put the figures of a run into its mode's row."""
        if run["mode"] is not None:
            self._done[run["mode"]] = run
        self._running = None
        self._paint(None)

    def skip(self, mode: str, why: str) -> None:
        """Say in a mode's row why it does not run."""
        self._skipped[mode] = why
        self._paint(None)

    def _paint(self, live: Live | None) -> None:
        self._block.paint(list(self._lines(live, min(self._block.width, WIDEST))))

    def _lines(self, live: Live | None, width: int) -> Iterator[Text]:
        yield row((cell(self._title, width - len(self._stage) - 1), BOLD), " ", (self._stage, DIM))
        yield row("")
        yield from comparison_heading(width)
        for mode in self._modes:
            yield row((cell(mode, NAME), BOLD), *self._cells(mode, live, width))
        if live is not None:
            self._scale_s = max(self._scale_s, _horizon(live.elapsed_s))
            yield row("")
            yield from bar_lines(live, self._scale_s, width, self._glyphs)

    def _cells(self, mode: str, live: Live | None, width: int) -> Iterator[tuple[str, Style]]:
        if mode == self._running:
            yield " ", PLAIN
            yield from progress_cells(live, None, 20, self._glyphs)
            yield (f"  {progress_words(live)}" if live else "  starting"), DIM
        elif mode in self._done:
            yield from comparison_cells([self._done[mode]], width, self._glyphs)
        elif mode in self._skipped:
            yield " " + cell(f"skipped: {self._skipped[mode]}", max(width - NAME - 1, 0)).rstrip(), DIM
        else:
            yield " waiting", DIM


class PlainRun(AbstractContextManager["PlainRun"]):
    """A run as plain lines: each answer and each task's end of a small one, a line a second of a large one."""

    def __init__(self, console: Console, title: str, small: bool) -> None:
        self._console = console
        self._small = small
        self._answered: set[int] = set()
        self._ended = 0
        self._next = 1.0
        self._say(title)

    def __exit__(self, *details: object) -> None:
        """Nothing to tidy up."""

    def update(self, source: Source, now: float) -> None:
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

    def _say(self, text: str) -> None:
        say(self._console, text)


class PlainComparison(AbstractContextManager["PlainComparison"]):
    """A comparison as plain lines: one when a mode starts, one when it is done."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._started: str | None = None
        self._say(title)

    def __exit__(self, *details: object) -> None:
        """Nothing to tidy up."""

    def start(self, mode: str, stage: str = "") -> None:
        """Say that this mode runs now."""
        self._started = mode
        self._say(f"  {mode} ..." if not stage else f"  {mode} ({stage}) ...")

    def update(self, source: Source, now: float) -> None:
        """Nothing: a mode's figures come when it is done."""

    def done(self, run: RunDocument) -> None:
        """Say what came of a mode."""
        response = run["summary"]["response_s"]
        told = "no answers"
        if response is not None:
            told = f"response p50 {format_seconds(response['p50'])}, max {format_seconds(response['max'])}"
        self._say(f"  {run['mode']}: {told}")

    def skip(self, mode: str, why: str) -> None:
        """Say why a mode does not run."""
        self._say(f"  {mode} skipped: {why}")

    def _say(self, text: str) -> None:
        say(self._console, text)


def run_screen(console: Console, title: str, *, count: int | None, for_s: float | None = None) -> RunScreen | PlainRun:
    """Return the screen of one run, fit for what the console is; use it in a `with`, call `update` often."""
    if can_repaint(console):
        return RunScreen(console, title, for_s)
    return PlainRun(console, title, count is not None and count <= SMALL)


def comparison_screen(console: Console, title: str, modes: Sequence[str]) -> ComparisonScreen | PlainComparison:
    """Return the screen of a comparison, fit for what the console is; use it in a `with`."""
    return ComparisonScreen(console, modes, title) if can_repaint(console) else PlainComparison(console, title)


def run_lines(live: Live, title: str, for_s: float | None, log: int, width: int, glyphs: Glyphs) -> Iterator[Text]:
    """Yield the frame of a run: header, progress, a row a request, the summary, the log of the last `log` ends."""
    width = min(width, WIDEST)
    yield row((cell(title, width - 10), BOLD), f"{live.elapsed_s:8.1f} s")
    words = progress_words(live)
    yield row(*progress_cells(live, for_s, max(width - 46, 8), glyphs), (f"  {words}", PLAIN))
    horizon = _horizon(live.elapsed_s)
    partial = any(request.why != "all" for request in live.rows)
    columns = width - (54 if partial else 46)
    yield _row_heading(partial, columns, horizon)
    before = None
    for request in live.rows:
        label = [(cell("" if request.why == before else request.why, 8), DIM)] if partial else []
        yield row(*label, *_request_cells(request), *_bar_cells(request, live.elapsed_s, horizon, columns, glyphs))
        before = request.why
    yield _summary_line(live, glyphs)
    ended = live.completions[-log:] if log else []
    if ended:
        yield row(("Last tasks ended", DIM))
    for completion in ended:
        yield row((cell(completion_words(completion), width), BAD if completion.state != "finished" else PLAIN))


def bar_lines(live: Live, horizon: float, width: int, glyphs: Glyphs) -> Iterator[Text]:
    """Yield the bars of the requests, growing, under the comparison's table; `horizon` is their scale in seconds."""
    columns = width - NAME - 1 - 9
    yield row(" " * (NAME + 1), (f"0 s{cell(format_seconds(horizon), max(columns - 3, 1), 'right')}", DIM))
    for request in live.rows:
        figure = format_seconds(request.response_s) if request.response_s is not None else ""
        yield row(
            (cell(f"request {request.n}", NAME, "right") + " ", DIM),
            *_bar_cells(request, live.elapsed_s, horizon, columns, glyphs),
            (cell(figure, 9, "right"), DIM if request.state == "waiting" else PLAIN),
        )


def progress_cells(live: Live | None, for_s: float | None, room: int, glyphs: Glyphs) -> Iterator[tuple[str, Style]]:
    """Yield a bar of `room` cells: ended tasks, answers, and what is still to come."""
    if live is None or not (for_s or live.count):
        yield glyphs.bar_rest * room, DIM
        return
    answered = live.ok + live.failed
    share = min(live.elapsed_s / for_s, 1.0) if for_s else answered / (live.count or 1)
    done, rest = progress(share, room, glyphs)
    ended = len(done)
    if any(live.tasks.values()):
        ended = min(ended, int(live.ended / max(live.count or answered, 1) * room))
    yield done[:ended], GOOD
    yield done[ended:], WORKING
    yield rest, DIM


def progress_words(live: Live) -> str:
    """Return how far a run is."""
    answered = live.ok + live.failed
    words = (
        f"{format_count(answered)} of {format_count(live.count)} answered"
        if live.count
        else f"{format_count(answered)} answered"
    )
    if any(live.tasks.values()):
        words += f", {format_count(live.ended)} tasks ended"
    return words


def answer_words(request: LiveRow) -> str:
    """Return what became of a request."""
    took = f" after {format_seconds(request.response_s)}" if request.response_s is not None else ""
    if request.state == "failed":
        return f"failed: {request.error or request.status}{took}"
    return f"{request.status}{took}"


def completion_words(completion: Completion) -> str:
    """Return one line of the log."""
    whose = f"request {completion.n}" if completion.n else "a task"
    said = completion.error or completion.message or ""
    return f"{format_seconds(completion.ended_s).rjust(8)}  {whose}: {completion.state}{', ' if said else ''}{said}"


def _horizon(elapsed_s: float) -> float:
    """Return a time scale that seldom changes: the next round number of seconds."""
    return next((step for step in STEPS if step >= max(elapsed_s, 1.0)), elapsed_s)


def _row_heading(partial: bool, columns: int, horizon: float) -> Text:
    heading = f"{'request':>7}{'status':>8}{'response':>10}  {'task':<9}{'ended':>9} "
    scale = f"0 s{cell(format_seconds(horizon), columns - 3, 'right')}" if columns >= 12 else ""
    return row((" " * 8 if partial else "") + heading, (scale, DIM))


def _request_cells(request: LiveRow) -> Iterator[tuple[str, Style]]:
    yield f"{request.n:>7}", PLAIN
    if request.state == "failed":
        yield cell(str(request.status or request.error or "failed"), 8, "right"), BAD
    else:
        yield f"{request.status or '':>8}", PLAIN
    took = format_seconds(request.response_s) if request.response_s is not None else ""
    yield f"{took:>10}  ", WAITING if request.state == "waiting" else PLAIN
    state = request.task_state or ("waiting" if request.state == "waiting" else "")
    yield f"{WORDS.get(state, state):<9}", STATE_STYLES.get(state, DIM)
    ended = format_seconds(request.task_ended_s) if request.task_ended_s is not None else ""
    yield f"{ended:>9} ", PLAIN


WORDS: Final = {"accepted": "queued", "started": "running"}
STATE_STYLES: Final = {
    "accepted": QUEUED,
    "started": WORKING,
    "finished": GOOD,
    "failed": BAD,
    "cancelled": BAD,
    "lost": BAD,
}


def _bar_cells(
    request: LiveRow, elapsed_s: float, horizon: float, columns: int, glyphs: Glyphs
) -> Iterator[tuple[str, Style]]:
    if request.sent_s is None or columns < 12:
        return
    response = request.response_s
    answered = request.sent_s + response if response is not None and request.state != "waiting" else None
    bar = Bar(
        request.n,
        request.sent_s,
        answered,
        request.state != "failed",
        request.task_started_s,
        request.task_ended_s,
        request.task_state,
    )
    lane = Lane(columns, horizon)
    paint(lane, bar, max(elapsed_s, request.sent_s), glyphs)
    yield from lane.parts(set(), " ")


def _summary_line(live: Live, glyphs: Glyphs) -> Text:
    """Return the running summary, its figures in fixed columns."""
    response, bystander = live.response, live.bystander
    p50 = format_seconds(response["p50"]) if response else glyphs.dash
    most = format_seconds(response["max"]) if response else glyphs.dash
    ping = format_seconds(max(bystander["max"], live.bystander_waits_s or 0.0)) if bystander else glyphs.dash
    return row(
        ("p50", DIM),
        f"{p50:>8}",
        ("  max", DIM),
        f"{most:>8}",
        ("  failed", DIM),
        (f"{live.failed:>3}", BAD if live.failed else PLAIN),
        ("  running", DIM),
        f"{live.tasks.get('started', 0):>3}",
        ("  queued", DIM),
        f"{live.tasks.get('accepted', 0):>3}",
        ("  /ping max", DIM),
        f"{ping:>8}",
    )
