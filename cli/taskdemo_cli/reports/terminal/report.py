"""The final screens: the report of a run, and the comparison of modes with its recommendation."""

import math
from collections.abc import Iterator, Sequence
from typing import Final

from rich.text import Text

from taskdemo_cli.analysis.error_words import errors_in_words
from taskdemo_cli.analysis.mode_summary import computing, most_computing
from taskdemo_cli.analysis.rounds import STATES, Time, by_mode, ran_at_once, times_of
from taskdemo_cli.documents.codec import AnyDocument
from taskdemo_cli.documents.comparison import ComparisonDocument, Recommendation
from taskdemo_cli.documents.run import (
    RequestCounts,
    RunDocument,
    TaskCounts,
    ThresholdRow,
    describe_request,
    describe_work,
)
from taskdemo_cli.reports.notes import notes, warm_up_words
from taskdemo_cli.reports.terminal.comparison_table import NAME, comparison_cells, comparison_heading, interval_lines
from taskdemo_cli.reports.terminal.figures import histogram, statistics_table
from taskdemo_cli.reports.terminal.style import NO, YES, Glyph, Palette, cell, paragraph, row
from taskdemo_cli.reports.terminal.timeline import height, overview, timeline
from taskdemo_cli.stats import grouped
from taskdemo_cli.units import format_bytes, format_count, format_seconds, format_share
from taskdemo_server.contract.modes import MODES, QUESTIONS
from taskdemo_server.contract.text import escape

TELLING: Final = 0.1
"""Least share of the response from which a phase of it is shown; below, the first byte is nearly all of it."""
SCREEN: Final = 40
"""Lines of a screen that the end of a comparison should fit on."""
AROUND: Final = 18
"""Lines of a comparison besides the picture, the table and the line for each mode."""
DRAWN_REQUESTS: Final = 500
"""A run of more requests has figures and a histogram, but no bars: those of a handful would say little."""
MORE: Final = "--need NAME picks one for a need, with its code."
COMPUTES_QUESTION: Final = "quiet"
"""The need whose line also says whether the work computes."""


def run_report(document: RunDocument, width: int) -> Iterator[Text]:
    """Yield the report of a run: figures, timeline, and last the verdict and the thresholds.

    What matters most comes last: a terminal still shows the end of a report when the command has ended.
    """
    summary = document.summary
    yield from paragraph(_what(document), width, first=cell("Run", NAME))
    for line in paragraph(_request_words(document), width, first=cell("Requests", NAME)):
        if summary.requests.failed:
            line.highlight_words([_failed_words(summary.requests)], Palette.BAD)
        yield line
    for words, count in errors_in_words(summary.requests).most_common():
        often = f"{cell('', NAME)}{format_count(count)} {Glyph.NO} "
        yield from paragraph(words, width, first=(often, Palette.BAD))
    if summary.requests.statuses:
        statuses = ", ".join(f"{one}: {format_count(count)}" for one, count in summary.requests.statuses.items())
        bodies = f"{format_bytes(summary.requests.bytes)} of bodies"
        yield from paragraph(f"{statuses}; {bodies}", width, first=cell("Answers", NAME))
    if summary.tasks.accepted:
        yield from paragraph(_task_words(summary.tasks), width, first=cell("Tasks", NAME))
    yield from statistics_table(_times(document), width)
    response = summary.response_s
    if response and response.count >= 20 and summary.histogram:
        yield row("")
        yield row((cell("Response times", NAME), Palette.BOLD))
        yield from histogram(summary.histogram, width)
    yield from _client_lines(document, width)
    if document.requests and len(document.requests) <= DRAWN_REQUESTS:
        yield row("")
        yield from timeline([document], width)
    yield from note_lines(document, width)
    if document.verdict:
        yield row("")
        yield from paragraph(document.verdict, width, Palette.BOLD)
    yield from threshold_lines(document.thresholds or (), width)


def comparison_report(document: ComparisonDocument, width: int, *, whole: bool = False) -> Iterator[Text]:
    """Yield a comparison: the picture, the table, a line for each mode, the recommendation, the thresholds.

    The picture has a bar for each request if everything then fits a screen, or if `whole`; otherwise one for each mode.
    The warm-up and the intervals come first: they may scroll away.
    """
    if warm_up := next((run.warm_up for run in document.runs if run.warm_up), None):
        yield from paragraph(f"Each server was {warm_up_words(warm_up)}.", width, Palette.DIM)
    yield from interval_lines(document, width)
    yield row("")
    modes = by_mode(document.runs)
    if any(run.requests for run in document.runs):
        fits = height(document.runs) + 2 * len(modes) + AROUND <= SCREEN
        yield from (timeline if whole or fits else overview)(document.runs, width)
    yield from comparison_heading(width)
    for mode, runs in modes.items():
        yield row((cell(mode, NAME), Palette.BOLD), *comparison_cells(runs, width))
    yield from note_lines(document, width)
    said = grouped((verdict.short or verdict.text, verdict.mode) for verdict in document.verdicts)
    if said:
        yield row("")
    for text, sharing in said.items():
        yield from _headed(cell(", ".join(sharing) + ":", width).rstrip(), text, width)
    if recommendation := document.recommendation:
        yield row("")
        if document.recommendations and not recommendation.need:
            yield from _question_lines(document.recommendations, most_computing(document.runs), width)
        yield from recommendation_lines(recommendation, width)
    yield from threshold_lines(document.thresholds or (), width)


def note_lines(document: AnyDocument, width: int) -> Iterator[Text]:
    """Yield, after an empty line, the notes on a document of any kind."""
    for place, note in enumerate(notes(document)):
        if not place:
            yield row("")
        style = Palette.DOUBT if note.is_doubt else Palette.DIM
        yield from paragraph(note.text, width, style, first=cell(note.about, NAME + 1) if note.about else "")


def threshold_lines(thresholds: Sequence[ThresholdRow], width: int) -> Iterator[Text]:
    """Yield, after an empty line, each threshold with its measured value, and whether it is met."""
    if thresholds:
        yield row("")
    for threshold in thresholds:
        sign, style = NO if threshold.held else YES
        yield from paragraph(threshold.text, width, first=(f"{sign} ", style))


def _what(document: RunDocument) -> str:
    what = document.mode or document.app
    words = f"{what} at {describe_request(document)}" if what else describe_request(document)
    if document.rate is not None:
        words += f", {format_count(document.rate)} requests/s"
    elif document.concurrency is not None and document.count != 1:
        words += f", {format_count(document.concurrency)} at once"
    if document.work:
        words += f", work: {describe_work(document.work, document.duration_s)}"
    return words


def _request_words(document: RunDocument) -> str:
    summary = document.summary
    words = f"{format_count(summary.requests.ok)} ok, {_failed_words(summary.requests)}"
    if not document.interrupted:  # the verdict says when an interrupted run ended
        words += f" in {format_seconds(summary.wall_s)}"
    if not document.is_burst:  # whose rate says no more than its duration
        words += f", {format_count(summary.requests_per_s)} answers/s"
    return words


def _failed_words(requests: RequestCounts) -> str:
    return f"{format_count(requests.failed)} failed"


def _task_words(tasks: TaskCounts) -> str:
    states = [state for state in STATES if getattr(tasks, state)]
    words = [
        f"{format_count(tasks.accepted)} accepted",
        f"{format_count(tasks.finished)} finished",
        *(f"{format_count(getattr(tasks, state))} {state}" for state in states),
    ]
    if tasks.begun > tasks.accepted:
        words.append(f"begun {format_count(tasks.begun)} times")
    if (at_once := ran_at_once(tasks)) is None:
        return ", ".join(words) + "; when they began is not known"
    return ", ".join(words) + f"; at most {format_count(at_once)} ran at once"


def _times(document: RunDocument) -> dict[str, Time]:
    """Return the lines of the statistics table; phases of a response only where they matter."""
    times = times_of(document.summary)
    longest = times["response_s"].values.max if "response_s" in times else math.inf
    little = {name for name in ("wait_s", "transfer_s") if name in times and times[name].values.max < longest * TELLING}
    left_out = {"first_byte_s", "queue_s", "work_s"} | little
    # At a rate, the wait to be sent is part of the response; otherwise it is the connecting, which comes before it.
    parts = {"failed_s", "transfer_s", "bystander_threads_s", *(["wait_s"] if document.summary.corrected_s else [])}
    return {
        f"  {time.label.lower()}" if name in parts else time.label: time
        for name, time in times.items()
        if name not in left_out
    }


def _client_lines(document: RunDocument, width: int) -> Iterator[Text]:
    """Yield the client's own cost; the verdict says what that means for the figures."""
    client = document.summary.client
    facts = []
    if client.cpu_share is not None:
        facts.append(f"{format_share(client.cpu_share)} of a core")
    if client.loop_lag_p99_s is not None:
        facts.append(f"event loop late by {format_seconds(client.loop_lag_p99_s)} (p99)")
    if client.overhead_s is not None:
        facts.append(f"a server that does nothing answers it in {format_seconds(client.overhead_s)}")
    yield row("")
    if facts:
        yield from paragraph(", ".join(facts), width, Palette.DIM, first=cell("Client", NAME))
    if document.warm_up:
        yield from paragraph(warm_up_words(document.warm_up), width, Palette.DIM, first=cell("Warm-up", NAME))


def _question_lines(found: Sequence[Recommendation], cpu_share: float | None, width: int) -> Iterator[Text]:
    """Yield a line for each question, with the mode for each of its needs, then what each of these modes gives up."""
    modes = {one.need: one.mode for one in found}
    wide = max(len(question) for question, _ in QUESTIONS) + 1
    for question, needs in QUESTIONS:
        answers = [f"it {computing(cpu_share)}"] if cpu_share is not None and COMPUTES_QUESTION in needs else []
        for name in dict.fromkeys(modes.get(need) for need in needs):
            named = ", ".join(need for need in needs if modes.get(need) == name)
            answers.append(f"{named}: {name or 'none of these'}")
        yield from _headed(f"{question:<{wide}}", "; ".join(answers), width)
    recommended = set(modes.values())
    for mode in MODES:
        if mode.name in recommended:
            yield from paragraph(f"gives up: {mode.given_up}", width, first=cell(mode.name, NAME + 1))


def recommendation_lines(recommendation: Recommendation, width: int) -> Iterator[Text]:
    """Yield which mode to use and why and, if needs were named, what it gives up and its code."""
    needs = f" for {recommendation.need}" if recommendation.need else ""
    if recommendation.mode is None:
        yield from paragraph(f"No recommendation{needs}: {recommendation.why}", width, Palette.DOUBT)
        return
    if not needs:
        yield from paragraph(f"Use {recommendation.mode}: {recommendation.why} {MORE}", width, Palette.GOOD)
        return
    yield from paragraph(f"Use {recommendation.mode}{needs}", width, Palette.GOOD + Palette.BOLD)
    yield from paragraph(recommendation.why, width)
    if recommendation.gives_up:
        basis = f" ({recommendation.basis})" if recommendation.basis else ""
        texts = "; ".join(recommendation.gives_up).rstrip(".")
        yield from paragraph(f"It gives up{basis}: {texts}.", width)
    yield row("")
    for line in recommendation.code.splitlines():
        # Never cut: users paste it. Wide lines fold.
        yield Text(escape(line), overflow="fold", no_wrap=False)


def _headed(head: str, text: str, width: int) -> Iterator[Text]:
    """Yield a text beside its heading, or below it if they do not fit into one line."""
    if len(head) + len(text) < width:
        yield row((f"{head} ", Palette.BOLD), escape(text))
    else:
        yield row((head, Palette.BOLD))
        yield from paragraph(text, width, first="  ")
