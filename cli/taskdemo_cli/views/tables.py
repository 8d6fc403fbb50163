"""The final screens: the report of a run, and the comparison of modes. Draws documents and computes nothing."""

import io
from collections.abc import Iterator, Sequence
from typing import Final, Literal, Protocol

from rich.console import Console, Group, RenderableType
from rich.style import Style
from rich.text import Text

from taskdemo_cli.documents import ComparisonDocument, RunDocument, Statistics, Summary, TaskCounts
from taskdemo_cli.views.figures import histogram, statistics_table
from taskdemo_cli.views.ink import (
    BAD,
    BOLD,
    DIM,
    DOUBT,
    GOOD,
    PLAIN,
    Drawing,
    Glyphs,
    cell,
    duration,
    number,
    paragraph,
    row,
)
from taskdemo_cli.views.timeline import timeline

NAME: Final = 16
"""Columns of a mode's name."""
STATES: Final[tuple[Literal["finished", "failed", "cancelled", "lost", "unfinished"], ...]] = (
    "finished",
    "failed",
    "cancelled",
    "lost",
    "unfinished",
)
TELLING: Final = 0.1
"""A phase of the response is shown from this share of the whole on; before that the first byte is all of it."""
DRAWN_REQUESTS: Final = 500
"""A run of more requests is told by its figures and its histogram; bars of a handful of them would say little."""


class Threshold(Protocol):
    """One `--fail-if` with what was measured, in words."""

    @property
    def expression(self) -> str:
        """As the user wrote it."""
        ...

    @property
    def measured(self) -> str:
        """The measured value with its unit."""
        ...

    @property
    def held(self) -> bool:
        """Whether the condition to fail held."""
        ...


def print_run(
    console: Console, document: RunDocument, verdict: str | None = None, thresholds: Sequence[Threshold] = ()
) -> None:
    """Print the report of a run; `verdict` is the sentence that says what was seen."""
    console.print(run_report(document, verdict, thresholds))


def print_comparison(console: Console, document: ComparisonDocument, thresholds: Sequence[Threshold] = ()) -> None:
    """Print a comparison: its table, the timeline, and what was seen of each mode."""
    console.print(comparison_report(document, thresholds))


def picture(report: RenderableType, title: str, width: int = 100) -> str:
    """Return a report as the SVG picture of a terminal; it fetches nothing from anywhere."""
    console = Console(
        file=io.StringIO(),
        record=True,
        width=width,
        force_terminal=True,
        color_system="truecolor",
        legacy_windows=False,
        no_color=False,
        markup=False,
        emoji=False,
        highlight=False,
    )
    console.print(report)
    return console.export_svg(title=title)


def run_report(
    document: RunDocument, verdict: str | None = None, thresholds: Sequence[Threshold] = ()
) -> RenderableType:
    """Return the report of a run: thresholds, what was seen, figures, timeline."""
    parts: list[RenderableType] = [
        Drawing(lambda width, glyphs: _run_lines(document, verdict, thresholds, width, glyphs))
    ]
    if document["requests"] and len(document["requests"]) <= DRAWN_REQUESTS:
        parts += ["", timeline([document])]
    return Group(*parts)


def comparison_report(document: ComparisonDocument, thresholds: Sequence[Threshold] = ()) -> RenderableType:
    """Return a comparison: thresholds, the table, the timeline, a sentence for each mode."""
    return Group(
        Drawing(lambda width, glyphs: _comparison_lines(document, thresholds, width, glyphs)),
        "",
        timeline(document["runs"]),
        "",
        Drawing(lambda width, glyphs: _verdict_lines(document, width, glyphs)),
    )


def threshold_lines(thresholds: Sequence[Threshold], width: int, glyphs: Glyphs) -> Iterator[Text]:
    """Yield each threshold with its measured value, and whether it held; then an empty line."""
    for threshold in thresholds:
        sign, style = (glyphs.no, BAD) if threshold.held else (glyphs.yes, GOOD)
        said = "held, so this fails" if threshold.held else "did not hold"
        text = f"{threshold.expression}: {said}; measured {threshold.measured}"
        lines = list(paragraph(text, width, PLAIN, "  "))
        lines[0] = row((f"{sign} ", style), lines[0].plain[2:])
        yield from lines
    if thresholds:
        yield row("")


def _run_lines(
    document: RunDocument, verdict: str | None, thresholds: Sequence[Threshold], width: int, glyphs: Glyphs
) -> Iterator[Text]:
    summary = document["summary"]
    yield from threshold_lines(thresholds, width, glyphs)
    if verdict:
        yield from paragraph(verdict, width, BOLD)
        yield row("")
    yield from _trouble_lines(document, width)
    yield from paragraph(_what(document), width, first=cell("Run", NAME))
    yield row((cell("Requests", NAME), BOLD), *_request_words(summary))
    if summary["tasks"]["accepted"]:
        yield from paragraph(_task_words(summary["tasks"]), width, first=cell("Tasks", NAME))
    for kind, count in sorted(summary["requests"]["errors"].items(), key=lambda error: -error[1]):
        yield row(
            (cell("", NAME), PLAIN), (f"{number(count)} {glyphs.no} ", BAD), cell(kind, width - NAME - 12).rstrip()
        )
    yield row("")
    yield from statistics_table(_statistics(document), width, glyphs)
    response = summary["response_s"]
    if response and response["count"] >= 20 and summary["histogram"]:
        yield row("")
        yield row((cell("Response times", NAME), BOLD))
        yield from histogram(summary["histogram"], width, glyphs)
    yield from _client_lines(document, width)


def _what(document: RunDocument) -> str:
    """Return which server was asked how, as words."""
    words = f"{document['mode']} at {document['url']}" if document["mode"] else document["url"]
    if document["rate"] is not None:
        words += f", {number(document['rate'])} requests/s"
    elif document["concurrency"] is not None:
        words += f", {number(document['concurrency'])} at once"
    if document["work"]:
        words += f", work: {document['work']}"
        if document["duration_s"] is not None and document["work"] in {"sleep", "cpu"}:
            words += f" of {duration(document['duration_s'])}"
    return words


def _request_words(summary: Summary) -> Iterator[tuple[str, Style]]:
    requests = summary["requests"]
    yield f"{number(requests['ok'])} ok, ", PLAIN
    yield f"{number(requests['failed'])} failed", BAD if requests["failed"] else PLAIN
    if summary["wall_s"] is not None:
        yield f" in {duration(summary['wall_s'])}", PLAIN
    if summary["requests_per_s"] is not None:
        yield f", {number(summary['requests_per_s'])} requests/s", PLAIN


def _task_words(tasks: TaskCounts) -> str:
    states = [state for state in STATES if tasks[state] or state == "finished"]
    words = [f"{number(tasks['accepted'])} accepted", *(f"{number(tasks[state])} {state}" for state in states)]
    return ", ".join(words) + f"; at most {number(tasks['max_parallel'])} ran at once"


def _trouble_lines(document: RunDocument, width: int) -> Iterator[Text]:
    """Yield why a run is not a whole one."""
    said = []
    if document["interrupted"]:
        said.append("Interrupted: these are the figures up to then.")
    if document["timed_out"]:
        said.append("Timed out: --timeout ended this run before it was through.")
    if document["ended_because"] is not None:
        said.append(document["ended_because"])
    if document["not_sent"]:
        said.append(f"{number(document['not_sent'])} requests were never sent.")
    if document["unreported"]:
        said.append(f"What became of {number(document['unreported'])} requests that were sent is not known.")
    if document["late_sends"]:
        said.append(f"{number(document['late_sends'])} requests could not be sent at their planned time.")
    for text in said:
        yield from paragraph(text, width, DOUBT)
    if said:
        yield row("")


def _statistics(document: RunDocument) -> list[tuple[str, Statistics | None]]:
    """Return the lines of the statistics table; the phases of a response only where they say something."""
    summary = document["summary"]
    response = summary["response_s"]
    rows: list[tuple[str, Statistics | None]] = [("Response", response), ("from its plan", summary["corrected_s"])]
    phases = (("  to be sent", summary["wait_s"]), ("  rest of body", summary["transfer_s"]))
    for label, values in phases:
        if response is not None and values is not None and values["max"] >= response["max"] * TELLING:
            rows.append((label, values))
    rows.append(("Task ended after", summary["completion_s"]))
    rows.append(("GET /ping", summary["bystander_s"]))
    return rows


def _client_lines(document: RunDocument, width: int) -> Iterator[Text]:
    """Yield how far the figures can be trusted."""
    client = document["summary"]["client"]
    facts = []
    if client["cpu_share"] is not None:
        facts.append(f"{client['cpu_share']:.0%} of a core")
    if client["loop_lag_p99_s"] is not None:
        facts.append(f"event loop late by {duration(client['loop_lag_p99_s'])} (p99)")
    if client["overhead_s"] is not None:
        facts.append(f"{duration(client['overhead_s'])} of each response are its own")
    if document["transport"] == "httpx":
        facts.append("through httpx's own transport")
    yield row("")
    if facts:
        yield from paragraph(", ".join(facts), width, DIM, first=cell("Client", NAME))
    if client["trusted"] is False:
        text = "Not to be trusted: these figures are the client's rather than the server's."
        yield from paragraph(text, width, DOUBT, first=cell("", NAME) if facts else "")


def _comparison_lines(
    document: ComparisonDocument, thresholds: Sequence[Threshold], width: int, glyphs: Glyphs
) -> Iterator[Text]:
    yield from threshold_lines(thresholds, width, glyphs)
    yield from comparison_heading(width)
    for run in document["runs"]:
        yield row((cell(run["mode"] or "", NAME), BOLD), *comparison_cells(run, width, glyphs))
    for skipped in document["skipped"]:
        yield from paragraph(f"skipped: {skipped['why']}", width, DIM, first=cell(skipped["mode"], NAME + 1))


HEADINGS: Final = (
    ("response", "p50"),
    ("response", "max"),
    ("tasks", "ended"),
    ("ran at", "once"),
    ("/ping", "max"),
)


def _widths(width: int) -> tuple[int, ...]:
    """Return the columns of the comparison's figures in a terminal of this width."""
    return (10, 10, 9, 8, 9) if width >= 79 else (9, 9, 8, 7, 8)


def comparison_heading(width: int) -> Iterator[Text]:
    """Yield the two lines over a comparison."""
    for line in (0, 1):
        headings = (cell(heading[line], size, "right") for heading, size in zip(HEADINGS, _widths(width), strict=True))
        name, trouble = ("mode", "trouble") if line else ("", "")
        yield row((f"{name:<{NAME}}{''.join(headings)}  {trouble}", DIM))


def comparison_cells(run: RunDocument, width: int, glyphs: Glyphs) -> Iterator[tuple[str, Style]]:
    """Yield the figures of one mode, under `comparison_heading`, and what went wrong."""
    summary = run["summary"]
    response, bystander, tasks = summary["response_s"], summary["bystander_s"], summary["tasks"]
    figures = (
        duration(response["p50"]) if response else glyphs.dash,
        duration(response["max"]) if response else glyphs.dash,
        duration(tasks["last_ended_s"]) if tasks["last_ended_s"] is not None else glyphs.dash,
        number(tasks["max_parallel"]) if tasks["accepted"] else glyphs.dash,
        duration(bystander["max"]) if bystander else glyphs.dash,
    )
    for figure, size in zip(figures, _widths(width), strict=True):
        yield cell(figure, size, "right"), PLAIN
    words = [
        f"{number(tasks[state])} {state}" for state in ("lost", "failed", "cancelled", "unfinished") if tasks[state]
    ]
    if summary["requests"]["failed"]:
        words.insert(0, f"{number(summary['requests']['failed'])} not ok")
    room = width - NAME - sum(_widths(width)) - 2
    yield "  ", PLAIN
    yield cell(", ".join(words) or "none", max(room, 0)).rstrip(), BAD if words else DIM


def _verdict_lines(document: ComparisonDocument, width: int, glyphs: Glyphs) -> Iterator[Text]:
    del glyphs
    for verdict in document["verdicts"]:
        yield from paragraph(verdict["text"], width, first=cell(verdict["mode"], NAME) + " ")
