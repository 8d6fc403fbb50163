"""The report's page: what is on it, that all of it comes from the document, and that no text becomes markup."""

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

import samples
from reviewed import assert_reviewed
from taskdemo_cli.analysis.blocking.sentence import sentence
from taskdemo_cli.analysis.recommendation import recommend
from taskdemo_cli.analysis.thresholds import evaluate, parse
from taskdemo_cli.documents.blocking import Blocking, Place
from taskdemo_cli.documents.comparison import ComparisonDocument
from taskdemo_cli.documents.rows import Rows
from taskdemo_cli.documents.run import RequestRow, RunDocument, TaskRow
from taskdemo_cli.reports.html import page as html
from taskdemo_cli.units import format_count, format_seconds
from taskdemo_server.contract.settings import BUILT_IN_WORKS
from taskdemo_server.contract.text import escape


def app_run() -> Any:
    """A run at the user's own application, whose endpoint blocks the event loop and prints."""
    run = samples.blocking_run(3)
    output = f"held \x1b[1m\nand <b>{'x' * 500}"
    places = [Place(place="shop/main.py:14 in held", share=0.75), Place(place="<b>", share=0.25)]
    blocking = Blocking(blocks=True, cause="event loop held", loop_wait_s=2.5, threads_wait_s=2.75, places=places)
    return samples.changed(
        run,
        mode=None,
        work=None,
        duration_s=None,
        app="shop.main:app",
        path="/held",
        summary=replace(run.summary, bystander_threads_s=run.summary.bystander_s),
        tasks=[replace(task, output=output) for task in run.tasks],
        blocking=blocking,
        verdict=sentence(blocking),
    )


BLOCKS = {"h1", "h2", "h3", "p", "li", "tr", "dt", "summary", "caption", "pre", "div", "section"}
"""What begins a line of its own, where a page is read as text."""
VOID = {"meta", "link", "br", "line", "rect", "circle", "path", "polyline"}
DOCUMENTS = {**samples.all_documents(), "app": app_run()}


class Reader(HTMLParser):
    """Reads a page, and fails where a tag is not closed as it was opened."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[tuple[str, dict[str, str | None]]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[tuple[str, ...], str]] = []
        self.lines = [""]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in BLOCKS:
            self.lines.append("")
        if tag not in VOID:
            self.open.append((tag, dict(attrs)))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if not any(attributes.get("aria-hidden") == "true" for _, attributes in self.open):
            within = tuple(tag for tag, _ in self.open)
            self.texts.append((within, data))
            if not {"style", "svg"} & set(within):
                self.lines[-1] += f" {data}"


def read(document: Any) -> Reader:
    reader = Reader()
    reader.feed("".join(html.page(samples.typed(document) if isinstance(document, dict) else document)))
    reader.close()
    assert reader.open == []
    return reader


def words(reader: Reader) -> str:
    return " ".join(" ".join(text for tags, text in reader.texts if "style" not in tags).split())


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield key
            yield from leaves(item)
    elif isinstance(value, list | tuple | Rows):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def advised() -> ComparisonDocument:
    """A comparison with everything that a page can show."""
    document, thresholds = samples.comparison_document(), ["response.p50 > 200ms", "tasks.lost > 0"]
    found, rows = recommend(document.runs), [evaluate(parse(one), document).row() for one in thresholds]
    return replace(document, thresholds=rows, recommendations=found.each, recommendation=found.one)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_figure_on_the_page_is_in_the_json(name: str) -> None:
    document = samples.saved(DOCUMENTS[name])
    found = [leaf for leaf in leaves(document) if leaf is not None]
    numbers = {float(leaf) for leaf in found if isinstance(leaf, int | float)}
    # How many rows there are is a figure of the JSON too.
    numbers |= {float(len(run["requests"])) for run in document.get("runs", [document]) if "requests" in run}
    reader = read(document)
    values = [attributes["value"] for tag, attributes in reader.tags if tag == "data"]
    assert len(values) > 3
    for value in values:
        assert value is not None
        assert float(value) in numbers

    shown = {escape(str(leaf)) for leaf in found}
    numerals = {numeral for text in shown for numeral in NUMERAL.findall(text)}
    numerals |= {n for x in numbers for text in (format_seconds(x), format_count(x)) for n in NUMERAL.findall(text)}
    prose = {"95", "100"}  # "95 of 100", "95 % interval"
    prose |= {f"{10**power:,}" for power in range(7)}  # ticks of a logarithmic scale
    for tags, text in reader.texts:
        if not {"data", "style", "time"} & set(tags):
            assert set(NUMERAL.findall(text)) <= numerals | prose, text


NUMERAL = re.compile(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?(?!\w)")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_page_needs_nothing_and_runs_nothing(name: str) -> None:
    reader = read(DOCUMENTS[name])
    for tag, attributes in reader.tags:
        assert tag not in {"script", "img", "iframe", "object", "embed", "form", "a", "base", "image", "use"}
        assert not any(key.startswith("on") or key in {"style", "src", "srcset", "xlink:href"} for key in attributes)
        assert attributes.get("href", "data:,") == "data:,"
    identities = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(identities) == len(set(identities))
    labels = " ".join(attributes.get("aria-labelledby") or "" for _, attributes in reader.tags).split()
    assert set(labels) <= set(identities)


def test_its_own_policy_lets_nothing_in_but_its_own_style() -> None:
    reader = read(DOCUMENTS["comparison"])
    style = "".join(text for tags, text in reader.texts if "style" in tags)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = next(a["content"] for _, a in reader.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in policy
    assert "url(" not in style
    assert "@import" not in style


def test_every_page_reads_as_it_was_reviewed() -> None:
    failed = [{"mode": "threadpool", "limit": "offload", "why": "a thread cannot await it"}]
    comparison, capacity, one = samples.comparison_document(), samples.capacity_document(), samples.background_run(1)
    summary = replace(one.summary, tasks=replace(one.summary.tasks, failed=1))
    late = replace(capacity.modes["async"], sustained_per_s=None, failed_at_per_s=100.0, cause="client")
    twice = [samples.event("q", "started", at) for at in (1.0, 2.0)]
    pages = {
        "a comparison": advised(),
        "one's own application": app_run(),
        "a run with trouble": samples.failed_run(),
        "limits": samples.changed(samples.limits_document(), failed=failed),
        "a capacity": capacity,
        "a scan": samples.scan_document(),
        "one of anything is told in the singular": replace(comparison, runs=[replace(one, summary=summary, warm_up=1)]),
        "nothing was run": replace(comparison, runs=[], verdicts=[]),
        "a task that was begun twice": samples.recorder([samples.sample(1, 0.002, task="q")], twice).finish(
            samples.facts("background", 1)
        ),
        "a limit that is at least so high, and one of which nothing is known": replace(
            capacity, modes={"async": late, "background": replace(late, sustained_per_s=50.0)}
        ),
    }
    lines = {name: (" ".join(line.split()) for line in read(document).lines) for name, document in pages.items()}
    assert_reviewed(__file__, {name: "\n".join(filter(None, page)) for name, page in lines.items()})


def test_code_and_what_a_task_printed_keep_their_lines() -> None:
    code = "".join(text for tags, text in read(advised()).texts if tags[-2:] == ("pre", "code"))
    assert '\napp = FastAPI()\n\n\n@app.get("/")\nasync def hello(\n    background_tasks: BackgroundTasks' in code
    printed = [text for tags, text in read(app_run()).texts if "samp" in tags]
    assert len(printed) >= 3
    assert printed[0].startswith("held \\x1b[1m\nand <b>xxx")
    assert max(map(len, printed)) < 450


def test_a_capacity_shows_every_step_as_a_dot_of_each_curve() -> None:
    document = samples.capacity_document()
    reader = read(document)
    ticks = re.findall(r'<text x="0.0%" y="14" text-anchor="start">(\d)/s', "".join(html.page(document)))
    assert len(ticks) == 3  # where the bars begin is said at each axis
    dots = [attributes["class"] for tag, attributes in reader.tags if tag == "circle"]
    steps = [step for found in document.modes.values() for step in found.steps]
    assert dots.count("backlog") + dots.count("backlog hollow") == len(steps)
    assert dots.count("backlog hollow") == sum(not step.sustained for step in steps)


def test_every_request_and_task_of_a_burst_has_its_bar() -> None:
    lanes = [text for tags, text in read(samples.failed_run()).texts if tags[-2:] == ("g", "title")]
    assert len(lanes) == 6
    assert "2: answered in 4.9 ms; task failed at 500 ms" in lanes
    assert "5: no answer in time" in lanes


def test_the_distribution_is_of_the_answers_that_went_well() -> None:
    run = samples.failed_run()
    assert run.summary.response_s is not None
    dots = [attributes for tag, attributes in read(run).tags if tag == "circle" and attributes["class"] == "dot"]
    assert len(dots) == run.summary.response_s.count == 4


def test_what_decides_is_told_once_and_code_in_it_is_code() -> None:
    document = samples.saved(advised())
    document["recommendation"]["gives_up"] = ["threads that `def` endpoints <b>need</b>"]
    document["verdicts"][0]["text"] = "It is a plain `def`; check it with --rounds 5."
    reader = read(document)
    text = words(reader)
    assert text.count("Its callers waited 5.8 ms (median), other requests at most 2 ms") == 1
    assert any("5.8\N{NO-BREAK SPACE}ms (median)" in text for _, text in reader.texts)
    assert "`" not in text
    assert [text for tags, text in reader.texts if tags[-2:] in (("li", "code"), ("dd", "code"))][:2] == ["def", "def"]
    assert "endpoints <b>need</b>" in text
    options = [text for tags, text in reader.texts if tags[-1:] == ("code",) and text.startswith("--")]
    assert "--rounds 5" in options


def test_no_text_is_so_long_that_the_page_is() -> None:
    assert len("".join(html.page(samples.hostile_run()))) < 60_000


@settings(max_examples=40, deadline=None)
@given(st.text(min_size=1, max_size=30) | st.sampled_from(["</style><script>", "{{ 7 * 7 }}", "{% raw %}", '"><b x="']))
def test_no_text_changes_the_structure_of_the_page(text: str) -> None:
    assume(text not in {*BUILT_IN_WORKS, "taskdemo"})  # of these a page gives the duration, and the version
    assume(not html.MARKED.search(text))  # which is set as code
    document = samples.saved(samples.failed_run())

    def filled(text: str) -> dict[str, Any]:
        return {
            **document,
            "work": text,
            "url": text,
            "command": text,
            "ended_because": text,
            "environment": {text: {text: text}},
            "requests": [{**request, "error": request["error"] and text} for request in document["requests"]],
            "tasks": [{**task, "where": text, "message": text, "error": text} for task in document["tasks"]],
        }

    reader = read(filled(text))
    assert [tag for tag, _ in reader.tags] == [tag for tag, _ in read(filled("harmless")).tags]
    assert "".join(escape(text).split()) in "".join(words(reader).split())


def one_of_many(at: int) -> RequestRow:
    sent, took = at / 1000, 0.004 + at % 17 * 0.0001
    times: dict[str, Any] = {"planned_s": sent, "sent_s": sent, "first_byte_s": sent + took, "done_s": sent + took}
    return RequestRow(n=at + 1, task_id=f"t{at}", status=200, response_s=took, **times)


def its_task(at: int) -> TaskRow:
    start = at / 1000 + 0.002
    times: dict[str, Any] = {"accepted_s": start, "started_s": start + 0.001, "ended_s": start + 1}
    return TaskRow(id=f"t{at}", state="finished", where="laptop pid 1", message="Hello", runs=1, **times)


def burst(count: int) -> RunDocument:
    few = samples.background_run(5)
    tasks = replace(few.summary.tasks, last_ended_s=count / 1000 + 1)
    return replace(
        few,
        count=count,
        summary=replace(few.summary, tasks=tasks, wall_s=count / 1000),
        requests=Rows(range(count), one_of_many),
        tasks=Rows(range(count), its_task),
        bystander=[],
    )


@pytest.mark.parametrize(("count", "drawn"), [(40, 40), (41, 41), (1000, 1000), (4000, 1000)])
def test_up_to_a_thousand_requests_are_drawn_one_by_one_on_a_small_page(count: int, drawn: int) -> None:
    page = "".join(html.page(burst(count)))
    assert len(page) < 400_000
    if count <= 40:
        assert page.count('class="answered"') == count + 1  # and the legend
    else:
        answered = re.findall(r'class="answered" d="([^"]*)"', page)
        assert answered[0].count("M") == drawn
    assert ("these are an evenly spread sample" in page) is (drawn < count)
    assert ("the slowest and the first that went wrong" in page) is (count > 41)
