"""A document as GitHub-flavoured Markdown for a pull request, readable as plain text too. Computes nothing."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from taskdemo_cli.analysis.rounds import (
    COLUMNS,
    NAMES,
    ROUNDS,
    by_mode,
    difference_words,
    figure_words,
    over_rounds,
    troubles,
)
from taskdemo_cli.analysis.scan import name_of_endpoint, outcome, told, waited
from taskdemo_cli.documents.capacity import CapacityDocument
from taskdemo_cli.documents.codec import AnyDocument
from taskdemo_cli.documents.comparison import ComparisonDocument
from taskdemo_cli.documents.limits import LimitsDocument, limit_name, limits_in
from taskdemo_cli.documents.run import RunDocument, Summary
from taskdemo_cli.documents.scan import EndpointRow, ScanDocument
from taskdemo_cli.reports.notes import Note, notes
from taskdemo_cli.units import format_count, format_rate, format_seconds
from taskdemo_server.contract.text import shortened

NOTHING: Final = "–"  # noqa: RUF001 # an en dash is meant
MARKUP: Final = re.compile(r"([\\`*\[\]#|~$]|(?<!\w)_|_(?!\w)|^[-+=>])")
"""Characters that may be Markdown syntax anywhere in a line, or at its start."""
LONGEST: Final = 600
"""Characters of a name or a command."""
LONGEST_TEXT: Final = 4000
"""Characters of a sentence; its parts from outside were shortened when it was made."""
SIGNS: Final = {"yes": "yes", "no": "**no**", "partly": "*partly*"}


def chunks(document: AnyDocument) -> Iterator[str]:
    """Yield the document as Markdown: the findings, the table, and the environment and command behind them."""
    thresholds = getattr(document, "thresholds", None) or ()
    yield from _list(f"**{'failed' if one.held else 'passed'}**: {escaped(one.text)}" for one in thresholds)
    said = list(notes(document))
    yield from _list(_note(one) for one in said if one.is_doubt)
    match document:
        case RunDocument():
            yield from _runs([document])
            if document.verdict:
                yield escaped(document.verdict) + "\n\n"
        case ComparisonDocument():
            yield from _recommendation(document)
            yield from _runs(document.runs)
            if document.rounds > 1:
                yield ROUNDS + "\n\n"
            yield from _intervals(document)
            yield from _list(f"{_code(one.mode)}: {escaped(one.text)}" for one in document.verdicts)
            yield from _needs(document)
        case LimitsDocument():
            yield from _limits(document)
        case CapacityDocument():
            yield from _capacities(document)
        case ScanDocument():
            yield from _endpoints(document)
    yield from _list(_note(one) for one in said if not one.is_doubt)
    told = (document.environment.get(name) for name in ("python", "platform"))
    words = [f"taskdemo {document.taskdemo}", *(text for text in told if isinstance(text, str))]
    yield f"<sub>{', '.join(map(escaped, words))}: {_code(document.command or 'taskdemo')}</sub>\n"


def _recommendation(document: ComparisonDocument) -> Iterator[str]:
    if recommendation := document.recommendation:
        needs = f" for {recommendation.need}" if recommendation.need else ""
        mode = f"Recommended{needs}: {recommendation.mode}" if recommendation.mode else f"No recommendation{needs}"
        yield f"**{escaped(mode)}.** {escaped(recommendation.why)}\n\n"
        if recommendation.gives_up:
            basis = f" ({escaped(recommendation.basis)})" if recommendation.basis else ""
            yield f"It gives up{basis}: {'; '.join(map(escaped, recommendation.gives_up))}\n\n"


def _needs(document: ComparisonDocument) -> Iterator[str]:
    if found := document.recommendations:
        rows = [
            [escaped(one.need), _cell(one.mode) if one.mode else NOTHING, escaped("; ".join(one.gives_up))]
            for one in found
        ]
        yield from _table(["need", "mode", "it gives up"], rows, left=3)


def _runs(runs: Sequence[RunDocument]) -> Iterator[str]:
    rows = [[_cell(mode), *_figures(group)] for mode, group in by_mode(runs).items()]
    yield from _table(["mode", *(NAMES[path] for path in COLUMNS), "trouble"], rows, left=1)


def _figures(runs: Sequence[RunDocument]) -> list[str]:
    return [
        *(NOTHING if (value := over_rounds(runs, path)) is None else figure_words(path, value) for path in COLUMNS),
        ", ".join(f"{format_count(count)} {what}" for what, count in troubles(runs).items()) or "none",
    ]


def _intervals(document: ComparisonDocument) -> Iterator[str]:
    """Yield, for several rounds, each median response's interval and its difference to the reference."""
    rows = []
    for one in document.intervals:
        if one.figure == "response_s.p50":
            against = ", ".join(difference_words(one.difference)) if one.difference else NOTHING
            rows.append([_cell(one.mode), f"{format_seconds(one.low)} {NOTHING} {format_seconds(one.high)}", against])
    heading = ["mode", "response p50, 95 % interval", f"against {document.reference}"]
    if rows:
        columns = 3 if any(against != NOTHING for *_, against in rows) else 2
        yield from _table(heading[:columns], [cells[:columns] for cells in rows], left=1)


def _limits(document: LimitsDocument) -> Iterator[str]:
    modes = document.modes
    rows = [
        [limit_name(limit), *(SIGNS[cells[limit].verdict] if limit in cells else NOTHING for cells in modes.values())]
        for limit in limits_in(modes)
    ]
    yield from _table(["can it ...", *map(_cell, modes)], rows, left=1 + len(modes))
    told = [
        (mode, f"{limit_name(limit)}: {cell.text}") for mode, cells in modes.items() for limit, cell in cells.items()
    ]
    yield from _list(f"{_code(mode)}, {escaped(text)}" for mode, text in told)


def _capacities(document: CapacityDocument) -> Iterator[str]:
    rows = []
    for name, found in document.modes.items():
        rates = (found.sustained_per_s, found.failed_at_per_s, found.expected_per_s)
        sustained, *others = (NOTHING if rate is None else format_rate(rate) for rate in rates)
        at_least = "at least " if found.is_at_least else ""
        rows.append([_cell(name), at_least + sustained, *others, found.cause])
    yield from _table(["mode", "sustained", "gave in at", "arithmetic says", "what gave in"], rows, left=1)
    yield from _list(f"{_code(name)}: {escaped(found.text)}" for name, found in document.modes.items())


def _endpoints(document: ScanDocument) -> Iterator[str]:
    rows = document.endpoints
    yield f"**{escaped(document.verdict)}**\n\n"
    yield from _table(
        ["endpoint", "requests", "failed", "response p50", "others waited", "seen"],
        [_endpoint(one, one.summary) for one in rows if one.summary is not None],
        left=1,
    )
    findings = [([*map(name_of_endpoint, alike)], f": {escaped(text)}") for _, alike, text in told(rows)]
    findings += [([name_of_endpoint(one)], f" was not called: {escaped(one.skipped)}") for one in rows if one.skipped]
    yield from _list(f"{', '.join(map(_code, names))}{text}" for names, text in findings)


def _endpoint(endpoint: EndpointRow, summary: Summary) -> list[str]:
    requests, response, others, kind = summary.requests, summary.response_s, waited(endpoint), outcome(endpoint)
    return [
        _cell(name_of_endpoint(endpoint)),
        format_count(requests.total),
        format_count(requests.failed),
        format_seconds(response.p50) if response else NOTHING,
        format_seconds(others) if others is not None else NOTHING,
        f"**{kind}**" if kind == "blocks" else kind,
    ]


def _note(note: Note) -> str:
    return f"{_code(note.about)} {escaped(note.text)}" if note.about else escaped(note.text)


def _list(entries: Iterable[str]) -> Iterator[str]:
    """Yield the entries as a list, if there are any."""
    lines = [f"- {entry}\n" for entry in entries]
    yield from [*lines, "\n"] if lines else ()


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> Iterator[str]:
    """Yield a table whose columns are aligned in the source too; all but the first `left` are figures."""
    widths = [max(3, *(len(line[at]) for line in (headings, *rows))) for at in range(len(headings))]
    rule = ["-" * width if at < left else "-" * (width - 1) + ":" for at, width in enumerate(widths)]
    for line in (headings, rule, *rows):
        cells = (
            text.ljust(width) if at < left else text.rjust(width)
            for at, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        yield f"| {' | '.join(cells)} |\n"
    yield "\n"


def escaped(text: str) -> str:
    """Return outside text escaped for Markdown to show it literally: no markup, no HTML, no link, no mention."""
    shown = shortened(text, LONGEST_TEXT).replace("&", "&amp;").replace("<", "&lt;")
    return MARKUP.sub(r"\\\1", shown).replace("@", "@<!-- -->").replace("://", ":<!-- -->//")


def _cell(text: str) -> str:
    """Return outside text as a code span for a table, where `|` must be escaped even in code."""
    return _code(text).replace("|", "\\|")


def _code(text: str) -> str:
    """Return outside text as a code span, in which nothing is a mention or a link."""
    shown = shortened(text, LONGEST)
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    space = " " if shown.startswith("`") or shown.endswith("`") or not shown.strip() else ""
    return f"{ticks}{space}{shown}{space}{ticks}"
