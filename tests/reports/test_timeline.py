"""The timeline that the terminal and the page draw: what of a request and its task is where."""

import pytest

from taskdemo_cli.reports.scales import ticks
from taskdemo_cli.reports.timeline import Bar

UNTIL_S = 9.0


@pytest.mark.parametrize(
    ("bar", "spans", "trouble"),
    [
        (Bar(1, 0.0, 1.0, True), [("wait", 0.0, 1.0)], None),
        (Bar(1, 0.0, None, True), [("wait", 0.0, 9.0)], None),
        (Bar(1, 0.0, None, False), [("wait", 0.0, 0.0)], None),
        (Bar(1, 0.0, 3.0, True, 1.0, 2.0, "finished"), [("wait", 0.0, 3.0), ("held", 1.0, 2.0)], None),
        (
            Bar(1, 0.0, 1.0, True, 2.0, 3.0, "failed"),
            [("wait", 0.0, 1.0), ("queue", 1.0, 2.0), ("free", 2.0, 3.0)],
            3.0,
        ),
        (
            Bar(1, 0.0, 2.0, True, 1.0, 3.0, "finished"),
            [("wait", 0.0, 2.0), ("free", 2.0, 3.0), ("held", 1.0, 2.0)],
            None,
        ),
        (
            Bar(1, 0.0, 1.0, True, 2.0, None, "started"),
            [("wait", 0.0, 1.0), ("queue", 1.0, 2.0), ("free", 2.0, 9.0)],
            None,
        ),
        (Bar(1, 0.0, 1.0, True, None, None, "accepted"), [("wait", 0.0, 1.0), ("queue", 1.0, 9.0)], None),
        (Bar(1, 0.0, 1.0, True, None, 4.0, "cancelled"), [("wait", 0.0, 1.0), ("queue", 1.0, 4.0)], 4.0),
        (
            Bar(1, 0.0, 1.0, True, 2.0, None, "lost"),
            [("wait", 0.0, 1.0), ("queue", 1.0, 2.0), ("free", 2.0, 9.0)],
            9.0,
        ),
        (Bar(1, 0.0, 1.0, True, None, None, "lost"), [("wait", 0.0, 1.0), ("queue", 1.0, 9.0)], 9.0),
    ],
)
def test_a_bar_has_a_span_for_each_thing_that_one_sees(
    bar: Bar, spans: list[tuple[str, float, float]], trouble: float | None
) -> None:
    assert list(bar.spans(UNTIL_S)) == spans
    assert bar.trouble(UNTIL_S) == trouble


@pytest.mark.parametrize(
    ("horizon_s", "labels"),
    [
        (0.0005, ["0 µs", "100 µs", "200 µs", "300 µs", "400 µs", "500 µs"]),
        (5.0, ["0 s", "1 s", "2 s", "3 s", "4 s", "5 s"]),
        (100.0, ["0 s", "30 s", "60 s", "90 s"]),
        (3600.0, ["0 min", "10 min", "20 min", "30 min", "40 min", "50 min", "60 min"]),
    ],
)
def test_ticks_stand_at_round_moments(horizon_s: float, labels: list[str]) -> None:
    assert [label for _, label in ticks(horizon_s, 6)] == labels
