"""The terminal and the page read the same summary of a mode."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

import samples
from reviewed import printed
from taskdemo_cli.documents.comparison import ComparisonDocument
from taskdemo_cli.documents.run import RunDocument
from taskdemo_cli.reports import markdown
from taskdemo_cli.reports.html import page as html
from taskdemo_cli.reports.notes import INTERRUPTED
from taskdemo_cli.reports.terminal.documents import drawing

MODES = ("blocking", "threadpool", "background")
WIDTHS = (10, 10, 9, 8, 9)


def cut_short() -> ComparisonDocument:
    document = samples.comparison_document(2)
    return replace(document, runs=[*document.runs[:-1], replace(document.runs[-1], interrupted=True)])


DOCUMENTS: dict[str, Any] = {
    "one round": samples.comparison_document(),
    "three rounds": samples.comparison_document(3),
    "a round cut short": cut_short(),
}


def cells(line: str) -> Iterator[str]:
    at = 16
    for width in WIDTHS:
        yield line[at : at + width].strip()
        at += width


def on_the_terminal(document: ComparisonDocument) -> dict[str, list[str]]:
    table = printed(drawing(document), 100).partition("\nmode ")[2].partition("\n\n")[0]
    return {name: list(cells(line)) for line in table.splitlines() if (name := line.split(" ")[0]) in MODES}


def on_the_page(document: ComparisonDocument) -> dict[str, list[str]]:
    table = "".join(html.page(document)).split('<table class="figures comparison">')[1].split("</table>")[0]
    rows = re.findall(r'<tr><th scope="row"><bdi>(\w+)</bdi>(.*?)</tr>', table, re.DOTALL)
    return {
        name: re.findall(r"<td><data [^>]*>([^<]*)</data>", row.replace("\N{NO-BREAK SPACE}", " "))
        for name, row in rows
    }


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_terminal_and_the_page_show_the_same_number_in_the_same_cell(name: str) -> None:
    shown = on_the_terminal(DOCUMENTS[name])
    assert set(shown) == set(MODES)
    assert shown == on_the_page(DOCUMENTS[name])
    assert all(re.match(r"\d", figure) for figures in shown.values() for figure in figures)


@pytest.mark.parametrize("run", [samples.background_run(), samples.failed_run(), samples.rate_run()])
def test_the_terminal_and_the_page_call_a_time_by_the_same_name(run: RunDocument) -> None:
    table = printed(drawing(run), 100).partition(" p50 ")[2].partition("\n\n")[0].splitlines()[1:]
    page = "".join(html.page(run)).partition('aria-label="Statistics of')[2].partition("</table>")[0]
    on_the_page = {name.lower() for name in re.findall(r'<th scope="row">(.*?) <small>', page)}
    assert table
    assert {line[:16].strip().lower() for line in table} <= on_the_page


def test_the_terminal_and_the_page_count_what_went_wrong_in_all_rounds() -> None:
    document = samples.comparison_document(2)
    requests, tasks = (getattr(RUN.summary, name) for name in ("requests", "tasks"))
    summary = replace(RUN.summary, requests=replace(requests, failed=2), tasks=replace(tasks, lost=1))
    document = replace(document, runs=[replace(RUN, summary=summary, round=number) for number in (1, 2)])
    page = re.sub("<[^>]*>", "", "".join(html.page(document)))
    for text in (printed(drawing(document), 100), page):
        assert "4 not ok, 2 lost" in text


def test_how_many_tasks_ran_at_once_is_told_nowhere_where_no_word_of_a_start_came() -> None:
    ends = [samples.event(f"t{n}", "finished", 0.5) for n in range(1, 4)]
    answers = [samples.sample(n, 0.1, task=f"t{n}") for n in range(1, 4)]
    run = samples.recorder(answers, ends).finish(samples.facts("background", 3))
    comparison = replace(samples.comparison_document(), runs=[run])
    assert "3 finished; when they began is not known" in printed(drawing(run))
    for page in ("".join(html.page(each)) for each in (run, comparison)):
        assert "3 finished; when they began is not known" in re.sub("<[^>]*>", "", page)
        assert not re.search(r"0(</data>)? ran at once", page)
    for text in (printed(drawing(comparison), 100), "".join(markdown.chunks(comparison))):
        assert re.search(r"500 ms[ |]+[-–] ", text)  # noqa: RUF001 # an en dash is meant


RUN = samples.background_run()
NOT_WHOLE = [
    (replace(RUN, timed_out=True), "Timed out: --timeout ended this run early."),
    (replace(RUN, not_sent=3), "3 requests were never sent."),
    (replace(RUN, unreported=1), "The outcome of 1 sent request is unknown."),
    (
        replace(RUN, late_sends=1),
        "1 of 5 requests was sent later than planned, because this client or its machine was busy.",
    ),
    (replace(RUN, others_share=0.86), "The machine was busy: others used 86 % of its processors."),
    (replace(samples.comparison_document(), runs=[RUN, replace(RUN, others_share=1.0)]), "others used 100 % of its"),
    (replace(RUN, ended_because="the server ended (exit 3)"), "The run ended early: the server ended (exit 3)."),
    *(
        (replace(document, interrupted=True), INTERRUPTED)
        for document in (samples.limits_document(), samples.capacity_document(), samples.scan_document())
    ),
    *(
        (replace(samples.comparison_document(), runs=[replace(run, round=2)]), f"round 2: {said}")
        for run, said in [
            (replace(RUN, interrupted=True), INTERRUPTED),
            (replace(RUN, not_sent=3), "3 requests were never sent."),
            (replace(RUN, proxy="http://p"), "Sent through the proxy"),
        ]
    ),
]


@pytest.mark.parametrize(("document", "said"), NOT_WHOLE)
def test_what_is_not_whole_is_called_so_in_every_report(document: Any, said: str) -> None:
    plain = [re.sub("<[^>]*>", "", "".join(html.page(document))), "".join(markdown.chunks(document))]
    for text in (printed(drawing(document), 100), *plain):
        assert said in " ".join(text.split())


def test_a_busy_machine_is_told_once_of_all_runs_and_by_its_worst_moment() -> None:
    runs = [replace(RUN, others_share=share) for share in (0.9, 1.0)]
    comparison = replace(samples.comparison_document(), runs=runs)
    plain = ("".join(chunks(comparison)) for chunks in (html.page, markdown.chunks))
    for text in (printed(drawing(comparison), 100), *plain):
        assert re.findall(r"machine was busy: others used (\d+)", text) == ["100"]


def test_a_rate_that_did_not_give_in_is_told_as_the_least_that_is_sustained() -> None:
    document = samples.capacity_document()
    document = replace(document, modes={"async": replace(document.modes["background"], cause="not reached")})
    page = re.sub("<[^>]*>", "", "".join(html.page(document)))
    for text in (printed(drawing(document), 100), page, "".join(markdown.chunks(document))):
        assert re.search(r"(>|at least )38/s", text)
