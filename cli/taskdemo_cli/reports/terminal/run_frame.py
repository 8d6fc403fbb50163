"""One frame of a live run: header, progress, a row per request, summary, log. Fixed columns throughout."""

import math
from collections.abc import Iterator
from typing import Final

from rich.style import Style
from rich.text import Text

from taskdemo_cli.analysis.error_words import error_words
from taskdemo_cli.documents.run import RequestRow, TaskRow
from taskdemo_cli.recording.live import Live, LiveRow
from taskdemo_cli.reports.terminal.figures import progress
from taskdemo_cli.reports.terminal.style import NAME, Glyph, Palette, cell, row
from taskdemo_cli.reports.terminal.timeline import Lane, live_legend, paint, paint_pings
from taskdemo_cli.reports.timeline import Bar
from taskdemo_cli.units import format_count, format_seconds

NARROW: Final = 12
"""Columns below which no bars are drawn."""
WORDS: Final = {"accepted": "queued", "started": "running"}
PRINTED_LINES: Final = 10
"""Lines shown of a task's output; the document has the rest."""
STATE_STYLES: Final = {
    "accepted": Palette.QUEUED,
    "started": Palette.WORKING,
    "finished": Palette.GOOD,
    "failed": Palette.BAD,
    "cancelled": Palette.BAD,
    "lost": Palette.BAD,
}


def run_lines(live: Live, title: str, for_s: float | None, log: int, width: int) -> Iterator[Text]:
    """Yield the frame of a run: header, progress, a row per request, the summary, the last `log` tasks that ended."""
    yield row((cell(title, width - 10), Palette.BOLD), f"{live.elapsed_s:8.1f} s")
    words = progress_words(live)
    yield row(*progress_cells(live, for_s, max(width - 46, 8)), (f"  {words}", Palette.PLAIN))
    horizon = horizon_of(live.elapsed_s)
    before = None
    partial = any(request.why != "all" for request in live.rows)
    columns = width - (54 if partial else 46)
    yield _row_heading(partial, columns, horizon)
    for one in live.rows:
        label = [(cell("" if one.why == before else one.why, 8), Palette.DIM)] if partial else []
        yield row(*label, *_request_cells(one, live.silent_s), *_bar_cells(one, live, horizon, columns))
        before = one.why
    if columns >= NARROW and live.follows:
        yield row((f"{'GET /ping':>{width - columns - 1}} ", Palette.DIM), *_ping_cells(live, horizon, columns))
    if columns >= NARROW:
        yield live_legend(width)
    yield _summary_line(live)
    ended = live.completions[-log:] if log else []
    if ended:
        yield row(("Last tasks ended", Palette.DIM))
    for _, n, task in ended:
        words = " | ".join([end_words(n, task), *printed_lines(task)])
        yield row((cell(words, width), Palette.BAD if task.state != "finished" else Palette.PLAIN))


def bar_lines(live: Live, mode: str, horizon: float, width: int) -> Iterator[Text]:
    """Yield the growing bars of a mode's requests, below the comparison's table; their scale ends at `horizon` s."""
    columns = width - NAME - 1 - 9
    yield row(
        (cell(mode, NAME) + " ", Palette.BOLD),
        (f"0 s{cell(format_seconds(horizon), max(columns - 3, 1), 'right')}", Palette.DIM),
    )
    for one in live.rows:
        yield row(
            (cell(f"request {one.request.n}", NAME, "right") + " ", Palette.DIM),
            *_bar_cells(one, live, horizon, columns),
            (cell(_time(one.request.response_s), 9, "right"), Palette.DIM if one.state == "waiting" else Palette.PLAIN),
        )
    yield row(
        (cell("GET /ping", NAME, "right") + " ", Palette.DIM),
        *_ping_cells(live, horizon, columns),
        (cell(_time(live.bystander_max_s), 9, "right"), Palette.DIM),
    )
    yield live_legend(width)


def progress_cells(live: Live | None, for_s: float | None, room: int) -> Iterator[tuple[str, Style]]:
    """Yield a progress bar of `room` cells: ended tasks, answers, and what remains."""
    if live is None or not (for_s or live.count):
        yield Glyph.BAR_REST * room, Palette.DIM
        return
    answered = live.ok + live.failed
    share = live.elapsed_s / for_s if for_s else answered / (live.count or 1)
    done, rest = progress(share, room)
    ended = len(done)
    if live.ended or any(live.tasks.values()):
        ended = min(ended, int(live.ended / max(live.count or answered, 1) * room))
    yield done[:ended], Palette.GOOD
    yield done[ended:], Palette.WORKING
    yield rest, Palette.DIM


def progress_words(live: Live) -> str:
    """Return the progress of a run in words."""
    of = f" of {format_count(live.count)}" if live.count else ""
    ended = f", {format_count(live.ended, 'task')} ended" if live.ended or any(live.tasks.values()) else ""
    return f"{format_count(live.answered)}{of} answered{ended}"


def answer_words(request: RequestRow) -> str:
    """Return the outcome of a request in words."""
    took = f" after {format_seconds(request.response_s)}" if request.response_s is not None else ""
    if request.error:
        return f"failed: {error_words(request.error, request.reason)}{took}"
    return f"{request.status}{took}"


def end_words(n: int, task: TaskRow) -> str:
    """Return the log line of a task that has ended; `n` is the number of its request, 0 if unknown."""
    whose = f"request {n}" if n else "a task"
    said = task.error or task.message or ""
    return f"{format_seconds(task.ended_s or 0.0).rjust(8)}  {whose}: {task.state}{', ' if said else ''}{said}"


def printed_lines(task: TaskRow) -> list[str]:
    """Return the first and the last lines of the task's output."""
    lines, half = (task.output or "").splitlines(), PRINTED_LINES // 2
    return lines if len(lines) <= PRINTED_LINES else [*lines[:half], "...", *lines[-half:]]


def horizon_of(elapsed_s: float) -> float:
    """Return the end of a time scale that seldom changes: 1, 2, 4, 8, ... seconds."""
    return 2.0 ** math.ceil(math.log2(max(elapsed_s, 1.0)))


def _row_heading(partial: bool, columns: int, horizon: float) -> Text:
    heading = f"{'request':>7}{'status':>8}{'response':>10}  {'task':<9}{'ended':>9} "
    scale = f"0 s{cell(format_seconds(horizon), columns - 3, 'right')}" if columns >= NARROW else ""
    return row((" " * 8 if partial else "") + heading, (scale, Palette.DIM))


def _request_cells(one: LiveRow, silent_s: float | None) -> Iterator[tuple[str, Style]]:
    request, task = one.request, one.task
    yield f"{request.n:>7}", Palette.PLAIN
    if one.state == "failed":
        yield cell(str(request.status or "no reply"), 8, "right"), Palette.BAD
    else:
        yield f"{request.status or '':>8}", Palette.PLAIN
    yield f"{_time(request.response_s):>10}  ", Palette.WAITING if one.state == "waiting" else Palette.PLAIN
    state = task.state if task else "waiting" if one.state == "waiting" else ""
    if silent_s is not None and state in WORDS:
        yield f"{'no news':<9}", Palette.DIM  # its last known state may be long over
    else:
        yield f"{WORDS.get(state, state):<9}", STATE_STYLES.get(state, Palette.DIM)
    yield f"{_time(task.ended_s if task else None):>9} ", Palette.PLAIN


def _bar_cells(one: LiveRow, live: Live, horizon: float, columns: int) -> Iterator[tuple[str, Style]]:
    if columns < NARROW:
        return
    lane = Lane(columns, horizon)
    if one.request.sent_s is not None:
        # Once its request is answered, draw a task only up to the last news of it.
        silent_s = live.silent_s or 0.0 if one.request.done_s is not None else 0.0
        paint(lane, Bar(one.request, one.task, live.elapsed_s - silent_s, is_live=True))
    yield from lane.parts()


def _ping_cells(live: Live, horizon: float, columns: int) -> Iterator[tuple[str, Style]]:
    lane = Lane(columns, horizon)
    paint_pings(lane, [(sent, done) for sent, done in live.pings if 0 <= sent <= live.elapsed_s])
    yield from lane.parts()


def _time(seconds: float | None, none: str = "") -> str:
    return none if seconds is None else format_seconds(seconds)


def _summary_line(live: Live) -> Text:
    times = {"p50": live.response_p50_s, "  max": live.response_max_s}
    figures = {name: f"{_time(time, Glyph.DASH):>8}" for name, time in times.items()}
    figures["  failed"] = f" {live.failed:>2,}"
    if live.silent_s is not None:  # while the server is silent, what runs and waits is unknown
        figures["  no news for"] = f"{format_seconds(live.silent_s):>8}  "
    elif live.follows:
        figures["  running"] = f" {live.tasks.get('started', 0):>2,}"
        figures["  queued"] = f" {live.tasks.get('accepted', 0):>2,}"
    if live.follows:
        figures["  /ping max"] = f"{_time(live.bystander_max_s, Glyph.DASH):>8}"
    parts: list[tuple[str, Style]] = []
    for name, figure in figures.items():
        is_bad = live.failed and name == "  failed"
        parts += [(name, Palette.DIM), (figure, Palette.BAD if is_bad else Palette.PLAIN)]
    return row(*parts)
