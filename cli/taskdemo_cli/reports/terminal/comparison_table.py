"""The table that puts modes side by side, live and final, and what several rounds say about its figures.

Draws run and comparison documents and computes nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, Literal

from rich.style import Style
from rich.text import Text

from taskdemo_cli.documents.types import ComparisonDocument, Interval, RunDocument
from taskdemo_cli.reports.terminal.style import BAD, BOLD, DIM, PLAIN, Glyphs, cell, row
from taskdemo_cli.units import format_count, format_seconds

NAME: Final = 16
"""Columns of a mode's name."""
STATES: Final[tuple[Literal["failed", "cancelled", "lost", "unfinished"], ...]] = (
    "failed",
    "cancelled",
    "lost",
    "unfinished",
)
HEADINGS: Final = (
    ("response", "p50"),
    ("response", "max"),
    ("tasks", "ended"),
    ("ran at", "once"),
    ("/ping", "max"),
)


def _widths(width: int) -> tuple[int, ...]:
    """Return the columns of the figures in a terminal of this width."""
    return (10, 10, 9, 8, 9) if width >= 79 else (9, 9, 8, 7, 8)


def comparison_heading(width: int) -> Iterator[Text]:
    """Yield the two lines over a comparison."""
    for line in (0, 1):
        headings = (cell(heading[line], size, "right") for heading, size in zip(HEADINGS, _widths(width), strict=True))
        name, trouble = ("mode", "trouble") if line else ("", "")
        yield row((f"{name:<{NAME}}{''.join(headings)}  {trouble}", DIM))


def comparison_cells(
    runs: Sequence[RunDocument], width: int, glyphs: Glyphs, means: Mapping[str, float] | None = None
) -> Iterator[tuple[str, Style]]:
    """Yield the figures of one mode, under `comparison_heading`, and what went wrong.

    Of several rounds, the median in `means` is given as it is there, the others as the largest of the rounds.
    """
    means = means or {}
    summaries = [run["summary"] for run in runs]
    responses = [summary["response_s"] for summary in summaries if summary["response_s"]]
    pings = [summary["bystander_s"]["max"] for summary in summaries if summary["bystander_s"]]
    ended = [last for summary in summaries if (last := summary["tasks"]["last_ended_s"]) is not None]
    figures = (
        _largest(means.get("response_s.p50"), [response["p50"] for response in responses]),
        _largest(None, [response["max"] for response in responses]),
        _largest(None, ended),
        None if not ended else format_count(max(summary["tasks"]["max_parallel"] for summary in summaries)),
        _largest(None, pings),
    )
    for figure, size in zip(figures, _widths(width), strict=True):
        yield cell(figure or glyphs.dash, size, "right"), PLAIN
    counts = {"not ok": sum(summary["requests"]["failed"] for summary in summaries)}
    counts |= {state: sum(summary["tasks"][state] for summary in summaries) for state in STATES}
    words = [f"{format_count(count)} {what}" for what, count in counts.items() if count]
    room = width - NAME - sum(_widths(width)) - 2
    yield "  ", PLAIN
    yield cell(", ".join(words) or "none", max(room, 0)).rstrip(), BAD if words else DIM


def _largest(mean: float | None, values: Sequence[float]) -> str | None:
    if mean is not None:
        return format_seconds(mean)
    return format_seconds(max(values)) if values else None


def interval_lines(document: ComparisonDocument, width: int, glyphs: Glyphs) -> Iterator[Text]:
    """Yield, for several rounds, where the median response lies, and whether its difference is more than noise."""
    entries = [entry for entry in document["intervals"] if entry["figure"] == "response_s.p50"]
    if not entries:
        return
    yield row("")
    yield row((f"{cell('', NAME)} p50, 95 % interval  against {cell(document['reference'], width - NAME - 29)}", DIM))
    for entry in entries:
        span = f"{format_seconds(entry['low'])} {glyphs.dash} {format_seconds(entry['high'])}"
        yield row((cell(entry["mode"], NAME), BOLD), f" {span:<19} ", *_against(entry))


def _against(entry: Interval) -> Iterator[tuple[str, Style]]:
    difference = entry["difference"]
    if difference is None:
        yield " -", DIM
        return
    sign = "+" if difference["mean"] > 0 else ""
    yield f" {sign}{format_seconds(difference['mean'])}".ljust(11), PLAIN
    yield ("within noise", DIM) if difference["within_noise"] else ("beyond noise", PLAIN)
