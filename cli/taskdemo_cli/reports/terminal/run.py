"""The report of a run: figures, timeline, verdict."""

import math
from collections.abc import Iterator
from typing import Final

from rich.text import Text

from taskdemo_cli.analysis.error_words import errors_in_words
from taskdemo_cli.analysis.rounds import STATES, Time, ran_at_once, times_of
from taskdemo_cli.documents.run import RequestCounts, RunDocument, TaskCounts, describe_request, describe_work
from taskdemo_cli.reports.notes import warm_up_words
from taskdemo_cli.reports.terminal.figures import histogram, statistics_table
from taskdemo_cli.reports.terminal.notes import note_lines, threshold_lines
from taskdemo_cli.reports.terminal.style import NAME, Glyph, Palette, cell, paragraph, row
from taskdemo_cli.reports.terminal.timeline import timeline
from taskdemo_cli.units import format_bytes, format_count, format_seconds, format_share

TELLING: Final = 0.1
"""Least share of the response from which a phase of it is shown; below, the first byte is nearly all of it."""
DRAWN_REQUESTS: Final = 500
"""A run of more requests has figures and a histogram, but no bars: those of a handful would say little."""


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
    words = [
        f"{format_count(tasks.accepted)} accepted",
        f"{format_count(tasks.finished)} finished",
        *(f"{format_count(count)} {state}" for state in STATES if (count := getattr(tasks, state))),
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
        facts.append(f"its event loop late by {format_seconds(client.loop_lag_p99_s)} (p99)")
    if client.overhead_s is not None:
        facts.append(f"a server that does nothing answers it in {format_seconds(client.overhead_s)}")
    yield row("")
    if facts:
        yield from paragraph(", ".join(facts), width, Palette.DIM, first=cell("Client", NAME))
    if document.warm_up:
        yield from paragraph(warm_up_words(document.warm_up), width, Palette.DIM, first=cell("Warm-up", NAME))
