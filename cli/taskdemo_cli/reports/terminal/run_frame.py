"""One frame of a run that goes on: header, progress, a row per request, summary, log. Fixed columns throughout."""

from collections.abc import Iterator
from typing import Final

from rich.style import Style
from rich.text import Text

from taskdemo_cli.recording.live import Completion, Live, LiveRow
from taskdemo_cli.reports.error_words import error_words
from taskdemo_cli.reports.terminal.comparison_table import NAME
from taskdemo_cli.reports.terminal.figures import progress
from taskdemo_cli.reports.terminal.style import WIDEST, Glyphs, Palette, cell, row
from taskdemo_cli.reports.terminal.timeline import Lane, live_legend, paint, paint_pings
from taskdemo_cli.reports.timeline import Bar
from taskdemo_cli.units import format_count, format_seconds

HORIZONS: Final = (
    *(1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0),
    *(60.0 * minutes for minutes in (1, 1.5, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 40, 60)),
    *(3600.0 * hours for hours in (1.5, 2, 3, 4, 6, 8, 12, 24, 48, 168)),
)
"""Lengths of the live scale, each at most twice the one before, so that a picture never shrinks to a corner."""
NARROW: Final = 12
"""Below so many columns there are no bars."""
WORDS: Final = {"accepted": "queued", "started": "running"}
PRINTED_LINES: Final = 10
"""Of what a task has printed, so many lines are shown; the rest is in the document."""
STATE_STYLES: Final = {
    "accepted": Palette.QUEUED,
    "started": Palette.WORKING,
    "finished": Palette.GOOD,
    "failed": Palette.BAD,
    "cancelled": Palette.BAD,
    "lost": Palette.BAD,
}


def run_lines(live: Live, title: str, for_s: float | None, log: int, width: int, glyphs: Glyphs) -> Iterator[Text]:
    """Yield the frame of a run: header, progress, a row per request, the summary, the log of the last `log` ends."""
    width = min(width, WIDEST)
    yield row((cell(title, width - 10), Palette.BOLD), f"{live.elapsed_s:8.1f} s")
    words = progress_words(live)
    yield row(*progress_cells(live, for_s, max(width - 46, 8), glyphs), (f"  {words}", Palette.PLAIN))
    horizon = horizon_of(live.elapsed_s)
    before = None
    partial = any(request.why != "all" for request in live.rows)
    columns = width - (54 if partial else 46)
    yield _row_heading(partial, columns, horizon)
    for request in live.rows:
        label = [(cell("" if request.why == before else request.why, 8), Palette.DIM)] if partial else []
        yield row(*label, *_request_cells(request, live.silent_s), *_bar_cells(request, live, horizon, columns, glyphs))
        before = request.why
    if columns >= NARROW:
        yield row((f"{'GET /ping':>{width - columns - 1}} ", Palette.DIM), *_ping_cells(live, horizon, columns, glyphs))
        yield live_legend(width, glyphs)
    yield _summary_line(live, glyphs)
    ended = live.completions[-log:] if log else []
    if ended:
        yield row(("Last tasks ended", Palette.DIM))
    for completion in ended:
        words = " | ".join([completion_words(completion), *printed_lines(completion)])
        yield row((cell(words, width), Palette.BAD if completion.state != "finished" else Palette.PLAIN))


def bar_lines(live: Live, mode: str, horizon: float, width: int, glyphs: Glyphs) -> Iterator[Text]:
    """Yield the bars of a mode's requests, growing, under the comparison's table; `horizon` ends their scale."""
    columns = width - NAME - 1 - 9
    yield row(
        (cell(mode, NAME) + " ", Palette.BOLD),
        (f"0 s{cell(format_seconds(horizon), max(columns - 3, 1), 'right')}", Palette.DIM),
    )
    for request in live.rows:
        figure = format_seconds(request.response_s) if request.response_s is not None else ""
        yield row(
            (cell(f"request {request.n}", NAME, "right") + " ", Palette.DIM),
            *_bar_cells(request, live, horizon, columns, glyphs),
            (cell(figure, 9, "right"), Palette.DIM if request.state == "waiting" else Palette.PLAIN),
        )
    yield row(
        (cell("GET /ping", NAME, "right") + " ", Palette.DIM),
        *_ping_cells(live, horizon, columns, glyphs),
        (cell(_longest_ping(live, ""), 9, "right"), Palette.DIM),
    )
    yield live_legend(width, glyphs)


def progress_cells(live: Live | None, for_s: float | None, room: int, glyphs: Glyphs) -> Iterator[tuple[str, Style]]:
    """Yield a bar of `room` cells: ended tasks, answers, and what is still to come."""
    if live is None or not (for_s or live.count):
        yield glyphs.bar_rest * room, Palette.DIM
        return
    answered = live.ok + live.failed
    share = min(live.elapsed_s / for_s, 1.0) if for_s else answered / (live.count or 1)
    done, rest = progress(share, room, glyphs)
    ended = len(done)
    if live.ended or any(live.tasks.values()):
        ended = min(ended, int(live.ended / max(live.count or answered, 1) * room))
    yield done[:ended], Palette.GOOD
    yield done[ended:], Palette.WORKING
    yield rest, Palette.DIM


def progress_words(live: Live) -> str:
    """Return how far a run is."""
    of = f" of {format_count(live.count)}" if live.count else ""
    ended = f", {format_count(live.ended, 'task')} ended" if live.ended or any(live.tasks.values()) else ""
    return f"{format_count(live.answered)}{of} answered{ended}"


def answer_words(request: LiveRow) -> str:
    """Return what became of a request."""
    took = f" after {format_seconds(request.response_s)}" if request.response_s is not None else ""
    if request.state == "failed":
        return f"failed: {error_words(request.error, request.reason) if request.error else request.status}{took}"
    return f"{request.status}{took}"


def completion_words(completion: Completion) -> str:
    """Return one line of the log."""
    whose = f"request {completion.n}" if completion.n else "a task"
    said = completion.error or completion.message or ""
    return f"{format_seconds(completion.ended_s).rjust(8)}  {whose}: {completion.state}{', ' if said else ''}{said}"


def printed_lines(completion: Completion) -> list[str]:
    """Return the first lines of what the task has printed."""
    return (completion.output or "").splitlines()[:PRINTED_LINES]


def horizon_of(elapsed_s: float) -> float:
    """Return a time scale that seldom changes: the next round number of seconds."""
    return next((step for step in HORIZONS if step >= max(elapsed_s, 1.0)), elapsed_s)


def _row_heading(partial: bool, columns: int, horizon: float) -> Text:
    heading = f"{'request':>7}{'status':>8}{'response':>10}  {'task':<9}{'ended':>9} "
    scale = f"0 s{cell(format_seconds(horizon), columns - 3, 'right')}" if columns >= NARROW else ""
    return row((" " * 8 if partial else "") + heading, (scale, Palette.DIM))


def _request_cells(request: LiveRow, silent_s: float | None) -> Iterator[tuple[str, Style]]:
    yield f"{request.n:>7}", Palette.PLAIN
    if request.state == "failed":
        yield cell(str(request.status or "no reply"), 8, "right"), Palette.BAD
    else:
        yield f"{request.status or '':>8}", Palette.PLAIN
    took = format_seconds(request.response_s) if request.response_s is not None else ""
    yield f"{took:>10}  ", Palette.WAITING if request.state == "waiting" else Palette.PLAIN
    state = request.task_state or ("waiting" if request.state == "waiting" else "")
    if silent_s is not None and state in WORDS:
        yield f"{'no news':<9}", Palette.DIM  # what was last heard of it may be over long since
    else:
        yield f"{WORDS.get(state, state):<9}", STATE_STYLES.get(state, Palette.DIM)
    ended = format_seconds(request.task_ended_s) if request.task_ended_s is not None else ""
    yield f"{ended:>9} ", Palette.PLAIN


def _bar_cells(
    request: LiveRow, live: Live, horizon: float, columns: int, glyphs: Glyphs
) -> Iterator[tuple[str, Style]]:
    if columns < NARROW:
        return
    if request.sent_s is None:
        yield " " * columns, Palette.PLAIN
        return
    answered = request.answered_s
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
    # Of an answered request's task nothing is drawn later than the last moment from which there is news.
    until_s = live.elapsed_s - (live.silent_s or 0.0 if answered is not None else 0.0)
    paint(lane, bar, max(until_s, bar.last), glyphs)
    yield from lane.parts(set(), " ")


def _ping_cells(live: Live, horizon: float, columns: int, glyphs: Glyphs) -> Iterator[tuple[str, Style]]:
    lane = Lane(columns, horizon)
    paint_pings(lane, [(sent, done) for sent, done in live.pings if 0 <= sent <= live.elapsed_s], glyphs)
    yield from lane.parts(set(), " ")


def _longest_ping(live: Live, none: str) -> str:
    """Return what the bystander has waited at the most, what it still waits included."""
    waits = [wait for wait in (live.bystander_max_s, live.bystander_waits_s) if wait is not None]
    return format_seconds(max(waits)) if waits else none


def _summary_line(live: Live, glyphs: Glyphs) -> Text:
    """Return the running summary, its figures in fixed columns."""
    p50 = glyphs.dash if live.response_p50_s is None else format_seconds(live.response_p50_s)
    most = glyphs.dash if live.response_max_s is None else format_seconds(live.response_max_s)
    # While the server answers nobody, nobody knows what runs and what is queued.
    tasks = (
        (
            ("  running", Palette.DIM),
            f"{live.tasks.get('started', 0):>3}",
            ("  queued", Palette.DIM),
            f"{live.tasks.get('accepted', 0):>3}",
        )
        if live.silent_s is None
        else (("  no news for", Palette.DIM), f"{format_seconds(live.silent_s):>8}  ")
    )
    return row(
        ("p50", Palette.DIM),
        f"{p50:>8}",
        ("  max", Palette.DIM),
        f"{most:>8}",
        ("  failed", Palette.DIM),
        (f"{live.failed:>3}", Palette.BAD if live.failed else Palette.PLAIN),
        *tasks,
        ("  /ping max", Palette.DIM),
        f"{_longest_ping(live, glyphs.dash):>8}",
    )
