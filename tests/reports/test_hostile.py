"""Text of every kind, from a server or in a result: none of it steers a terminal, or makes an event of what is none."""

import io
import queue
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console, RenderableType

import samples
from samples import typed
from strategies import foreign, hostile
from taskdemo_cli.processes.event_stream import Heard, Watcher
from taskdemo_cli.reports.terminal.capacity import capacity_report
from taskdemo_cli.reports.terminal.limits import limits_report
from taskdemo_cli.reports.terminal.report import comparison_report, run_report
from taskdemo_cli.reports.terminal.scan import scan_report
from taskdemo_cli.reports.terminal.timeline import timeline
from taskdemo_server.contract.events import TaskEvent


@given(st.lists(st.binary() | st.just(b"id: 7\ndata: x") | foreign.map(lambda line: b"data:" + line), max_size=5))
def test_whatever_a_server_streams_only_events_and_numbers_are_taken_from_it(blocks: list[bytes]) -> None:
    heard: queue.Queue[tuple[str, Any]] = queue.Queue()
    watcher = Watcher("http://127.0.0.1:1", heard, 0)
    watcher._hand_over(blocks)
    assert all(
        isinstance(event, TaskEvent)
        for _, each in list(heard.queue)
        if isinstance(each, Heard)
        for event in each.events
    )
    assert watcher._last_id.isdigit()


def lines_of(report: RenderableType, width: int) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, markup=False, emoji=False, highlight=False).print(report)
    return out.getvalue().split("\n")


def with_texts(value: Any, text: str, path: str = "") -> Any:
    """Replace every text that comes from outside; those which the program itself chooses from few stay."""
    if isinstance(value, dict):
        return {key: with_texts(item, text, key) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [with_texts(item, text, path) for item in value]
    free = {
        "path",
        "target",
        "skipped",
        "app",
        "place",
        "url",
        "error",
        "where",
        "message",
        "text",
        "verdict",
        "why",
        "command",
        "ended_because",
        "work",
        "output",
    }
    return text if isinstance(value, str) and path in free and value not in ("yes", "no", "partly") else value


def documents() -> list[Callable[[str], RenderableType]]:
    comparison, limits = samples.saved(samples.comparison_document(2)), samples.saved(samples.limits_document())
    capacity = samples.saved(samples.capacity_document())
    scan = samples.saved(samples.scan_document())
    runs = [samples.saved(make()) for make in samples.ALL_RUNS.values()]
    return [
        *(lambda text, run=run: run_report(typed(with_texts(run, text))) for run in runs),
        lambda text: comparison_report(typed(with_texts(comparison, text))),
        lambda text: timeline([typed(with_texts(run, text)) for run in comparison["runs"]]),
        lambda text: limits_report(typed(with_texts(limits, text))),
        lambda text: capacity_report(
            typed({**with_texts(capacity, text), "modes": {text: with_texts(capacity["modes"]["background"], text)}})
        ),
        lambda text: scan_report(typed(with_texts(scan, text))),
    ]


@pytest.mark.parametrize("number", range(len(documents())))
@settings(max_examples=5, deadline=None)
@given(text=hostile, width=st.sampled_from([60, 80, 120]))
@example(text="x" * 10_000, width=60)
@example(text=samples.HOSTILE, width=80)
def test_no_text_reaches_the_terminal_but_as_visible_text_that_fits(number: int, text: str, width: int) -> None:
    for line in lines_of(documents()[number](text), width):
        assert line.isprintable()
        assert cell_len(line) <= width
