"""The report as one page that needs no network, no script and no other file. Draws a document and computes no figure.

The template does the drawing; here is what it draws from. Every text passes `escape()` and autoescape on its way,
and the page's own policy lets no script run and nothing be fetched, whatever a text from outside would like.
"""

import hashlib
import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from heapq import nlargest
from importlib.resources import files
from itertools import islice
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from msgspec import UNSET
from msgspec.structs import asdict

from taskdemo_cli.analysis.mode_summary import ModeSummary, computing, most_computing, ran_at_once
from taskdemo_cli.analysis.rounds import NAMES, by_mode
from taskdemo_cli.analysis.scan import TOLD, Outcome, by_outcome, name_of_endpoint, outcome
from taskdemo_cli.documents.blocking import Blocking
from taskdemo_cli.documents.capacity import CapacityDocument
from taskdemo_cli.documents.codec import AnyDocument
from taskdemo_cli.documents.limits import QUESTIONS, LimitsDocument, limits_in
from taskdemo_cli.documents.pairing import pairs, runs_of
from taskdemo_cli.documents.run import RequestRow, RunDocument, TaskRow, name_of
from taskdemo_cli.documents.scan import EndpointRow, ScanDocument
from taskdemo_cli.recording.tasks import TROUBLE
from taskdemo_cli.reports.error_words import error_words, errors_in_words, shortfalls
from taskdemo_cli.reports.html import capacity, distribution, timeline
from taskdemo_cli.reports.terminal.figures import LABELS
from taskdemo_cli.reports.timeline import first_round
from taskdemo_cli.stats import PERCENTILES, supported
from taskdemo_cli.units import format_bytes, format_rate
from taskdemo_cli.units import format_count as number
from taskdemo_cli.units import format_seconds as duration
from taskdemo_server.contract import drawing
from taskdemo_server.contract import modes as modes_registry
from taskdemo_server.contract.modes import MODE_BY_NAME, NEEDS
from taskdemo_server.contract.text import escape, shortened

LISTED: Final = 100
"""Up to so many requests are listed one by one; of more, the slowest and the first in trouble."""
SLOWEST: Final = 30
FIRST_TROUBLES: Final = 20
LONGEST: Final = 400
"""Characters of a message or an error that the list shows."""

STATISTICS: Final = (
    ("response_s", "Response", "sent (at a rate: planned) to last byte, of answers that were no error"),
    ("failed_s", "Error", "the same, of answers with an error"),
    ("wait_s", "To be sent", "planned send to sent"),
    ("first_byte_s", "First byte", "sent to first byte"),
    ("transfer_s", "Rest of the answer", "first byte to last byte"),
    ("completion_s", "Task done", "sent to the end of the task's work"),
    ("queue_s", "Task queued", "accepted to started"),
    ("work_s", "Work", "started to ended"),
    ("bystander_s", "GET /ping", "a bystander, all through the run"),
    ("bystander_threads_s", "the same by a thread", "a second bystander, whom a worker thread answers"),
)
COLUMNS: Final = (
    "response_s.p50",
    "response_s.p95",
    "response_s.max",
    "tasks.last_ended_s",
    "tasks.max_parallel",
    "bystander_s.max",
)
OF_EACH_ROUND: Final = {"response_s.p50", "response_s.p95"}
"""What is the mean of the rounds; the others are the largest of all."""
OPTIONAL: Final[dict[str, Any]] = {
    "thresholds": None,
    "recommendation": None,
    "recommendations": (),
    "verdict": None,
    "verdicts": (),
    "intervals": (),
    "rounds": 1,
    "skipped": (),
    "warm_up": 0,
    "blocking": None,
    "app": None,
    "failed": (),
    "interrupted": False,
    "started_at": None,
}
"""What not every document has."""
CAUSES: Final = {
    "event loop held": "It blocks the event loop: nobody at all is served meanwhile.",
    "interpreter busy": "It computes in threads, which take the interpreter from the event loop.",
    "processors busy": "It computes in threads, which take the processors from everybody.",
    "threads used up": "It uses up the worker threads, which all plain `def` endpoints share.",
    "garbage collection": "It makes so many objects that Python's garbage collection stops everything.",
    "waiting in line": "Its callers wait in line for one lock or pool, and nobody else does.",
    "application": "Not this endpoint: the application's own task or thread blocks the server.",
    "not reached": "Most answers were refusals or errors, so nothing can be said of it.",
    "not found": "A bystander waited for long, but nothing that was seen says why. Run it again.",
    "neither": "Neither the event loop nor the worker threads kept a bystander waiting.",
}
SIGNS: Final[dict[Outcome, tuple[str, str]]] = {
    "blocks": ("no", "✗ blocks"),
    "look": ("partly", "~ see above"),
    "not reached": ("partly", "~ not reached"),
    "quiet": ("yes", "✓ quiet"),
    "skipped": ("none", "not called"),
}
CODE: Final = re.compile(r"`([^`]+)`")
OPTION: Final = re.compile(r"((?<![\w-])(?:--[a-z][a-z-]*(?: \d[\w.]*)?|-[A-Za-z](?![\w-])))")
"""An option in a sentence, with its figure: a line must not end within it."""
ENDS: Final = ("finished", "failed", "cancelled", "lost", "unfinished")


def page(document: AnyDocument) -> Iterator[str]:
    """Yield the report of a document as HTML, in pieces."""
    runs = runs_of(document)
    first = first_round(runs)
    groups = list(by_mode(runs).items())
    modes: Mapping[str, Any] = document.modes if isinstance(document, LimitsDocument) else {}
    style = drawing.STYLE + files("taskdemo_cli.reports.html").joinpath("report.css").read_text(encoding="utf-8")
    hashed = b64encode(hashlib.sha256(style.encode()).digest()).decode()
    figures = {name: ModeSummary(group).figures() for name, group in groups}
    intervals = (each for each in getattr(document, "intervals", ()) if each.figure in OF_EACH_ROUND)
    endpoints = document.endpoints if isinstance(document, ScanDocument) else ()
    of_outcome = by_outcome(endpoints)
    yield from _template().generate(
        document=_fields(document),
        style=Markup(style),  # noqa: S704 # files of our own
        style_hash=hashed,
        runs=runs,
        groups=groups,
        extremes=_extremes(first),
        timeline=timeline.draw(first),
        distribution=distribution.draw([group for _, group in groups]),
        listings=[(run, _listed(run)) for run in runs],
        modes=modes,
        capacity=capacity.draw(document) if isinstance(document, CapacityDocument) else None,
        limit_names=limits_in(modes),
        notes=[(run, notes) for run in runs if (notes := _notes(run))],
        # a column that nobody has a figure for is left out
        columns=[
            (path, *NAMES[path].rsplit(" ", 1))
            for path in COLUMNS
            if any(one[path] is not None for one in figures.values())
        ],
        statistics=STATISTICS,
        legend=dict(drawing.LEGEND),
        ends=ENDS,
        endpoints=[_endpoint(one) for one in endpoints],
        told=[_endpoint(one) for kind in TOLD for one in of_outcome[kind]],
        questions=QUESTIONS,
        needs=NEEDS,
        asking=modes_registry.QUESTIONS,
        figures=figures,
        intervals={(each.mode, each.figure): each for each in intervals},
        cpu_share=most_computing(runs),
        computing=computing,
        longest=LONGEST,
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("taskdemo_cli.reports.html", ""),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "time": lambda value: _data(value, duration),
        "count": lambda value: _data(value, number),
        "rate": lambda value: _data(value, format_rate),
        "share": lambda value: _data(value, lambda share: f"{100 * share:.0f} %"),
        "size": format_bytes,
        "figure": lambda value, path: _data(value, number if path.startswith("tasks.max") else duration),
        "words": duration,
        "number": number,
        "rate_words": format_rate,
        "marked": _marked,
        "command": lambda text: _options(escape(text), Markup('<span class="option">{}</span>')),
        "judged": _judged,
        "reason": error_words,
        "errors": errors_in_words,
        "short": lambda text: shortened(text, LONGEST),
        "printed": lambda text: Markup("\n").join(escape(line) for line in text[:LONGEST].splitlines()),
        "code_lines": lambda text: Markup("\n").join(escape(line.expandtabs(4)) for line in text.splitlines()),
    }
    environment.tests["plain"] = lambda value: isinstance(value, str | int | float)
    environment.globals |= {
        "name_of": name_of,
        "about": MODE_BY_NAME.get,
        "supported": supported,
        "measured": _measured,
        "named": _name,
        "in_trouble": _in_trouble,
        "ran_at_once": ran_at_once,
        "key": lambda kind, thin: Markup(drawing.key(kind, thin=thin)),  # noqa: S704 # our own
        "figures_of": _figures,
    }
    return environment.get_template("report.html")


def _shown(value: object) -> object:
    """Make every text that is put on the page visible; markup is ours."""
    return escape(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _marked(text: str) -> Markup:
    """Return a sentence of ours with what stands between backticks, and each option, as code."""
    parts = (
        Markup("<code>{}</code>").format(part) if at % 2 else _options(part, Markup('<code class="option">{}</code>'))
        for at, part in enumerate(CODE.split(escape(text)))
    )
    return Markup("").join(parts)


def _options(text: str, markup: Markup) -> Markup:
    """Return a text that is escaped here, with each option in it in this markup."""
    parts = OPTION.split(text)
    return Markup("").join((markup if at % 2 else Markup("{}")).format(part) for at, part in enumerate(parts))


def _data(value: float | None, words: Callable[[float], str]) -> Markup:
    """Return the figure for people with, for programs, the value as the JSON has it; a dash where there is none."""
    if value is None:
        return Markup('<span class="none" title="not measured">–</span>')  # noqa: RUF001 # an en dash is meant
    return Markup('<data value="{}">{}</data>').format(repr(value), words(value).replace(" ", "\N{NO-BREAK SPACE}"))


def _fields(document: AnyDocument) -> dict[str, Any]:
    """Return the document's fields, and those that only others have."""
    return OPTIONAL | {name: value for name, value in asdict(document).items() if value is not UNSET}


def _endpoint(row: EndpointRow) -> tuple[EndpointRow, str, str, str]:
    """Return a row of a scan, what it is called, and its sign and words."""
    return row, name_of_endpoint(row), *SIGNS[outcome(row)]


def _judged(blocking: Blocking) -> tuple[str, str]:
    """Return whom an endpoint holds up, and why."""
    whom = "it holds up others" if blocking.blocks else "it holds up nobody"
    why = CAUSES[blocking.cause]
    if blocking.cause in {"not found", "not reached"}:
        whom = "whether it does is not clear"
    elif blocking.cause == "neither" and blocking.loop_wait_s is None:
        whom, why = "whether it does was not measured", "The run was too short for a bystander. Try --for 2."
    elif blocking.processor_wait_s is not None:
        why = "A bystander waited, but for a processor: the machine was busy."
    return whom, why


def _extremes(runs: Sequence[RunDocument]) -> tuple[RunDocument, RunDocument] | None:
    """Return the runs with the longest and the shortest median response, where there are two whose figures hold."""
    answered = [run for run in runs if run.summary.response_s and run.summary.client.trusted is not False]
    if len(answered) < 2:
        return None

    def median(run: RunDocument) -> float:
        return run.summary.response_s.p50 if run.summary.response_s else 0.0

    return max(answered, key=median), min(answered, key=median)


def _listed(run: RunDocument) -> list[tuple[RequestRow, TaskRow | None]]:
    """Return the requests that are listed one by one: all, or the slowest and the first in trouble, in order."""
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
    """Return one measured thing of an experiment: a time, a count, or whatever it is in words."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return _in_words(key, value)
    return _data(value, duration if key.endswith("_s") else number)


def _in_words(key: str, value: object) -> str:
    if isinstance(value, dict):
        return f"({', '.join(f'{_name(name)}: {_in_words(name, one)}' for name, one in value.items())})"
    if isinstance(value, list):
        return ", ".join(_in_words(key, one) for one in value)
    if isinstance(value, float):
        return duration(value) if key.endswith("_s") else f"{value:.3g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None else str(value)


def _name(key: str) -> str:
    return key.removesuffix("_s").replace("_", " ")


def _figures(run: RunDocument) -> dict[str, str]:
    """Return the statistics for which there are enough times, and what their columns are called."""
    counts = [values.count for key, _, _ in STATISTICS if (values := getattr(run.summary, key))]
    return {
        name: label
        for name, label in LABELS.items()
        if name not in PERCENTILES or any(supported(name, count) for count in counts)
    }


def _in_trouble(run: RunDocument) -> bool:
    summary = run.summary
    return bool(summary.requests.failed or any(getattr(summary.tasks, end) for end in ENDS[1:]))


def _notes(run: RunDocument) -> list[str]:
    """Return what a reader must know before believing this run's figures."""
    notes = ["Interrupted: these are the figures up to then."] if run.interrupted else []
    notes += shortfalls(run)
    if (begun := run.summary.tasks.begun or 0) > run.summary.tasks.accepted:
        notes.append(f"The work of {number(run.summary.tasks.accepted, 'task')} was begun {number(begun)} times.")
    if run.proxy:
        notes.append(f"Sent through the proxy {run.proxy} of the environment.")
    return notes
