"""The timeline that the terminal and the page draw: what of a request and its task is where."""

import pytest

from taskdemo_cli.documents.run import RequestRow, TaskRow
from taskdemo_cli.reports.scales import Scale, durations, moments, rates
from taskdemo_cli.reports.timeline import Bar
from taskdemo_server.contract.events import TaskState

UNTIL_S = 9.0


def bar(done: float | None, *of_task: float | None, error: str | None = None, state: TaskState | None = None) -> Bar:
    """Return the bar of a request that was sent at 0, and of its task: when that was started and ended."""
    started, ended = of_task or (None, None)
    task = None if state is None else TaskRow(id="t", state=state, started_s=started, ended_s=ended, runs=1)
    return Bar(RequestRow(n=1, sent_s=0.0, done_s=done, error=error), task, UNTIL_S)


@pytest.mark.parametrize(
    ("drawn", "spans", "marks"),
    [
        (bar(1.0), "wait 0-1", "answered 1"),
        (bar(None), "wait 0-9", ""),
        (bar(None, error="ReadError"), "wait 0-0", "trouble 0"),
        (bar(3.0, 1.0, 2.0, state="finished"), "wait 0-3, held 1-2", "answered 3"),
        (bar(1.0, 2.0, 3.0, state="failed"), "wait 0-1, queue 1-2, free 2-3", "answered 1, trouble 3"),
        (bar(2.0, 1.0, 3.0, state="finished"), "wait 0-2, free 2-3, held 1-2", "answered 2"),
        (bar(1.0, 2.0, None, state="started"), "wait 0-1, queue 1-2, free 2-9", "answered 1, open 9"),
        (bar(1.0, None, None, state="accepted"), "wait 0-1, queue 1-9", "answered 1, open 9"),
        (bar(1.0, None, 4.0, state="cancelled"), "wait 0-1, queue 1-4", "answered 1, trouble 4"),
        (bar(1.0, 2.0, None, state="lost"), "wait 0-1, queue 1-2, free 2-9", "answered 1, trouble 9"),
        (bar(1.0, None, None, state="lost"), "wait 0-1, queue 1-9", "answered 1, trouble 9"),
    ],
)
def test_a_bar_has_a_span_or_a_mark_for_each_thing_that_one_sees(drawn: Bar, spans: str, marks: str) -> None:
    assert ", ".join(f"{kind} {begin:g}-{end:g}" for kind, begin, end in drawn.spans()) == spans
    assert ", ".join(f"{kind} {moment:g}" for kind, moment in drawn.marks()) == marks


@pytest.mark.parametrize(
    ("scale", "labels", "first", "last"),
    [
        (moments(0.0005), "0 µs, 100 µs, 200 µs, 300 µs, 400 µs, 500 µs", "start", "end"),
        (moments(5.0), "0 s, 1 s, 2 s, 3 s, 4 s, 5 s", "start", "end"),
        (moments(100.0), "0 s, 30 s, 60 s, 90 s", "start", "middle"),
        (moments(3600.0), "0 min, 10 min, 20 min, 30 min, 40 min, 50 min, 60 min", "start", "end"),
        (durations(0.01, 0.5), "10 ms, 20 ms, 50 ms, 100 ms, 200 ms, 500 ms", "start", "end"),
        (durations(0.002, 0.3), "3 ms, 10 ms, 30 ms, 100 ms, 300 ms", "middle", "end"),
        (durations(0.0, 3.0), "1 µs, 10 µs, 100 µs, 1 ms, 10 ms, 100 ms, 1 s", "start", "middle"),
        (rates(10.0, 100.0), "5/s, 10/s, 20/s, 50/s, 100/s", "start", "middle"),
        (rates(10.0, 10_000.0), "1/s, 10/s, 100/s, 1,000/s, 10,000/s", "start", "end"),
    ],
)
def test_ticks_stand_at_round_figures_and_their_labels_in_the_picture(
    scale: Scale, labels: str, first: str, last: str
) -> None:
    assert ", ".join(label for _, label, _ in scale.ticks) == labels
    assert (scale.ticks[0][2], scale.ticks[-1][2]) == (first, last)
