"""A document as GitHub-flavoured Markdown for a pull request, that also reads well as it is. Computes nothing."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from taskdemo_cli.analysis.mode_summary import ran_at_once
from taskdemo_cli.analysis.rounds import COLUMNS, NAMES
from taskdemo_cli.analysis.scan import TOLD, by_outcome, name_of_endpoint, outcome, waited
from taskdemo_cli.documents.capacity import CapacityDocument
from taskdemo_cli.documents.codec import AnyDocument
from taskdemo_cli.documents.comparison import ComparisonDocument
from taskdemo_cli.documents.limits import LimitsDocument, limits_in
from taskdemo_cli.documents.run import RunDocument, Skipped, Summary, name_of
from taskdemo_cli.documents.scan import EndpointRow, ScanDocument
from taskdemo_cli.reports.error_words import shortfalls
from taskdemo_cli.units import format_count as number
from taskdemo_cli.units import format_rate
from taskdemo_cli.units import format_seconds as duration
from taskdemo_server.contract.text import shortened

NOTHING: Final = "–"  # noqa: RUF001 # an en dash is meant
MARKUP: Final = re.compile(r"([\\`*\[\]#|~$]|(?<!\w)_|_(?!\w)|^[-+=>])")
"""What can mean something to Markdown in the middle of a line, or at its start."""
LONGEST: Final = 600
"""Characters of a name or a command."""
LONGEST_TEXT: Final = 4000
"""Those of a sentence, whose parts from outside were cut where it was made."""
SIGNS: Final = {"yes": "yes", "no": "**no**", "partly": "*partly*"}


def chunks(document: AnyDocument) -> Iterator[str]:
    """Yield the document as Markdown: what was found, the table, and where it comes from."""
    match document:
        case RunDocument():
            yield from _thresholds(document)
            yield from _runs([document])
            if document.verdict:
                yield escaped(document.verdict) + "\n\n"
        case ComparisonDocument():
            yield from _thresholds(document)
            yield from _recommendation(document)
            yield from _runs(document.runs)
            for verdict in document.verdicts:
                yield f"- {_code(verdict.mode)}: {escaped(verdict.text)}\n"
            yield "\n" if document.verdicts else ""
            yield from _needs(document)
            yield from _skipped(document.skipped)
        case LimitsDocument():
            if document.interrupted:
                yield "Interrupted: these are the experiments that were through by then.\n\n"
            yield from _limits_table(document)
            yield from _cells(document)
            yield from _skipped(document.skipped)
        case CapacityDocument():
            yield from _thresholds(document)
            if document.interrupted:
                yield "Interrupted: these are the limits and the steps up to then.\n\n"
            yield from _capacities(document)
            yield from _skipped(document.skipped)
        case ScanDocument():
            if document.interrupted:
                yield "Interrupted: this is what was found by then.\n\n"
            yield from _endpoints(document)
    yield _origin(document)


def _thresholds(document: RunDocument | ComparisonDocument | CapacityDocument) -> Iterator[str]:
    for threshold in document.thresholds or ():
        yield f"- **{'failed' if threshold.held else 'passed'}**: {escaped(threshold.text)}\n"
    yield "\n" if document.thresholds else ""


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
        rows = [[str(one.need), _cell(one.mode) if one.mode else NOTHING, "; ".join(one.gives_up)] for one in found]
        escaped_rows = [[escaped(need), mode, escaped(gives_up)] for need, mode, gives_up in rows]
        yield from _table(["need", "mode", "it gives up"], escaped_rows, left=3)
        yield "\n"


def _skipped(skipped: Sequence[Skipped]) -> Iterator[str]:
    for one in skipped:
        yield f"- {_code(one.mode)} was skipped: {escaped(one.why)}\n"
    yield "\n" if skipped else ""


def _shortfalls(runs: Sequence[RunDocument]) -> Iterator[str]:
    """Yield which runs are not whole ones, and why."""
    stopped = ["Interrupted: these are the figures up to then."]
    told = [(run, texts) for run in runs if (texts := (stopped if run.interrupted else []) + shortfalls(run))]
    for run, texts in told:
        which = f", round {run.round}" if run.round > 1 else ""
        yield f"- {_code(name_of(run))}{which}: {' '.join(map(escaped, texts))}\n"
    yield "\n" if told else ""


def _runs(runs: Sequence[RunDocument]) -> Iterator[str]:
    yield from _shortfalls(runs)
    rounds = any(run.round > 1 for run in runs)
    yield from _table(
        ["mode", *(["round"] if rounds else []), *(NAMES[path] for path in COLUMNS), "failed", "lost"],
        [[_cell(name_of(run)), *([str(run.round)] if rounds else []), *_figures(run.summary)] for run in runs],
        left=1,
    )
    yield "\n"


def _figures(summary: Summary) -> list[str]:
    response, bystander, tasks = summary.response_s, summary.bystander_s, summary.tasks
    at_once = ran_at_once(tasks)
    return [
        duration(response.p50) if response else NOTHING,
        duration(response.max) if response else NOTHING,
        duration(tasks.last_ended_s) if tasks.last_ended_s is not None else NOTHING,
        number(at_once) if at_once is not None else NOTHING,
        duration(bystander.max) if bystander else NOTHING,
        number(summary.requests.failed),
        number(tasks.lost) if tasks.accepted else NOTHING,
    ]


def _limits_table(document: LimitsDocument) -> Iterator[str]:
    modes = document.modes
    rows = [
        [
            name.replace("_", " "),
            *(SIGNS[cells[name].verdict] if name in cells else NOTHING for cells in modes.values()),
        ]
        for name in limits_in(modes)
    ]
    yield from _table(["can it ...", *map(_cell, modes)], rows, left=1 + len(modes))
    yield "\n"


def _cells(document: LimitsDocument) -> Iterator[str]:
    for mode, cells in document.modes.items():
        for name, cell in cells.items():
            yield f"- {_code(mode)}, {escaped(name.replace('_', ' '))}: {escaped(cell.text)}\n"
    for failed in document.failed or ():
        what = f"{failed.limit.replace('_', ' ')} was not carried out: {failed.why}"
        yield f"- {_code(failed.mode)}, {escaped(what)}\n"
    yield "\n"


def _capacities(document: CapacityDocument) -> Iterator[str]:
    rows = [
        [
            _cell(name),
            *(
                NOTHING if rate is None else format_rate(rate)
                for rate in (found.sustained_per_s, found.failed_at_per_s, found.expected_per_s)
            ),
            found.cause,
        ]
        for name, found in document.modes.items()
    ]
    yield from _table(["mode", "sustained", "gave in at", "arithmetic says", "what gave in"], rows, left=1)
    yield "\n"
    for name, found in document.modes.items():
        yield f"- {_code(name)}: {escaped(found.text)}\n"
    yield "\n"


def _endpoints(document: ScanDocument) -> Iterator[str]:
    yield f"**{escaped(document.verdict)}**\n\n"
    called = [one for one in document.endpoints if one.summary is not None]
    yield from _table(
        ["endpoint", "requests", "failed", "response p50", "others waited", "seen"],
        [[_cell(name_of_endpoint(one)), *_figures_of(one)] for one in called],
        left=1,
    )
    yield "\n"
    groups = by_outcome(document.endpoints)
    for kind in TOLD:
        for one in groups[kind]:
            yield f"- {_code(name_of_endpoint(one))}: {escaped(one.text)}\n"
    for one in groups["skipped"]:
        yield f"- {_code(name_of_endpoint(one))} was not called: {escaped(one.skipped or '')}\n"
    yield "\n"


def _figures_of(endpoint: EndpointRow) -> list[str]:
    summary, others, kind = endpoint.summary, waited(endpoint), outcome(endpoint)
    requests, response = (summary.requests, summary.response_s) if summary else (None, None)
    return [
        number(requests.ok + requests.failed) if requests else NOTHING,
        number(requests.failed) if requests else NOTHING,
        duration(response.p50) if response else NOTHING,
        duration(others) if others is not None else NOTHING,
        f"**{kind}**" if kind == "blocks" else kind,
    ]


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> Iterator[str]:
    """Yield a table whose columns line up in the source too; all but the first `left` are figures."""
    widths = [max(3, *(len(line[at]) for line in (headings, *rows))) for at in range(len(headings))]
    rule = ["-" * width if at < left else "-" * (width - 1) + ":" for at, width in enumerate(widths)]
    for line in (headings, rule, *rows):
        cells = (
            text.ljust(width) if at < left else text.rjust(width)
            for at, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        yield f"| {' | '.join(cells)} |\n"


def _origin(document: AnyDocument) -> str:
    told = (document.environment.get(name) for name in ("python", "platform"))
    words = [f"taskdemo {document.taskdemo}", *(text for text in told if isinstance(text, str))]
    return f"<sub>{', '.join(map(escaped, words))}: {_code(document.command or 'taskdemo')}</sub>\n"


def escaped(text: str) -> str:
    """Return outside text so that Markdown shows it as it is: no markup, no HTML, no link, no mention."""
    shown = shortened(text, LONGEST_TEXT).replace("&", "&amp;").replace("<", "&lt;")
    return MARKUP.sub(r"\\\1", shown).replace("@", "@<!-- -->").replace("://", ":<!-- -->//")


def _cell(text: str) -> str:
    """Return outside text as a code span in a table, where a bar must be escaped even so."""
    return _code(text).replace("|", "\\|")


def _code(text: str) -> str:
    """Return outside text as a code span; in it nothing is a mention or a link."""
    shown = shortened(text, LONGEST)
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    space = " " if shown.startswith("`") or shown.endswith("`") or not shown.strip() else ""
    return f"{ticks}{space}{shown}{space}{ticks}"
