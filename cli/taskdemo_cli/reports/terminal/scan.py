"""A scan on the terminal: the table of endpoints as it fills and, at the end, what matters, the worst last."""

from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Console
from rich.style import Style
from rich.text import Text

from taskdemo_cli.analysis.blocking.sentence import brief
from taskdemo_cli.analysis.routes import Route
from taskdemo_cli.analysis.scan import TOLD, VERDICTS, Outcome, by_outcome, name_of_endpoint, outcome, told, waited
from taskdemo_cli.documents.scan import EndpointRow, ScanDocument
from taskdemo_cli.recording.live import Live
from taskdemo_cli.recording.recorder import Recorder
from taskdemo_cli.reports.terminal.notes import note_lines
from taskdemo_cli.reports.terminal.painter import Screen
from taskdemo_cli.reports.terminal.run_frame import progress_cells, progress_words
from taskdemo_cli.reports.terminal.style import SIGNS, Glyph, Palette, cell, paragraph, row
from taskdemo_cli.stats import grouped
from taskdemo_cli.units import format_count, format_seconds

MOST_ROWS: Final = 24
MOST_NAMED: Final = 20
"""Endpoints to name in one sentence; a large application has hundreds."""
LEAST_NAME: Final = 16
FIGURES: Final = (9, 10, 14)
"""Widths of the columns for the answers, the median response and the wait of others."""
HEADINGS: Final = ("answers", "p50", "others waited")
WORDS: Final[dict[Outcome, str]] = {
    "blocks": "holds up everybody",
    "look": "does not block, but see the end",
    "not reached": "not reached",
    "quiet": "quiet",
}


def scan_report(document: ScanDocument, width: int) -> Iterator[Text]:
    """Yield a scan's findings: what was not called, the quiet endpoints in one line, then what needs attention."""
    groups = by_outcome(document.endpoints)
    yield from _skipped_lines(groups["skipped"], width)
    if quiet := groups["quiet"]:
        if groups["skipped"]:
            yield row("")
        longest = max(quiet, key=lambda one: waited(one) or 0.0)
        beside = f" (others waited {words})" if (words := _waited_words(longest)) else ""
        yield from paragraph(f"{_names(quiet)}{beside}", width, Palette.PLAIN, f"{Glyph.YES} Quiet: ", "  ")
    for kind, alike, text in sorted(told(document.endpoints), key=lambda one: -TOLD.index(one[0])):
        sign, style = SIGNS[VERDICTS[kind]]
        yield row("")
        if len(alike) == 1:
            yield row((sign, style), " ", *_title(alike[0], width - 2))
        else:
            yield from paragraph(_names(alike), width, Palette.BOLD, (f"{sign} ", style))
        yield from paragraph(text, width, Palette.PLAIN, "  ")
    yield from note_lines(document, width)
    yield row("")
    yield from paragraph(document.verdict, width, Palette.BOLD)


def _names(endpoints: Sequence[EndpointRow]) -> str:
    names, more = list(map(name_of_endpoint, endpoints[:MOST_NAMED])), len(endpoints) - MOST_NAMED
    return ", ".join(names) + (f" and {more} more (--html FILE lists all)" if more > 0 else "")


def _skipped_lines(endpoints: Sequence[EndpointRow], width: int) -> Iterator[Text]:
    by_reason = grouped((endpoint.skipped or "", endpoint) for endpoint in endpoints)
    if by_reason:
        yield row(("Not called", Palette.BOLD))
    for why, sharing in by_reason.items():
        yield from paragraph(f"{_names(sharing)}: {why}", width, Palette.DIM, "  ", "    ")


def _title(endpoint: EndpointRow, width: int) -> Iterator[tuple[str, Style]]:
    """Yield an endpoint's name, the requested path if it differs, and the number of requests in its burst."""
    asked = f" (asked for {endpoint.target})" if endpoint.target not in {None, endpoint.path} else ""
    shown = cell(name_of_endpoint(endpoint) + asked, width).rstrip()
    yield shown, Palette.BOLD
    if summary := endpoint.summary:
        words = f"  {format_count(summary.requests.total, 'request')}"
        yield words if len(shown) + len(words) <= width else "", Palette.DIM


def _heading(longest: int, width: int) -> Text:
    figures = (cell(heading, size, "right") for heading, size in zip(HEADINGS, FIGURES, strict=True))
    seen = cell("  seen", max(width - 2 - longest - sum(FIGURES), 0))
    return row((f"  {cell('endpoint', longest)}{''.join(figures)}{seen}", Palette.DIM))


def _endpoint_cells(endpoint: EndpointRow, longest: int, width: int) -> Iterator[tuple[str, Style]]:
    kind = outcome(endpoint)
    sign, style = SIGNS[VERDICTS[kind]]
    yield f"{sign} ", style
    yield cell(name_of_endpoint(endpoint), longest), Palette.BOLD if kind == "blocks" else Palette.PLAIN
    response, others = endpoint.summary and endpoint.summary.response_s, waited(endpoint)
    figures = (
        format_count(response.count if response else 0),
        format_seconds(response.p50) if response else Glyph.DASH,
        Glyph.DASH if others is None else format_seconds(others),
    )
    for figure, size in zip(figures, FIGURES, strict=True):
        yield cell(figure, size, "right"), Palette.PLAIN
    words = brief(endpoint.blocking) if endpoint.blocking and kind != "quiet" else ""
    yield f"  {cell(words, max(width - longest - sum(FIGURES) - 4, 0)).rstrip()}", style


class ScanScreen(Screen):
    """A scan: the newest rows of the table."""

    def __init__(self, console: Console, title: str, routes: Sequence[Route]) -> None:
        super().__init__(console, title)
        self._total = sum(route.skipped is None for route in routes)
        self._longest = max([LEAST_NAME, *(len(name_of_endpoint(one)) for one in routes if one.skipped is None)])
        self._done: list[EndpointRow] = []
        self._running: Route | None = None
        self._live: Live | None = None
        self._began: float | None = None
        self._elapsed_s = 0.0

    def start(self, route: Route) -> None:
        """Show that this endpoint is called now."""
        self._running, self._live = route, None
        self._show()

    def update(self, source: Recorder, now: float) -> None:
        """Show the burst's progress at `now`, in seconds on the client's monotonic clock."""
        self._live = source.live(now, 1)
        self._began = now if self._began is None else self._began
        self._elapsed_s = now - self._began
        self._show()

    def done(self, endpoint: EndpointRow) -> None:
        """Show the findings on an endpoint, if it was called."""
        self._running = None
        if endpoint.skipped is None:
            self._done.append(endpoint)
            told = f", others waited {words}" if (words := _waited_words(endpoint)) else ""
            self._show(f"  {name_of_endpoint(endpoint)}: {WORDS[outcome(endpoint)]}{told}")

    def _lines(self, width: int) -> Iterator[Text]:
        longest = min(self._longest, max(LEAST_NAME, (width - sum(FIGURES)) // 2))
        yield row((cell(self._title, width - 10), Palette.BOLD), f"{self._elapsed_s:8.1f} s")
        yield row((f"{len(self._done)} of {format_count(self._total, 'endpoint')}", Palette.DIM))
        yield _heading(longest, width)
        room = max(min(self._console.height - 1, MOST_ROWS) - 4, 1)
        for one in self._done[-room:]:
            yield row(*_endpoint_cells(one, longest, width))
        if self._running is not None:
            asked = name_of_endpoint(self._running)
            bar = progress_cells(self._live, None, 16) if self._live else ()
            words = cell(progress_words(self._live) if self._live else "", max(width - longest - 22, 0)).rstrip()
            yield row((f"{Glyph.OPEN} {cell(asked, longest)}  ", Palette.BOLD), *bar, (f"  {words}", Palette.DIM))


def _waited_words(endpoint: EndpointRow) -> str:
    """Return how long others waited during an endpoint's burst, and that the machine was busy if that explains it."""
    if (longest := waited(endpoint)) is None:
        return ""
    busy = endpoint.blocking is not None and endpoint.blocking.processor_wait_s is not None
    return f"{format_seconds(longest)} at most{': the machine was busy' if busy else ''}"
