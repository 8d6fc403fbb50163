"""A scan on the terminal: the table of endpoints while it fills, and at the end what matters, the worst last."""

import time
from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import RenderableType
from rich.style import Style
from rich.text import Text

from taskdemo_cli.analysis.blocking.sentence import brief
from taskdemo_cli.analysis.routes import Route
from taskdemo_cli.analysis.scan import TOLD, Outcome, by_outcome, name_of_endpoint, outcome, waited
from taskdemo_cli.documents.scan import EndpointRow, ScanDocument
from taskdemo_cli.recording.live import Live
from taskdemo_cli.recording.recorder import Recorder
from taskdemo_cli.reports.terminal.painter import Block, PlainLines, screens
from taskdemo_cli.reports.terminal.run_frame import progress_cells, progress_words
from taskdemo_cli.reports.terminal.style import WIDEST, Drawing, Glyphs, Palette, cell, paragraph, row
from taskdemo_cli.stats import grouped
from taskdemo_cli.units import format_count, format_seconds

MOST_ROWS: Final = 24
LEAST_NAME: Final = 16
FIGURES: Final = (9, 10, 14)
"""Columns of the answers, the median response and what others waited."""
HEADINGS: Final = ("answers", "p50", "others waited")
WORDS: Final[dict[Outcome, str]] = {
    "blocks": "holds up everybody",
    "look": "does not block, but see the end",
    "not reached": "not reached",
    "quiet": "quiet",
    "skipped": "not called",
}


def scan_report(document: ScanDocument) -> RenderableType:
    """Return what a scan has found: what was not called, the quiet ones in one line, then what is to be looked at."""
    return Drawing(lambda width, glyphs: _report_lines(document, width, glyphs))


def _report_lines(document: ScanDocument, width: int, glyphs: Glyphs) -> Iterator[Text]:
    groups = by_outcome(document.endpoints)
    yield from _skipped_lines(groups["skipped"], width)
    if quiet := groups["quiet"]:
        longest = max(quiet, key=lambda one: waited(one) or 0.0)
        beside = f" (others waited {words})" if (words := _waited_words(longest)) else ""
        yield from paragraph(
            f"{', '.join(map(name_of_endpoint, quiet))}{beside}", width, Palette.PLAIN, f"{glyphs.yes} Quiet: ", "  "
        )
    for kind in reversed(TOLD):
        for endpoint in groups[kind]:
            yield row("")
            yield row((f"{_sign(kind, glyphs)[0]} ", _sign(kind, glyphs)[1]), *_title(endpoint, width - 2))
            yield from paragraph(endpoint.text, width, Palette.PLAIN, "  ")
    yield row("")
    if document.interrupted:
        yield from paragraph("Interrupted: this is what was found by then.", width, Palette.DOUBT)
    yield from paragraph(document.verdict, width, Palette.BOLD)


def _skipped_lines(endpoints: Sequence[EndpointRow], width: int) -> Iterator[Text]:
    by_reason = grouped((endpoint.skipped or "", endpoint) for endpoint in endpoints)
    if by_reason:
        yield row(("Not called", Palette.BOLD))
    for why, sharing in by_reason.items():
        yield from paragraph(f"{', '.join(map(name_of_endpoint, sharing))}: {why}", width, Palette.DIM, "  ", "    ")
    if by_reason:
        yield row("")


def _title(endpoint: EndpointRow, width: int) -> Iterator[tuple[str, Style]]:
    """Yield the name of an endpoint, what was asked for where that is not the same, and what its burst came to."""
    asked = f" (asked for {endpoint.target})" if endpoint.target not in {None, endpoint.path} else ""
    shown = cell(name_of_endpoint(endpoint) + asked, width).rstrip()
    yield shown, Palette.BOLD
    if summary := endpoint.summary:
        words = f"  {format_count(summary.requests.ok + summary.requests.failed, 'request')}"
        yield words if len(shown) + len(words) <= width else "", Palette.DIM


def _sign(kind: Outcome, glyphs: Glyphs) -> tuple[str, Style]:
    return {
        "blocks": (glyphs.no, Palette.BAD),
        "look": (glyphs.partly, Palette.DOUBT),
        "not reached": (glyphs.partly, Palette.DOUBT),
        "quiet": (glyphs.yes, Palette.GOOD),
        "skipped": (glyphs.dash, Palette.DIM),
    }[kind]


def _heading(longest: int, width: int) -> Text:
    figures = (cell(heading, size, "right") for heading, size in zip(HEADINGS, FIGURES, strict=True))
    seen = cell("  seen", max(width - 2 - longest - sum(FIGURES), 0))
    return row((f"  {cell('endpoint', longest)}{''.join(figures)}{seen}", Palette.DIM))


def _endpoint_cells(endpoint: EndpointRow, longest: int, width: int, glyphs: Glyphs) -> Iterator[tuple[str, Style]]:
    kind = outcome(endpoint)
    sign, style = _sign(kind, glyphs)
    yield f"{sign} ", style
    yield cell(name_of_endpoint(endpoint), longest), Palette.BOLD if kind == "blocks" else Palette.PLAIN
    if endpoint.summary is None or endpoint.blocking is None:
        yield f"  {cell(endpoint.skipped or '', max(width - longest - 4, 0)).rstrip()}", Palette.DIM
        return
    response, others = endpoint.summary.response_s, waited(endpoint)
    figures = (
        format_count(response.count if response else 0),
        format_seconds(response.p50) if response else glyphs.dash,
        glyphs.dash if others is None else format_seconds(others),
    )
    for figure, size in zip(figures, FIGURES, strict=True):
        yield cell(figure, size, "right"), Palette.PLAIN
    words = brief(endpoint.blocking) if kind != "quiet" else ""
    yield f"  {cell(words, max(width - longest - sum(FIGURES) - 4, 0)).rstrip()}", style


class ScanScreen:
    """A scan on a terminal: the newest rows of the table, those that block among them in any case."""

    def __init__(self, block: Block, title: str, routes: Sequence[Route]) -> None:
        self._block = block
        self._title = title
        self._glyphs = block.glyphs
        self._total = sum(route.skipped is None for route in routes)
        self._longest = max([LEAST_NAME, *(len(f"{one.method} {one.path}") for one in routes if one.skipped is None)])
        self._done: list[EndpointRow] = []
        self._running: Route | None = None
        self._began = time.monotonic()
        self._paint(None, self._began)

    def start(self, route: Route) -> None:
        """Say that this endpoint is called now."""
        self._running = route
        self._paint(None, time.monotonic())

    def update(self, source: Recorder, now: float) -> None:
        """Show how far the burst is at `now`, the client's monotonic clock."""
        self._paint(source.live(now, 1), now)

    def done(self, endpoint: EndpointRow) -> None:
        """Put what was found into its row."""
        self._running = None
        if endpoint.skipped is None:
            self._done.append(endpoint)
            self._paint(None, time.monotonic())

    def _paint(self, live: Live | None, now: float) -> None:
        width = min(self._block.width, WIDEST)
        longest = min(self._longest, max(LEAST_NAME, (width - sum(FIGURES)) // 2))
        lines = [
            row((cell(self._title, width - 10), Palette.BOLD), f"{now - self._began:8.1f} s"),
            row((f"{len(self._done)} of {format_count(self._total, 'endpoint')}", Palette.DIM)),
            _heading(longest, width),
        ]
        lines += [row(*_endpoint_cells(one, longest, width, self._glyphs)) for one in self._shown()]
        if self._running is not None:
            asked = f"{self._running.method} {self._running.path}"
            bar = list(progress_cells(live, None, 16, self._glyphs)) if live else []
            words = cell(progress_words(live) if live else "", max(width - longest - 22, 0)).rstrip()
            lines.append(
                row((f"{self._glyphs.open} {cell(asked, longest)}  ", Palette.BOLD), *bar, (f"  {words}", Palette.DIM))
            )
        self._block.paint(lines)

    def _shown(self) -> list[EndpointRow]:
        room = max(min(self._block.height, MOST_ROWS) - 4, 1)
        blocking_ones = [one for one in self._done if outcome(one) == "blocks"][-room:]
        others = [one for one in self._done if outcome(one) != "blocks"][len(blocking_ones) - room :]
        kept = [*blocking_ones, *others] if len(blocking_ones) < room else blocking_ones
        return [one for one in self._done if one in kept]


class PlainScan(PlainLines):
    """A scan as plain lines, one for each endpoint that is through."""

    def start(self, route: Route) -> None:
        """Nothing: an endpoint is told when it is through."""

    def done(self, endpoint: EndpointRow) -> None:
        """Say what was found of an endpoint that was called."""
        if endpoint.skipped is None:
            told = f", others waited {words}" if (words := _waited_words(endpoint)) else ""
            self._say(f"  {name_of_endpoint(endpoint)}: {WORDS[outcome(endpoint)]}{told}")


def _waited_words(endpoint: EndpointRow) -> str:
    """Return how long others waited beside an endpoint, and that it was the machine where that explains it."""
    if (longest := waited(endpoint)) is None:
        return ""
    busy = endpoint.blocking is not None and endpoint.blocking.processor_wait_s is not None
    return f"{format_seconds(longest)} at most{': the machine was busy' if busy else ''}"


scan_screen = screens(ScanScreen, PlainScan)
"""The screen of a scan."""
