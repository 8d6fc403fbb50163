"""The report as one page that needs no network, no script and no other file. Draws a document and computes no figure.

Templates do the drawing, one for each kind of document and named after it; this module supplies their variables.
Every text passes through `escape()` and autoescape, and the page's Content-Security-Policy blocks all scripts and
requests, whatever an outside text contains.
"""

import hashlib
import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from heapq import nlargest
from importlib.resources import files
from itertools import islice
from typing import Any, Final

import markupsafe
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from taskdemo_cli.analysis.error_words import error_words, errors_in_words
from taskdemo_cli.analysis.mode_summary import computing, most_computing
from taskdemo_cli.analysis.rounds import (
    COLUMNS,
    NAMES,
    ROUNDS,
    STATES,
    TYPICAL,
    by_mode,
    columns_of,
    figure_words,
    over_rounds,
    ran_at_once,
    times_of,
    troubles,
)
from taskdemo_cli.analysis.scan import VERDICTS, name_of_endpoint, outcome, told, waited
from taskdemo_cli.documents.capacity import CapacityDocument
from taskdemo_cli.documents.codec import AnyDocument, runs_of
from taskdemo_cli.documents.comparison import ComparisonDocument
from taskdemo_cli.documents.limits import LimitsDocument, limit_name, limit_question, limits_in
from taskdemo_cli.documents.rows import pairs
from taskdemo_cli.documents.run import RequestRow, RunDocument, TaskRow, name_of
from taskdemo_cli.documents.scan import ScanDocument
from taskdemo_cli.recording.tasks import TROUBLE
from taskdemo_cli.reports.html import capacity, distribution, timeline
from taskdemo_cli.reports.notes import notes, warm_up_words
from taskdemo_cli.reports.timeline import first_round
from taskdemo_cli.stats import supported
from taskdemo_cli.units import format_bytes, format_count, format_rate, format_seconds, format_share
from taskdemo_server.contract import drawing
from taskdemo_server.contract import modes as modes_registry
from taskdemo_server.contract.modes import MODE_BY_NAME, NEEDS
from taskdemo_server.contract.text import escape, shortened

LISTED: Final = 100
"""Up to this many requests are all listed; of more, only the slowest and the first that went wrong."""
SLOWEST: Final = 30
FIRST_TROUBLES: Final = 20
LONGEST: Final = 400
"""Characters of a message or an error that the list shows."""

TABLE: Final = tuple(path for path in NAMES if path in {*COLUMNS, "response_s.p95"})
"""The columns of the table of modes, where some mode has a figure."""
SIGNS: Final = {"yes": "✓", "no": "✗", "partly": "~"}
MARKED: Final = re.compile(r"`([^`]+)`|(?<![\w-])(--[a-z][a-z-]*(?: \d(?:[\w.]*\w)?)?|-[A-Za-z](?![\w-]))")
"""Code in a sentence: text between backticks, and an option with its figure."""
UNIT: Final = re.compile(r"(?<=\d) (?=(?:µs|ms|s)\b|%)")
"""The space in a figure, where no line may break."""


def page(document: AnyDocument) -> Iterator[str]:
    """Yield the report of a document as HTML, in pieces."""
    style = drawing.STYLE + files("taskdemo_cli.reports.html").joinpath("report.css").read_text(encoding="utf-8")
    template = _environment().get_template(f"{document.kind}.html")
    yield from template.generate(
        document=document,
        style=Markup(style),  # noqa: S704 # files of our own
        style_hash=b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        started_at=next((run.started_at for run in runs_of(document)), getattr(document, "started_at", "")),
        thresholds=getattr(document, "thresholds", ()),
        notes=list(notes(document)),
        **_of(document),
    )


def _of(document: AnyDocument) -> dict[str, Any]:
    """Return the variables that only the template of such a document needs."""
    match document:
        case LimitsDocument():
            return {"limit_names": limits_in(document.modes)}
        case CapacityDocument():
            return {"capacity": capacity.draw(document)}
        case ScanDocument():
            return {"findings": list(told(document.endpoints))}
        case RunDocument():
            return _of_runs([document])
        case ComparisonDocument():
            return _of_runs(document.runs) | _of_modes(document)


def _of_runs(runs: Sequence[RunDocument]) -> dict[str, Any]:
    groups = list(by_mode(runs).values())
    return {
        "rounds": max(map(len, groups), default=0),
        "timeline": timeline.draw(first_round(runs)),
        "distribution": distribution.draw(groups),
        "listings": [(run, _listed(run)) for run in runs],
    }


def _of_modes(document: ComparisonDocument) -> dict[str, Any]:
    groups = by_mode(document.runs)
    figures = {mode: {path: over_rounds(group, path) for path in TABLE} for mode, group in groups.items()}
    return {
        "figures": figures,
        "columns": [path for path in TABLE if any(one[path] is not None for one in figures.values())],
        "troubles": {mode: troubles(group) for mode, group in groups.items()},
        "rounds_words": ROUNDS,
        "intervals": {(each.mode, each.figure): each for each in document.intervals if each.figure in TYPICAL},
        "cpu_share": most_computing(document.runs),
    }


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("taskdemo_cli.reports.html", ""),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "time": lambda value: _data(value, format_seconds),
        "count": lambda value: _data(value, format_count),
        "rate": lambda value: _data(value, format_rate),
        "share": lambda value: _data(value, format_share),
        "size": format_bytes,
        "figure": lambda value, path: _data(value, partial(figure_words, path)),
        "words": format_seconds,
        "number": format_count,
        "rate_words": format_rate,
        "marked": _marked,
        "reason": error_words,
        "errors": errors_in_words,
        "short": lambda text: shortened(text, LONGEST),
        "lines": lambda text: Markup("\n").join(map(escape, text.splitlines())),
    }
    environment.globals |= {
        "name_of": name_of,
        "name_of_endpoint": name_of_endpoint,
        "outcome_of": outcome,
        "waited": waited,
        "verdicts": VERDICTS,
        "signs": SIGNS,
        "limit_name": limit_name,
        "about": MODE_BY_NAME.get,
        "supported": supported,
        "measured": _measured,
        "named": _name,
        "times_of": times_of,
        "columns_of": columns_of,
        "ran_at_once": ran_at_once,
        "warm_up_words": warm_up_words,
        "key": lambda kind, thin: Markup(drawing.key(kind, thin=thin)),  # noqa: S704 # our own
        "names": NAMES,
        "legend": dict(drawing.LEGEND),
        "ends": ("finished", *STATES),
        "longest": LONGEST,
        "computing": computing,
        "needs": NEEDS,
        "asking": modes_registry.NEED_QUESTIONS,
        "limit_question": limit_question,
    }
    return environment


def _shown(value: object) -> object:
    """Escape every text that is put on the page, except markup, which is ours."""
    return escape(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _marked(text: str) -> Markup:
    """Return one of our sentences with its code marked as code; no line may break within an option or a figure."""
    code = r"<code>\1</code>", r'<code class="option">\2</code>'
    whole = str(markupsafe.escape(UNIT.sub("\N{NO-BREAK SPACE}", escape(text))))
    marked = MARKED.sub(lambda found: found.expand(code[found[1] is None]), whole)
    return Markup(marked)  # noqa: S704 # what is not ours in it has just been escaped


def _data(value: float | None, words: Callable[[float], str]) -> Markup:
    """Return a figure for people and, for programs, the value as in the JSON; a dash if there is none."""
    if value is None:
        return Markup('<span class="none" title="not measured">–</span>')  # noqa: RUF001 # an en dash is meant
    return Markup('<data value="{}">{}</data>').format(repr(value), words(value).replace(" ", "\N{NO-BREAK SPACE}"))


def _listed(run: RunDocument) -> list[tuple[RequestRow, TaskRow | None]]:
    """Return the requests to list, in order: all, or the slowest and the first that went wrong."""
    if len(run.requests) <= LISTED:
        return list(pairs(run))
    slowest = nlargest(SLOWEST, pairs(run), key=lambda pair: pair[0].response_s or 0.0)
    troubles = islice(filter(_went_wrong, pairs(run)), FIRST_TROUBLES)
    chosen = {pair[0].n: pair for pair in (*slowest, *troubles)}
    return [chosen[n] for n in sorted(chosen)]


def _went_wrong(pair: tuple[RequestRow, TaskRow | None]) -> bool:
    request, task = pair
    return request.error is not None or (task is not None and task.state in TROUBLE)


def _measured(key: str, value: object) -> Markup | str:
    """Return a measurement of an experiment: a time, a count, or anything else in words."""
    if isinstance(value, dict):
        each = Markup(", ").join(Markup("{}: {}").format(_name(name), _measured(name, value[name])) for name in value)
        return Markup("({})").format(each)
    if isinstance(value, list):
        return Markup(", ").join(_measured(key, one) for one in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _data(value, format_seconds if key.endswith("_s") else format_count)
    return "none" if value is None else escape(str(value))


def _name(key: str) -> str:
    return escape(key.removesuffix("_s").replace("_", " "))
