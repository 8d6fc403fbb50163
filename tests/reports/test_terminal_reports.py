"""What is printed at the end: reports, tables and matrices fit, tell the figures, and show outside text as text."""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.text import Text

from reviewed import assert_reviewed, printed
from samples import (
    T0,
    all_documents,
    background_run,
    blocking_run,
    capacity_document,
    comparison_document,
    event,
    facts,
    failed_run,
    limits_document,
    rate_run,
    recorder,
    sample,
    scan_document,
    threadpool_run,
)
from taskdemo_cli.analysis.diff import compare_saved
from taskdemo_cli.analysis.recommendation import recommend
from taskdemo_cli.analysis.verdicts import comparison
from taskdemo_cli.documents.comparison import ComparisonDocument
from taskdemo_cli.documents.limits import LIMITS, Cell
from taskdemo_cli.documents.run import RunDocument, ThresholdRow
from taskdemo_cli.documents.scan import ScanDocument
from taskdemo_cli.reports import markdown
from taskdemo_cli.reports.output import Output, OutputStream
from taskdemo_cli.reports.terminal import capacity as capacity_module
from taskdemo_cli.reports.terminal import changes as changes_module
from taskdemo_cli.reports.terminal import comparison as comparison_module
from taskdemo_cli.reports.terminal import limits as limits_module
from taskdemo_cli.reports.terminal import run as run_module
from taskdemo_cli.reports.terminal import scan as scan_module
from taskdemo_cli.reports.terminal import timeline as timeline_module
from taskdemo_cli.reports.terminal.documents import drawing
from taskdemo_cli.reports.terminal.limits import figure
from taskdemo_cli.reports.terminal.live import RunScreen
from taskdemo_cli.reports.terminal.style import Drawing, Palette
from taskdemo_server.contract.modes import DEFAULT_MODES, MODES, NEED_QUESTIONS

WIDTHS = (60, 80, 120)


def changes_report(old: RunDocument | ComparisonDocument, new: RunDocument | ComparisonDocument) -> Drawing:
    return Drawing(partial(changes_module.changes_report, compare_saved(old, new)))


def timeline(runs: Sequence[RunDocument]) -> Drawing:
    return Drawing(partial(timeline_module.timeline, runs))


def empty_run() -> RunDocument:
    return recorder([]).finish(facts("background", 5), interrupted=True)


def all_failed_run() -> RunDocument:
    samples = [sample(n, 0.001 * n, status=None, error="ConnectError") for n in range(1, 31)]
    return recorder(samples).finish(facts("background", 30))


def many(*answers: Any, **given: Any) -> RunDocument:
    """A run at `background` of these answers: when each came, and what else is known of it."""
    samples = [sample(n, done, **more) for n, (done, more) in enumerate(answers, 1)]
    return recorder(samples, **given).finish(facts("background", len(samples)))


def of_several_causes() -> RunDocument:
    refused = {"status": None, "error": "ConnectError", "reason": "Connection refused"}
    torn = {"status": None, "error": "RemoteProtocolError", "reason": "The response is not HTTP: Expected HTTP/"}
    return many((0.1, refused), (0.1, refused), (0.1, torn), (0.1, {"status": None, "error": "ReadTimeout"}))


def begun(*starts: float) -> RunDocument:
    events = [event("q", "accepted", 0.001), *(event("q", "started", at) for at in starts), event("q", "finished", 3.0)]
    return recorder([sample(1, 0.002, task="q")], events).finish(facts("background", 1))


THRESHOLDS = [
    ThresholdRow(expression="", value=0.004, held=True, text="response.p50 > 1ms: 4 ms, held"),
    ThresholdRow(expression="", value=0.0, held=False, text="tasks.lost > 0: 0, did not hold"),
]


def not_whole() -> RunDocument:
    late = {"late_sends": 6, "late_connecting": 3, "late_unconnected": 2}
    run = replace(background_run(), verdict="Answered in 4 ms.", ended_because="the server stopped answering")
    return replace(run, timed_out=True, not_sent=7, unreported=2, thresholds=THRESHOLDS, **late)


def seven_modes() -> ComparisonDocument:
    return replace(comparison_document(), runs=[replace(background_run(), mode=mode.name) for mode in MODES])


def recommended() -> RenderableType:
    document = comparison_document()
    found = recommend(document.runs)
    return drawing(replace(document, recommendations=found.each, recommendation=found.one))


def wide_limits() -> RenderableType:
    document = limits_document()
    found = document.modes["celery"]
    return drawing(replace(document, modes=dict.fromkeys(DEFAULT_MODES, found)))


DRAWN: dict[str, RenderableType] = {
    **{name: drawing(document) for name, document in all_documents().items()},
    "empty": drawing(empty_run()),
    "the timeline of an empty run": timeline([empty_run()]),
    "all failed": drawing(all_failed_run()),
    "seven modes": drawing(seven_modes()),
    "seven modes' limits": wide_limits(),
    "changes": changes_report(comparison_document(3), comparison_document(2)),
    "changes of single runs": changes_report(blocking_run(), background_run()),
    "changes of other work": changes_report(
        blocking_run(), replace(blocking_run(), work="reports:build", duration_s=None)
    ),
    "errors of several causes": drawing(of_several_causes()),
    "answers that are nearly alike": drawing(many(*((1.001 + n * 0.00001, {}) for n in range(1, 31)))),
    "answers that are alike": drawing(many(*[(1.0, {"sent": 0.0})] * 30)),
    "a scan without a quiet endpoint": drawing(
        replace(scan_document(), endpoints=[one for one in scan_document().endpoints if one.path != "/"])
    ),
    "connections that open slowly": drawing(many((0.028, {"sent": 0.017}), (0.029, {"sent": 0.017}))),
    "two at a time": drawing(replace(background_run(), concurrency=2)),
    "a queued task": drawing(begun(1.0)),
    "a task that was begun twice": drawing(begun(1.0, 2.0)),
    "not whole, with thresholds": drawing(not_whole()),
    "a comparison with thresholds": drawing(replace(comparison_document(), thresholds=THRESHOLDS)),
    "a comparison with trouble": drawing(replace(comparison_document(), runs=[failed_run()])),
}


def test_a_single_mode_of_several_rounds_is_compared_with_nothing() -> None:
    several = comparison_document(3)
    alone = comparison([run for run in several.runs if run.mode == "background"])
    for document, times in ((several, 1), (alone, 0)):
        assert printed(Drawing(partial(comparison_module.interval_lines, document))).count("against") == times
        assert "".join(markdown.chunks(document)).count("against blocking") == times
    assert "95 % interval" in printed(Drawing(partial(comparison_module.interval_lines, alone)))


@pytest.mark.parametrize(("columns", "words"), [(40, 0), (59, 0), (60, 1)])
def test_a_difference_is_shown_with_its_words_or_not_at_all(columns: int, words: int) -> None:
    text = printed(Drawing(partial(comparison_module.interval_lines, comparison_document(3))), columns)
    assert len(re.findall("against blocking\n", text)) == words
    assert len(re.findall("noise\n", text)) == 2 * words


def test_every_report_is_the_one_that_was_reviewed() -> None:
    told = {name: printed(report) for name, report in DRAWN.items() if name != "limits"}  # the two modes of seven
    told["seven modes' limits where there is room"] = printed(wide_limits(), 120).partition("skipped: ")[2]
    told["a recommendation on the narrowest terminal"] = printed(recommended(), 40)
    assert_reviewed(__file__, {name: re.sub(" +\n", "\n", text).strip("\n") for name, text in told.items()})


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", DRAWN)
def test_no_line_is_wider_than_the_terminal_and_none_carries_escape_codes_into_a_pipe(name: str, width: int) -> None:
    text = printed(DRAWN[name], width)
    assert max(map(cell_len, text.splitlines())) <= width
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_what_a_terminal_of_plain_ascii_cannot_show_is_a_question_mark() -> None:
    kept = io.BytesIO()
    out = OutputStream(io.TextIOWrapper(kept, encoding="ascii"))
    Console(file=out, width=80).print(drawing(background_run()))  # type: ignore[arg-type] # as in Output
    out.flush()
    assert b"? answered  ?? works, nobody waits" in kept.getvalue()


def scan_of_many_requests() -> ScanDocument:
    document = scan_document()
    called = replace(document.endpoints[2], summary=threadpool_run().summary)
    return replace(document, endpoints=[called])


def without_picture(run: RunDocument) -> RunDocument:
    return replace(run, requests=[])


FIGURE = re.compile(r"\d[\d,.]*(?: (?:µs|ms|s)\b)?")


LINES: dict[str, tuple[Callable[..., Iterator[Text]], Any]] = {
    "rate": (run_module.run_report, without_picture(rate_run())),
    "burst": (run_module.run_report, without_picture(threadpool_run())),
    "comparison": (
        comparison_module.comparison_report,
        replace(comparison_document(3), runs=list(map(without_picture, comparison_document(3).runs))),
    ),
    "limits": (limits_module._sentence_lines, limits_document()),
    "capacity": (capacity_module._text_lines, capacity_document()),
    "scan": (scan_module.scan_report, scan_document()),
    "many": (scan_module.scan_report, scan_of_many_requests()),
}


@pytest.mark.parametrize("name", LINES)
def test_a_figure_is_whole_or_not_there_at_any_width(name: str) -> None:
    lines, document = LINES[name]

    def figures(width: int) -> set[str]:
        text = printed(Drawing(partial(lines, document)), width).partition("Response times")[
            0
        ]  # whose bars are as long as there is room
        return set(FIGURE.findall(" ".join(text.split())))

    wide = figures(200)
    for width in range(40, 80, 3):
        assert figures(width) <= wide, width
    assert figures(40)


@pytest.mark.parametrize("columns", [10, 16, 39])
def test_a_terminal_that_is_too_narrow_is_drawn_on_all_the_same(columns: int) -> None:
    for report in (drawing(background_run()), drawing(comparison_document())):
        assert "background" in printed(report, columns)


def test_all_answers_to_the_five_questions_stand_in_one_column_on_a_terminal_of_80() -> None:
    lines = [line.partition("?") for line in printed(recommended(), 80).splitlines()]
    rows = [(question, answers) for question, mark, answers in lines if question + mark in dict(NEED_QUESTIONS)]
    assert len(rows) == len(NEED_QUESTIONS)
    assert len({len(question) + len(answers) - len(answers.lstrip()) for question, answers in rows}) == 1


def test_of_many_endpoints_that_share_a_sentence_the_first_are_named_and_the_others_counted() -> None:
    document = scan_document()
    skipped = next(one for one in document.endpoints if one.skipped)
    many = replace(document, endpoints=[replace(skipped, path=f"/{number}") for number in range(100)])
    text = " ".join(printed(drawing(many)).split())
    assert "/19 and 80 more (--html FILE lists all): " in text
    assert "/20" not in text


def test_without_colour_nothing_is_coloured() -> None:
    coloured = printed(drawing(comparison_document()), force_terminal=True, color_system="truecolor")
    plain = printed(drawing(comparison_document()), force_terminal=True, color_system="truecolor", no_color=True)
    assert "\x1b[38;2;" in coloured
    assert "\x1b[38;2;" not in plain


def test_every_mode_that_shares_a_sentence_is_named_at_any_width() -> None:
    for width in (40, 60, 80):
        assert printed(wide_limits(), width).count(f" {DEFAULT_MODES[-1]}\n    Celery did") == len(LIMITS), width


def test_a_count_is_told_shorter_where_a_column_is_narrow() -> None:
    found = Cell(verdict="yes", measured={"figure": "12 of 12"}, text="")
    assert [figure(found, width) for width in (8, 6, 4)] == ["12 of 12", "12/12", ""]


@pytest.mark.parametrize(("columns", "width"), [("72", 72), ("1", 40), ("0", 100), ("wide", 100), ("", 100)])
def test_plain_output_is_as_wide_as_columns_says(columns: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert Output(as_json=False).console.width == width


def test_colour_that_is_forced_into_a_pipe_makes_no_terminal_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("sys.stdout", pipe := io.StringIO())
    output = Output(as_json=False)
    with output.waiting("starting"), RunScreen(output.console, "5 requests") as screen:
        screen.update(recorder([sample(1, 0.1)]), T0 + 1)
    output.console.print("done", style=Palette.GOOD)
    # Of which colours does not matter here: rich keeps the codes that a style had at the first console that drew it.
    assert re.search(r"\x1b\[[\d;]+mdone", pipe.getvalue())
    assert not re.search(r"\x1b\[[^m]*[A-Za-ln-z]", pipe.getvalue())  # nothing is moved, hidden or wiped


def test_bars_of_very_many_requests_still_have_their_tasks() -> None:
    assert printed(timeline([threadpool_run(3000, 3000)])).count("▆●") == 6


def test_the_first_round_that_there_is_is_drawn() -> None:
    first, second = (printed(drawing(background_run(round_number=number))) for number in (1, 2))
    assert second == first
