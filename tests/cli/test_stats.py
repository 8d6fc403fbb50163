import math
import random
from fractions import Fraction
from itertools import pairwise
from statistics import StatisticsError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskdemo_cli.stats import (
    BINS,
    average_open,
    histogram,
    interval,
    interval_between,
    most_at_once,
    nearest_rank,
    slope,
    student_975,
    supported,
)
from taskdemo_cli.units import format_count, format_exit, format_rate, format_seconds, format_share

durations = st.lists(st.integers(min_value=0, max_value=10**9), min_size=1, max_size=200)


@given(durations, st.sampled_from([500, 900, 950, 990, 999, 1000]))
def test_a_percentile_is_the_smallest_value_that_enough_of_all_do_not_exceed(values: list[int], per_mille: int) -> None:
    found = nearest_rank(sorted(values), per_mille)
    assert found in values
    needed = Fraction(per_mille, 1000) * len(values)
    assert sum(value <= found for value in values) >= needed
    assert sum(value < found for value in values) < needed


@pytest.mark.parametrize(("name", "first"), [("p50", 1), ("p90", 10), ("p95", 20), ("p99", 100), ("p999", 1000)])
def test_a_percentile_is_supported_from_the_count_on_at_which_one_value_lies_beyond_it(name: str, first: int) -> None:
    assert supported(name, first)
    assert not supported(name, first - 1)


@given(durations)
def test_every_time_is_in_exactly_one_bin(values: list[int]) -> None:
    bins = histogram(sorted(values))
    assert 1 <= len(bins) <= BINS
    assert sum(bar.count for bar in bins) == len(values)
    assert all(before.to_s == after.from_s for before, after in pairwise(bins))
    for place, bar in enumerate(bins):
        last = place == len(bins) - 1
        inside = [v for v in values if bar.from_s <= v / 1e6 < bar.to_s or (last and v / 1e6 == bar.to_s)]
        assert bar.count == len(inside)


def test_bins_have_one_width_where_times_are_alike_and_one_ratio_where_they_are_not() -> None:
    alike = histogram(list(range(1_000_000, 2_000_001, 1000)))
    assert {round(bar.to_s - bar.from_s, 6) for bar in alike} == {0.1}
    spread = histogram(sorted([1000, *[2000] * 98, 5_000_000]))
    ratios = [bar.to_s / bar.from_s for bar in spread]
    assert max(ratios) / min(ratios) < 1.01


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20)), max_size=40))
def test_most_at_once_is_what_counting_at_every_moment_finds(spans: list[tuple[int, int]]) -> None:
    starts = sorted(start for start, _ in spans)
    ends = sorted(start + length for start, length in spans)
    counted = max((sum(s <= moment < s + length for s, length in spans) for moment in range(80)), default=0)
    assert most_at_once(starts, ends) == counted


def test_work_without_an_end_runs_on() -> None:
    assert most_at_once([1, 2, 30], [3]) == 2


DRAWS = 4000


@pytest.mark.parametrize("rounds", [2, 3, 5])
def test_the_interval_covers_the_truth_as_often_as_it_says(rounds: int) -> None:
    source = random.Random(4711)
    covered = 0
    for _ in range(DRAWS):
        low, high = interval([source.gauss(10.0, 2.0) for _ in range(rounds)])
        covered += low <= 10.0 <= high
    assert covered / DRAWS == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize("rounds", [2, 3, 5])
def test_the_interval_of_a_difference_covers_it_at_least_as_often_as_it_says(rounds: int) -> None:
    source = random.Random(4711)
    covered = 0
    for _ in range(DRAWS):
        olds, news = ([source.gauss(mean, 2.0) for _ in range(rounds)] for mean in (10.0, 11.0))
        low, high = interval_between(olds, news)
        covered += low <= 1.0 <= high
    assert 0.945 <= covered / DRAWS <= 0.99


@pytest.mark.parametrize(("degrees", "quantile"), [(1, 12.706), (2, 4.303), (30, 2.042), (60, 2.000), (1e9, 1.960)])
def test_students_quantiles_are_those_of_the_tables(degrees: float, quantile: float) -> None:
    assert student_975(degrees) == pytest.approx(quantile, abs=0.001)


def test_one_round_has_no_interval() -> None:
    with pytest.raises(StatisticsError):
        interval([1.0])
    with pytest.raises(StatisticsError):
        interval_between([1.0], [1.0, 2.0])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 µs"),
        (0.000_004_2, "4.2 µs"),
        (0.000_85, "850 µs"),
        (0.000_999_6, "1 ms"),
        (0.0041, "4.1 ms"),
        (0.004, "4 ms"),
        (0.0123, "12 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.00 s"),
        (1.0, "1.00 s"),
        (9.996, "10.0 s"),
        (125.4, "125 s"),
        (-0.002, "-2 ms"),
    ],
)
def test_seconds_are_written_with_the_unit_that_fits(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def test_shares_and_counts_are_short() -> None:
    assert [format_share(share) for share in (0.0, 0.004, 0.12, 1.0)] == ["0 %", "0.4 %", "12 %", "100 %"]
    assert [format_share(share) for share in (0.0002, 0.000499, 0.0005)] == ["0.02 %", "0.05 %", "0.1 %"]
    assert format_count(1, "task") == "1 task"
    assert format_count(12345, "task") == "12,345 tasks"
    assert format_count(8.123) == "8.12"
    assert math.isclose(float(format_count(99.96)), 100)


def test_the_slope_of_points_on_a_line_is_exact_and_certain() -> None:
    found = slope([0.0, 1.0, 2.0, 5.0], [3.0, 5.0, 7.0, 13.0])
    assert found == pytest.approx((2.0, 2.0, 2.0))


def test_nineteen_of_twenty_intervals_of_a_slope_hold_the_true_one() -> None:
    chance = random.Random(7)
    xs = [float(x) for x in range(12)]
    held = 0
    for _ in range(2000):
        found = slope(xs, [0.5 * x + chance.gauss(0, 3) for x in xs])
        held += found.low <= 0.5 <= found.high
    assert 0.935 <= held / 2000 <= 0.965


def test_of_each_span_it_is_told_how_many_intervals_are_open_on_average() -> None:
    intervals = [(0.0, 2.0), (1.5, math.inf), (-3.0, 0.5), (-2.0, -1.0), (2.0, 2.0), (math.inf, 3.0)]
    assert average_open(intervals, 0.0, 4.0, 4) == pytest.approx([1.5, 1.5, 1.0, 1.0])
    assert average_open([(start + 1, end + 1) for start, end in intervals], 1.0, 5.0, 4) == pytest.approx(
        [1.5, 1.5, 1, 1]
    )


def test_a_rate_has_as_many_figures_as_tell_it_from_its_neighbours() -> None:
    rates = [0.5, 0.034, 9.504, 37.94, 99.96, 391.7, 1567.0, -2.5, -1e-9]
    assert [format_rate(rate) for rate in rates] == [
        *("0.5/s", "0.034/s", "9.5/s", "37.9/s", "100/s", "392/s", "1,570/s", "-2.5/s", "0/s")
    ]


def test_a_process_that_a_signal_ended_is_told_by_its_name() -> None:
    assert [format_exit(code) for code in (3, 0, -9, -1000)] == ["exit 3", "exit 0", "SIGKILL", "exit -1000"]
