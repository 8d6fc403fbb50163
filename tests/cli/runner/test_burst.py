"""A burst as its title says it."""

from typing import Any

import pytest

from taskdemo_cli.runner.burst import burst, words


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "1 request"),
        ({"count": 20_000}, "20,000 requests, all at once"),
        ({"count": 3, "concurrency": 5}, "3 requests, all at once"),
        ({"count": 20_000, "concurrency": 2_000}, "20,000 requests, 2,000 at a time"),
        ({"for_s": 0.5, "rate": 1_000_000}, "0.5 s of requests, 1,000,000 a second"),
        ({"for_s": 1e9, "concurrency": 5}, "1,000,000,000 s of requests, 5 at a time"),
    ],
)
def test_a_title_writes_its_figures_as_the_report_does(asked: dict[str, Any], said: str) -> None:
    assert words(burst(**asked)) == said


def test_a_rate_for_a_while_says_how_many_requests_there_are_to_be() -> None:
    assert burst(for_s=2.0, rate=90.0).total == 180
    assert burst(for_s=0.001, rate=90.0).total == 1
    assert burst(for_s=2.0).total is None
