"""One frame of a run that goes on: header, progress, a row a request, the summary, the log. Fixed columns throughout.

Draws the live figures and computes nothing.
"""

from collections.abc import Iterator
from typing import Final

from rich.style import Style
from rich.text import Text

from taskdemo_cli.documents import Completion, Live, LiveRow
from taskdemo_cli.units import format_count, format_seconds
from taskdemo_cli.views.compared import NAME
from taskdemo_cli.views.figures import progress
from taskdemo_cli.views.ink import (
    BAD,
    BOLD,
    DIM,
    GOOD,
    PLAIN,
    QUEUED,
    WAITING,
    WIDEST,
    WORKING,
    Glyphs,
    cell,
    row,
)
from taskdemo_cli.views.timeline import STEPS, Bar, Lane, paint

WORDS: Final = {"accepted": "queued", "started": "running"}
PRINTED_LINES: Final = 10
"""Of what a task has printed, so many lines are shown; the rest is in the document."""
STATE_STYLES: Final = {
    "accepted": QUEUED,
    "started": WORKING,
    "finished": GOOD,
    "failed": BAD,
    "cancelled": BAD,
    "lost": BAD,
}


def run_lines(live: Live, title: str, for_s: float | None, log: int, width: int, glyphs: Glyphs) -> Iterator[Text]:
    """Yield the frame of a run: header, progress, a row a request, the summary, the log of the last `log` ends."""
    width = min(width, WIDEST)
    yield row((cell(title, width - 10), BOLD), f"{live.elapsed_s:8.1f} s")
    words = progress_words(live)
    yield row(*progress_cells(live, for_s, max(width - 46, 8), glyphs), (f"  {words}", PLAIN))
    horizon = horizon_of(live.elapsed_s)
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
        words = " | ".join([completion_words(completion), *printed_lines(completion)])
        yield row((cell(words, width), BAD if completion.state != "finished" else PLAIN))


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


def printed_lines(completion: Completion) -> list[str]:
    """Return the first lines of what the task has printed."""
    return (completion.output or "").splitlines()[:PRINTED_LINES]


def horizon_of(elapsed_s: float) -> float:
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
    ping = glyphs.dash
    if bystander or live.bystander_waits_s is not None:
        ping = format_seconds(max(bystander["max"] if bystander else 0.0, live.bystander_waits_s or 0.0))
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
