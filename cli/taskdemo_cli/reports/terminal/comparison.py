"""The comparison of modes with its recommendation; its table is on the live screen too."""

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final

from rich.style import Style
from rich.text import Text

from taskdemo_cli.analysis.mode_summary import computing, most_computing
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
from taskdemo_cli.documents.comparison import ComparisonDocument, Interval, Recommendation
from taskdemo_cli.documents.run import RunDocument
from taskdemo_cli.reports.notes import warm_up_words
from taskdemo_cli.reports.terminal.notes import note_lines, threshold_lines
from taskdemo_cli.reports.terminal.style import NAME, Glyph, Palette, cell, paragraph, row
from taskdemo_cli.reports.terminal.timeline import overview, timeline
from taskdemo_cli.stats import grouped
from taskdemo_cli.units import format_count, format_seconds
from taskdemo_server.contract.modes import MODES, NEED_QUESTIONS
from taskdemo_server.contract.text import escape

TROUBLE: Final = "trouble"
AGAINST: Final = 44
"""Columns of an interval and of the difference to the reference."""
SCREEN: Final = 40
"""Lines of a screen that the end of a comparison should fit on."""
MORE: Final = "--need NAME picks one for a need, with its code."
COMPUTES_QUESTION: Final = "quiet"
"""The need whose line also says whether the work computes."""


def comparison_report(document: ComparisonDocument, width: int, *, whole: bool = False) -> Iterator[Text]:
    """Yield a comparison: the picture, the table, a line for each mode, the recommendation, the thresholds.

    The picture has a bar for each request if everything then fits a screen, or if `whole`; otherwise one for each mode.
    The warm-up and the intervals come first: they may scroll away.
    """
    if warm_up := next((run.warm_up for run in document.runs if run.warm_up), None):
        yield from paragraph(f"Each server was warmed up first by {warm_up_words(warm_up)}.", width, Palette.DIM)
    yield from interval_lines(document, width)
    yield row("")
    below = [*_below_the_picture(document, width)]
    if any(run.requests for run in document.runs):
        bars = [*timeline(document.runs, width)]
        yield from bars if whole or len(bars) + len(below) < SCREEN else overview(document.runs, width)
    yield from below


def _below_the_picture(document: ComparisonDocument, width: int) -> Iterator[Text]:
    yield from comparison_heading(width)
    for mode, runs in by_mode(document.runs).items():
        yield row((cell(mode, NAME), Palette.BOLD), *comparison_cells(runs, width))
    if document.rounds > 1:
        yield from paragraph(ROUNDS, width, Palette.DIM)
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


def _widths(width: int) -> tuple[int, ...]:
    """Return the widths of the figure columns that fit whole into a terminal of this width."""
    sizes = (10, 10, 9, 8, 9) if width >= 79 else (9, 9, 8, 7, 8)
    return tuple(size for size, end in zip(sizes, accumulate(sizes), strict=True) if NAME + end <= width)


def _room(width: int) -> int:
    """Return the width of the column for what went wrong: 0 if its heading does not fit."""
    room = width - NAME - sum(_widths(width)) - 2
    return room if room >= len(TROUBLE) else 0


def comparison_heading(width: int) -> Iterator[Text]:
    """Yield the two heading lines of a comparison."""
    for line in (0, 1):
        words = (NAMES[path].rsplit(" ", 1)[line] for path in COLUMNS)
        headings = (cell(word, size, "right") for word, size in zip(words, _widths(width), strict=False))
        name, trouble = ("mode", TROUBLE[: _room(width)]) if line else ("", "")
        yield row((f"{name:<{NAME}}{''.join(headings)}  {trouble}", Palette.DIM))


def comparison_cells(runs: Sequence[RunDocument], width: int) -> Iterator[tuple[str, Style]]:
    """Yield the figures of one mode's runs, under `comparison_heading`, and what went wrong in them."""
    for path, size in zip(COLUMNS, _widths(width), strict=False):
        value = over_rounds(runs, path)
        yield cell(Glyph.DASH if value is None else figure_words(path, value), size, "right"), Palette.PLAIN
    words = [f"{format_count(count)} {what}" for what, count in troubles(runs).items()]
    yield "  ", Palette.PLAIN
    yield _fitting(words or ["none"], _room(width)), Palette.BAD if words else Palette.DIM


def _fitting(words: list[str], room: int) -> str:
    """Join as many words as fit: a count that is cut short would be a different count."""
    fewer = ([*words[:kept], Glyph.CUT] for kept in range(len(words) - 1, 0, -1))
    texts = [", ".join(each) for each in (words, *fewer)]
    return next((text for text in texts if len(text) <= room), cell(texts[-1], room).rstrip())


def interval_lines(document: ComparisonDocument, width: int) -> Iterator[Text]:
    """Yield, for several rounds, each median response's interval, and whether its difference is more than noise."""
    entries = [entry for entry in document.intervals if entry.figure == "response_s.p50"]
    if not entries:
        return
    compared = width >= NAME + AGAINST and any(entry.difference for entry in entries)
    against = f"  against {cell(document.reference, width - NAME - 29)}" if compared else ""
    yield row("")
    yield row((f"{cell('', NAME)} p50, 95 % interval{against}", Palette.DIM))
    for entry in entries:
        span = f"{format_seconds(entry.low)} {Glyph.DASH} {format_seconds(entry.high)}"
        beside = _against(entry) if compared else ()
        yield row((cell(entry.mode, NAME), Palette.BOLD), f" {span:<19} ", *beside)


def _against(entry: Interval) -> Iterator[tuple[str, Style]]:
    if entry.difference is None:
        yield " -", Palette.DIM
        return
    difference, noise = difference_words(entry.difference)
    yield f" {difference}".ljust(11), Palette.PLAIN
    yield noise, Palette.DIM if entry.difference.within_noise else Palette.PLAIN


def _question_lines(found: Sequence[Recommendation], cpu_share: float | None, width: int) -> Iterator[Text]:
    """Yield a line for each question, with the mode for each of its needs, then what each of these modes gives up."""
    modes = {one.need: one.mode for one in found}
    wide = max(len(question) for question, _ in NEED_QUESTIONS) + 1
    for question, needs in NEED_QUESTIONS:
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
