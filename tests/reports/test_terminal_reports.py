"""What is printed at the end: reports, tables and matrices fit, tell the figures, and show outside text as text."""

import io
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from msgspec.structs import replace
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.text import Text

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
    hostile_run,
    limits_document,
    rate_run,
    recorder,
    sample,
    scan_document,
    threadpool_run,
)
from taskdemo_cli.analysis.diff import compare_saved
from taskdemo_cli.documents.comparison import ComparisonDocument
from taskdemo_cli.documents.limits import LIMITS, Cell
from taskdemo_cli.documents.run import RunDocument, ThresholdRow
from taskdemo_cli.documents.scan import ScanDocument
from taskdemo_cli.reports.html import page as html
from taskdemo_cli.reports.output import Output
from taskdemo_cli.reports.terminal import capacity as capacity_module
from taskdemo_cli.reports.terminal import limits as limits_module
from taskdemo_cli.reports.terminal import report as report_module
from taskdemo_cli.reports.terminal import scan as scan_module
from taskdemo_cli.reports.terminal.capacity import capacity_report
from taskdemo_cli.reports.terminal.diff_table import changes_report
from taskdemo_cli.reports.terminal.documents import REPORTS
from taskdemo_cli.reports.terminal.limits import figure, limits_report
from taskdemo_cli.reports.terminal.live import run_screen
from taskdemo_cli.reports.terminal.report import comparison_report, run_report
from taskdemo_cli.reports.terminal.scan import scan_report
from taskdemo_cli.reports.terminal.style import Drawing, Glyphs, Palette
from taskdemo_cli.reports.terminal.timeline import timeline
from taskdemo_cli.units import format_seconds
from taskdemo_server.contract.modes import DEFAULT_MODES, MODES

WIDTHS = (60, 80, 120)


def printed(report: RenderableType, width: int = 80, encoding: str = "utf-8", **options: Any) -> str:
    kept = io.BytesIO()
    file = io.TextIOWrapper(kept, encoding=encoding, newline="\n")
    Console(file=file, width=width, markup=False, emoji=False, highlight=False, **options).print(report)
    file.flush()
    return kept.getvalue().decode(encoding)


def empty_run() -> RunDocument:
    return recorder([]).finish(facts("background", 5), interrupted=True)


def all_failed_run() -> RunDocument:
    samples = [sample(n, 0.001 * n, status=None, error="ConnectError") for n in range(1, 31)]
    return recorder(samples).finish(facts("background", 30))


def test_the_two_ends_of_a_bar_are_told_apart_or_are_one_figure() -> None:
    alike = [sample(n, 1.001 + n * 0.00001) for n in range(1, 31)]
    report = printed(run_report(recorder(alike).finish(facts("async", 30))))
    assert "1.00 s - 1.00 s" not in report
    assert "1.00060 s - 1.00063 s █" in report
    same = [sample(n, 1.0, sent=0.0) for n in range(1, 31)]
    assert "       1.00 s █" in printed(run_report(recorder(same).finish(facts("async", 30))))


def test_errors_are_told_by_kind_and_cause_in_words_and_lost_tasks_by_number() -> None:
    refused = {"status": None, "error": "ConnectError", "reason": "Connection refused"}
    torn = {"status": None, "error": "RemoteProtocolError", "reason": "The response is not HTTP: Expected HTTP/"}
    causes: Any = [(None, refused), (None, refused), (0.1, torn), (None, {"status": None, "error": "ReadTimeout"})]
    samples = [sample(n, done, **cause) for n, (done, cause) in enumerate(causes, 1)]
    text = printed(run_report(recorder(samples).finish(facts("background", 4))))
    assert "2 ✗ could not connect: Connection refused" in text
    assert "1 ✗ The response is not HTTP: Expected HTTP/" in text
    assert "1 ✗ no answer in time" in text
    assert "ReadTimeout" not in text
    text = printed(run_report(failed_run()))
    assert "1 ✗ HTTP 503" in text
    assert "1 failed, 1 lost" in text
    assert "the background server ended (exit -9)" in text


def seven_modes() -> ComparisonDocument:
    return replace(comparison_document(), runs=[replace(background_run(), mode=mode.name) for mode in MODES])


def wide_limits() -> RenderableType:
    document = limits_document()
    found = document.modes["celery"]
    return limits_report(replace(document, modes=dict.fromkeys(DEFAULT_MODES, found)))


DRAWN: dict[str, RenderableType] = {
    **{name: REPORTS[document.kind](document) for name, document in all_documents().items()},
    "empty": run_report(empty_run()),
    "all failed": run_report(all_failed_run()),
    "seven modes": comparison_report(seven_modes()),
    "seven modes' limits": wide_limits(),
    "changes": changes_report(compare_saved(comparison_document(3), comparison_document(2))),
}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", DRAWN)
def test_no_line_is_wider_than_the_terminal_and_none_carries_escape_codes_into_a_pipe(name: str, width: int) -> None:
    text = printed(DRAWN[name], width)
    assert max(map(cell_len, text.splitlines())) <= width
    assert "\x1b" not in text
    assert "\u202e" not in text


@pytest.mark.parametrize("name", DRAWN)
def test_a_terminal_of_plain_ascii_gets_the_same_report_in_ascii(name: str) -> None:
    plain, full = printed(DRAWN[name], encoding="ascii"), printed(DRAWN[name])
    assert plain.isascii()
    assert len(plain.splitlines()) == len(full.splitlines())


def test_a_capacity_draws_every_limit_on_one_scale_and_says_what_gave_in() -> None:
    text = printed(capacity_report(capacity_document()), 80)
    assert "38/s     40/s threads" in text
    assert ">100/s        - not reached" in text
    lines = {line[:8].strip(): line for line in text.splitlines() if "█" in line or "▒" in line}
    assert lines["blocking"].count("█") < lines["backgrou"].count("█") < lines["async"].count("█")
    assert "▒" not in lines["async"], "it has not given in"
    assert "█" not in lines["http://1"], "it sustained nothing"


def test_a_run_tells_its_counts_times_and_tasks() -> None:
    run = threadpool_run()
    text = " ".join(printed(run_report(run)).split())
    assert run.summary.response_s is not None
    assert format_seconds(run.summary.response_s.p50) in text
    assert format_seconds(run.summary.response_s.max) in text
    assert "60 ok, 0 failed" in text
    assert "60 accepted, 60 finished; at most 40 ran at once" in text


def test_a_percentile_is_shown_only_where_there_are_enough_requests_for_it() -> None:
    for run, shown in ((background_run(5), set()), (threadpool_run(200), {"p99"})):
        (headings,) = [line.split() for line in printed(run_report(run), 120).splitlines() if "p50" in line.split()]
        assert {"p99", "p99.9"} & {*headings} == shown


@pytest.mark.parametrize(
    ("without", "having", "words"),
    [
        (background_run(5), threadpool_run(60), "Response times"),
        (background_run(5), replace(background_run(5), concurrency=2), "requests/s"),  # a burst has no rate
    ],
)
def test_what_says_nothing_of_a_burst_of_a_few_is_left_out(
    without: RunDocument, having: RunDocument, words: str
) -> None:
    assert words not in printed(run_report(without))
    assert words in printed(run_report(having))


def test_what_was_seen_and_then_the_thresholds_come_last_where_no_screen_scrolls_them_away() -> None:
    thresholds = [
        ThresholdRow(expression="", value=0.004, held=True, text="response.p50 > 1ms: 4 ms, held"),
        ThresholdRow(expression="", value=0.0, held=False, text="tasks.lost > 0: 0, did not hold"),
    ]
    last = ["", "✗ response.p50 > 1ms: 4 ms, held", "✓ tasks.lost > 0: 0, did not hold"]
    run = replace(background_run(), verdict="Answered in 4 ms; the task ended 1.00 s later.", thresholds=thresholds)
    assert printed(run_report(run)).splitlines()[-4:] == [run.verdict, *last]
    comparison = replace(comparison_document(), thresholds=thresholds)
    assert printed(comparison_report(comparison)).splitlines()[-3:] == last


def test_what_a_run_lacks_stands_between_its_picture_and_its_verdict() -> None:
    run = replace(background_run(), verdict="Answered in 4 ms.", ended_because="the server stopped answering")
    run = replace(run, timed_out=True, not_sent=7, unreported=2, late_sends=6, late_connecting=3, late_unconnected=2)
    told = (
        "nobody waits Timed out: --timeout ended this run before it was through. the server stopped answering "
        "7 requests were never sent. What became of 2 sent requests is not known. "
        "6 of 5 requests were sent later than planned: 3 while their connection was opened, 2 because no more "
        "connections could be opened (ulimit -n), 1 because this client was busy. Answered in 4 ms."
    )
    assert told in " ".join(printed(run_report(run)).split())
    assert "\n1 request was never sent.\n" in printed(run_report(replace(run, not_sent=1)))
    late = replace(run, late_sends=1, late_connecting=0, late_unconnected=0)
    assert "\n1 of 5 requests was sent later than planned: 1 because" in printed(run_report(late))
    stopped = printed(run_report(replace(run, interrupted=True, verdict="Interrupted after 1.02 s.")))
    assert " ok, 0 failed\n" in stopped  # how long it took is told once


def scan_of_many_requests() -> ScanDocument:
    document = scan_document()
    called = replace(document.endpoints[2], summary=threadpool_run().summary)
    return replace(document, endpoints=[called])


FIGURE = re.compile(r"\d[\d,.]*(?: (?:µs|ms|s)\b)?")


@pytest.mark.parametrize(
    "lines",
    [
        *(lambda *given, make=make: report_module._run_lines(make(), *given) for make in (rate_run, threadpool_run)),
        lambda *given: report_module._comparison_lines(comparison_document(3), *given),
        lambda *given: report_module._conditions_lines(comparison_document(3), *given),
        lambda *given: limits_module._sentence_lines(limits_document(), *given),
        lambda width, _: capacity_module._text_lines(capacity_document(), width),
        lambda *given: scan_module._report_lines(scan_document(), *given),
        lambda *given: scan_module._report_lines(scan_of_many_requests(), *given),
    ],
    ids=["rate", "burst", "comparison", "intervals", "limits", "capacity", "scan", "many"],
)
def test_a_figure_is_whole_or_not_there_at_any_width(lines: Callable[[int, Glyphs], Iterator[Text]]) -> None:
    def figures(width: int) -> set[str]:
        text = printed(Drawing(lines), width).partition("Response times")[0]  # whose bars are as long as there is room
        return set(FIGURE.findall(" ".join(text.split())))

    wide = figures(200)
    for width in range(40, 80):
        assert figures(width) <= wide, width
    assert figures(40)


@pytest.mark.parametrize("columns", [10, 16, 39])
def test_a_terminal_that_is_too_narrow_is_drawn_on_all_the_same(columns: int) -> None:
    for report in (run_report(background_run()), comparison_report(comparison_document())):
        assert "background" in printed(report, columns)


def test_hostile_text_stays_text_even_on_a_terminal() -> None:
    text = printed(run_report(hostile_run()), 120, force_terminal=True, color_system="truecolor")
    assert "\x1b]" not in text
    assert "\u202e" not in text
    assert "[bold]rich[/bold]" in text
    assert r"\x1b[31mred" in text


def test_without_colour_nothing_is_coloured() -> None:
    coloured = printed(comparison_report(comparison_document()), force_terminal=True, color_system="truecolor")
    plain = printed(
        comparison_report(comparison_document()), force_terminal=True, color_system="truecolor", no_color=True
    )
    assert "\x1b[38;2;" in coloured
    assert "\x1b[38;2;" not in plain


def bars(run: RunDocument, width: int = 80) -> list[str]:
    """The timeline's bars alone: what lies between the names and the figures."""
    lines = printed(timeline([run]), width).splitlines()[1:-2]
    return [line[11:-9] for line in lines if "/ping" not in line]


def test_callers_that_queue_make_stairs() -> None:
    answers = [bar.index("●") for bar in bars(replace(blocking_run(), mode="background"))]
    assert answers == sorted(set(answers))
    assert len(answers) == 5


def test_work_that_is_waited_for_lies_before_the_answer_and_other_work_after_it() -> None:
    for bar in bars(replace(blocking_run(), mode="background")):
        assert "▆" in bar.split("●")[0]
        assert "▄" not in bar.split("●")[1]
    for bar in bars(background_run()):
        assert bar.startswith("●▄▄▄")


def test_a_task_that_waits_for_its_turn_is_drawn_as_queued() -> None:
    events = [event("q", "accepted", 0.001), event("q", "started", 1.0), event("q", "finished", 2.0)]
    (bar,) = bars(recorder([sample(1, 0.002, task="q")], events).finish(facts("background", 1)))
    assert bar.startswith("●····")
    assert bar.index("·") < bar.index("▄")


def test_a_task_that_was_begun_several_times_is_told_in_the_report_the_picture_and_the_page() -> None:
    again = [
        event("q", "accepted", 0.001),
        *(event("q", "started", at) for at in (1.0, 2.0)),
        event("q", "finished", 3),
    ]
    once = recorder([sample(1, 0.002, task="q")], [again[0], *again[2:]]).finish(facts("background", 1))
    twice = recorder([sample(1, 0.002, task="q")], again).finish(facts("background", 1))
    report, picture, page = printed(run_report(twice), 120), printed(timeline([twice])), "".join(html.page(twice))
    assert "1 finished, begun 2 times; at most 1 ran at once" in report
    assert "2 3 ... 9 work that was begun so many times, or more" in picture
    assert "·2▄" in picture
    assert "The work of 1 task was begun 2 times." in page
    for text in (printed(run_report(once), 120), printed(timeline([once])), "".join(html.page(once))):
        assert "begun" not in text


def test_many_requests_are_told_by_a_sample_of_stated_size() -> None:
    assert len(bars(replace(threadpool_run(), mode="background"))) == 6
    assert "6 of 60" in printed(timeline([threadpool_run()]))


def test_what_was_lost_or_failed_ends_with_a_cross() -> None:
    text = printed(timeline([failed_run()]))
    assert sum("✗" in line for line in text.splitlines()[1:-2]) == 4
    assert "✗ failed, cancelled or lost" in text


def test_the_bystander_has_its_own_lane_that_shows_its_waiting() -> None:
    held = next(line for line in printed(timeline([blocking_run()])).splitlines() if "/ping" in line)
    free = next(line for line in printed(timeline([background_run()])).splitlines() if "/ping" in line)
    assert held.count("▂") > 40
    assert "▂" not in free
    assert free.count("╌") > 40


def test_all_modes_share_one_time_scale() -> None:
    lines = printed(timeline([blocking_run(), background_run()])).splitlines()
    assert lines[0].count("0 s") == 1
    background = next(line for line in lines if line.startswith("background"))
    assert background.rindex("▄") < 80 / 3


def test_a_run_without_requests_says_that_there_is_nothing_to_draw() -> None:
    assert "No request was sent" in printed(timeline([empty_run()]))


def test_a_comparison_has_a_row_a_mode_the_reason_of_each_left_out_and_every_verdict() -> None:
    document = comparison_document()
    text = " ".join(printed(comparison_report(document)).split())
    for verdict in document.verdicts:
        assert f"{verdict.mode}: {verdict.short}" in text
    assert "celery skipped: celery is not installed" in text
    summary = document.runs[0].summary
    response, bystander, ended = summary.response_s, summary.bystander_s, summary.tasks.last_ended_s
    assert response is not None
    assert bystander is not None
    assert ended is not None
    figures = [response.p50, response.max, ended]
    row = f"blocking {' '.join(map(format_seconds, figures))} 1 {format_seconds(bystander.max)} none"
    assert row in text


def test_rounds_bring_intervals_and_what_is_beyond_noise() -> None:
    text = printed(comparison_report(comparison_document(3)))
    assert "95 % interval" in text
    assert "beyond noise" in text
    assert text.count("\nbackground ") == 3  # the table, its interval, the timeline


def test_trouble_is_told_in_the_modes_row() -> None:
    document = replace(comparison_document(), runs=[failed_run()])
    assert "2 not ok, 1 failed" in printed(comparison_report(document), 120)
    assert re.search(r"  2 not ok, …$", printed(comparison_report(document), 80), re.MULTILINE)


def test_the_matrix_has_a_sign_for_each_limit_and_modes_that_say_the_same_share_a_sentence() -> None:
    text = printed(wide_limits())
    (line,) = [line for line in text.splitlines() if line.startswith("server kill")]
    assert line.count("✓") == 7
    assert text.count("Celery did track: 3 of 3.") == 1


def test_every_mode_that_shares_a_sentence_is_named_at_any_width() -> None:
    for width in (40, 60, 80):
        assert printed(wide_limits(), width).count(f" {DEFAULT_MODES[-1]}\n    Celery did") == len(LIMITS), width


def test_the_matrix_comes_last_with_its_legend_and_fits_a_small_screen() -> None:
    lines = printed(wide_limits()).splitlines()[-23:]
    assert any(line.startswith("track ") for line in lines)
    assert any(line.startswith("context ") for line in lines)
    end = " ".join(" ".join(lines).split())
    assert end.endswith(
        "✓ yes ~ partly ✗ no; beside it what was counted, or the longest wait of GET /ping;"
        " same: the server runs the tasks"
    )


@pytest.mark.parametrize(("width", "names"), [(120, ["background-", "async"]), (80, ["back-", "ground-", "async"])])
def test_a_name_is_broken_where_it_has_its_hyphen_if_there_is_room(width: int, names: list[str]) -> None:
    lines = printed(wide_limits(), width).splitlines()
    heading = lines[next(at for at, line in enumerate(lines) if line.startswith(" " * 12 + "blocking")) :]
    found = [line.split() for line in heading[: len(names)]]
    for name, line in zip(names, found, strict=True):
        assert name in line


def test_a_count_is_told_shorter_where_a_column_is_narrow() -> None:
    found = Cell(verdict="yes", measured={"figure": "12 of 12"}, text="")
    assert [figure(found, width) for width in (8, 6, 4)] == ["12 of 12", "12/12", ""]


def test_a_scan_ends_with_what_holds_up_everybody_and_tells_the_quiet_ones_in_one_line() -> None:
    lines = printed(scan_report(scan_document()), 80).splitlines()
    assert "✓ Quiet: GET / (others waited 3 ms at most)" in lines
    assert "  POST /orders: POST is not GET: it may write" in lines
    assert "~ GET /orders/{order_id} (asked for /orders/7?kind=a)  3 requests" in lines
    end = lines.index("✗ GET /slow  3 requests")
    assert lines[end + 1].strip() == "It blocks the event loop (at main.py:7 in slow)."
    assert " ".join(lines[end + 3 :]) == scan_document().verdict


def test_two_results_stand_side_by_side_with_what_is_known_of_the_noise() -> None:
    text = printed(changes_report(compare_saved(blocking_run(), background_run())))
    assert "blocking -> background" in text
    assert "beyond" not in text
    assert "noise not known: it takes several rounds of both; save both with --rounds 5" in " ".join(text.split())


def test_what_makes_two_results_hard_to_compare_comes_before_their_figures() -> None:
    other = replace(blocking_run(), work="reports:build", duration_s=None)
    lines = printed(changes_report(compare_saved(blocking_run(), other))).splitlines()
    assert lines[0].startswith("These two did different work (sleep of 1.00 s; reports:build)")


@pytest.mark.parametrize(
    ("columns", "width"), [("72", 72), ("120", 120), ("4", 40), ("", 100), ("wide", 100), ("-5", 100)]
)
def test_plain_output_is_as_wide_as_columns_says(columns: str, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert Output(as_json=False).console.width == width


def test_colour_that_is_forced_into_a_pipe_makes_no_terminal_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr("sys.stdout", pipe := io.StringIO())
    output = Output(as_json=False)
    with output.waiting("starting"), run_screen(output.console, "5 requests", count=5) as screen:
        screen.update(recorder([sample(1, 0.1)]), T0 + 1)
    output.console.print("done", style=Palette.GOOD)
    # Of which colours does not matter here: rich keeps the codes that a style had at the first console that drew it.
    assert re.search(r"\x1b\[[\d;]+mdone", pipe.getvalue())
    assert not re.search(r"\x1b\[[^m]*[A-Za-ln-z]", pipe.getvalue())  # nothing is moved, hidden or wiped


def test_bars_of_very_many_requests_still_have_their_tasks() -> None:
    for bar in bars(replace(threadpool_run(3000, 3000), mode="background")):
        assert "▆" in bar.split("●")[0]


def test_the_first_round_that_there_is_is_drawn() -> None:
    first, second = (printed(run_report(background_run(round_number=number))) for number in (1, 2))
    assert second == first
