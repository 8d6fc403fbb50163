import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import asdict, replace

import samples
from taskdemo_cli.analysis.thresholds import CAPACITY, METRICS, OPERATORS, evaluate, parse, value_of
from taskdemo_cli.errors import UserError
from taskdemo_server.contract.modes import MODE_BY_NAME

MODES = list(MODE_BY_NAME)


@pytest.mark.parametrize(
    ("text", "mode", "metric", "sign", "limit"),
    [
        ("response.p95 > 200ms", None, "response.p95", ">", 0.2),
        ("response.p95>200us", None, "response.p95", ">", 0.0002),
        ("  background.bystander.p99   >=  .5 s ", "background", "bystander.p99", ">=", 0.5),
        ("background-async.first_byte.max<=1.5µs", "background-async", "first_byte.max", "<=", 1.5e-6),
        ("requests.failed > 0", None, "requests.failed", ">", 0),
        ("requests.failed_share >= 1%", None, "requests.failed_share", ">=", 0.01),
        ("client.cpu_share > 0.8", None, "client.cpu_share", ">", 0.8),
        ("client.cpu_share >= 1", None, "client.cpu_share", ">=", 1),
        ("celery.tasks.lost != 0", "celery", "tasks.lost", "!=", 0),
        ("requests_per_s < 100", None, "requests_per_s", "<", 100),
        ("wall == 5.s", None, "wall", "==", 5),
        ("response.count < 10", None, "response.count", "<", 10),
    ],
)
def test_an_expression_is_read(text: str, mode: str | None, metric: str, sign: str, limit: float) -> None:
    threshold = parse(text, MODES)
    assert (threshold.mode, threshold.metric, threshold.operator, threshold.limit) == (mode, metric, sign, limit)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "cannot read ''"),
        ("response.p95", "write it like 'response.p95 > 200ms'"),
        ("response.p95 > ", "cannot read"),
        ("response.p95 >> 200ms", "cannot read"),
        ("response.p95 > 200", "takes one of the units us, ms, s"),
        ("response.p95 > 200%", "takes one of the units us, ms, s"),
        ("response.p95 > 2min", "takes one of the units us, ms, s"),
        ("requests.failed > 1%", "takes no unit"),
        ("requests.failed_share > 1ms", "write 5% or 0.05"),
        ("requests.failed_share > 5", "requests.failed_share is never above 100 %; write 5% or 0.05"),
        ("respones.p95 > 200ms", "did you mean response.p95?"),
        ("response.p96 > 200ms", "did you mean response.p9"),
        ("response > 200ms", "did you mean response.p95?"),
        ("p95 > 200", "did you mean response.p95?"),
        ("max > 1s", "did you mean response.max?"),
        ("sustained > 3", "there is no metric 'sustained'; it is what capacity finds"),
        ("zzz > 1", "write it like 'response.p95 > 200ms'"),
        ("bakground.response.p95 > 200ms", "there is no mode 'bakground' in this run; there are background"),
        ("__import__('os').system('x') > 1", "there is no metric"),
        ("response.p95 > 200ms; x > 1s", "cannot read"),
        ("\x1b[31m > 1", "\\x1b[31m"),
    ],
)
def test_what_cannot_be_read_is_refused_with_what_can_be_written(text: str, says: str) -> None:
    with pytest.raises(UserError) as refused:
        parse(text, MODES)
    assert says in str(refused.value)
    assert str(refused.value).isprintable()
    assert refused.value.exit_code == 2


def test_a_mode_without_compare_is_refused() -> None:
    with pytest.raises(UserError, match=r"without compare there is one mode; write 'response\.p95' alone"):
        parse("background.response.p95 > 1s")


expressions = st.one_of(
    st.text(max_size=60),
    st.builds(
        "{}{}{}{}{}{}".format,
        st.sampled_from(["", *(f"{mode}." for mode in MODES), "x."]),
        st.sampled_from([*METRICS, "response", "tasks.", ".p95", ""]),
        st.sampled_from(["", " ", "\t", "\x00"]),
        st.sampled_from([*OPERATORS, "=", "=>", ""]),
        st.one_of(st.integers().map(str), st.floats().map(str), st.text(max_size=10)),
        st.sampled_from(["us", "ms", "s", "%", "", " ms", "m"]),
    ),
)


@given(expressions)
def test_no_text_does_anything_but_be_read_or_refused(text: str) -> None:
    try:
        threshold = parse(text, MODES)
    except UserError as refused:
        assert str(refused).isprintable()  # noqa: PT017  # the refusal is the subject
        return
    assert threshold.metric in METRICS
    outcome = evaluate(threshold, samples.all_documents()["comparison"])
    assert isinstance(outcome.met, bool)


@pytest.mark.parametrize("name", ["blocking", "failed", "rate"])
def test_every_metric_has_a_value_or_is_not_measured(name: str) -> None:
    values = {metric: value_of(samples.all_documents()[name], metric) for metric in METRICS}
    assert {metric for metric, value in values.items() if value is not None and value < 0} == set()


def test_response_times_are_held_to_those_that_went_well_and_the_failed_apart() -> None:
    refused = [samples.sample(n, 0.001, status=503) for n in range(2, 10)]
    run = samples.recorder([samples.sample(1, 1.0), *refused]).finish(samples.header())
    assert value_of(run, "response.p50") == pytest.approx(1, abs=0.001)
    assert value_of(run, "failed.max") == pytest.approx(0.001, abs=0.0005)
    assert (value_of(run, "response.count"), value_of(run, "failed.count")) == (1, 8)


@pytest.mark.parametrize(
    ("sign", "met"), [("<", [6]), ("<=", [5, 6]), (">", [4]), (">=", [4, 5]), ("==", [5]), ("!=", [4, 6])]
)
def test_a_threshold_is_met_exactly_when_its_condition_is_true(sign: str, met: list[int]) -> None:
    outcomes = {limit: evaluate(parse(f"requests.ok {sign} {limit}"), samples.blocking_run(5)) for limit in (4, 5, 6)}
    assert [limit for limit, outcome in outcomes.items() if outcome.met] == met
    assert {(outcome.value, outcome.found) for outcome in outcomes.values()} == {(5, "requests.ok was 5")}


def test_the_outcome_has_the_measured_value_beside_it() -> None:
    outcome = evaluate(parse("response.max >  4s"), samples.blocking_run(5))
    assert asdict(outcome.row()) == {
        "expression": "response.max > 4s",
        "value": outcome.value,
        "held": True,
        "text": "response.max was 5.01 s, so response.max > 4s is met",
    }
    shares = evaluate(parse("requests.failed_share > 50%"), samples.failed_run())
    assert (shares.met, shares.found) == (False, "requests.failed_share was 33 %")


def test_a_time_is_equal_to_the_same_time_in_another_unit() -> None:
    run = samples.blocking_run(1)
    wall = round(run.summary.wall_s * 1e6)
    assert evaluate(parse(f"wall == {wall}us"), run).met
    assert evaluate(parse(f"wall == {wall / 1e6}s"), run).met


def test_a_percentile_of_too_few_is_told_for_what_it_is() -> None:
    outcome = evaluate(parse("response.p99 > 1s"), samples.blocking_run(5))
    assert outcome.found == "response.p99 was 5.01 s (the maximum: 5 are too few)"


@pytest.mark.parametrize(
    ("expression", "document"),
    [
        *(
            (text, samples.failed_run())
            for text in ("corrected.p95 > 1s", "corrected.p95 < 1s", "client.overhead > 1s")
        ),
        ("tasks.lost > 0", samples.rate_run()),  # a server that is not ours says nothing of tasks
        ("celery.response.max > 1s", samples.comparison_document()),  # a mode that was skipped
    ],
)
def test_what_was_not_measured_does_not_pass_silently(expression: str, document: Any) -> None:
    outcome = evaluate(parse(expression, MODES), document)
    assert (outcome.met, outcome.value) == (True, None)
    assert outcome.row().text.endswith(f" was not measured, so {expression} cannot be ruled out")


@pytest.mark.parametrize(
    ("expression", "met", "told"),
    [
        ("failed_at < 100", False, "failed_at was 100/s or more, so failed_at < 100 is not met"),
        ("failed_at > 50", True, "failed_at was 100/s or more, so failed_at > 50 is met"),
        ("failed_at < 200", True, "failed_at was not measured, so failed_at < 200 cannot be ruled out"),
        ("sustained < 200", True, "sustained was 100/s, so sustained < 200 is met"),
    ],
)
def test_what_gave_in_at_no_rate_did_not_give_in_at_a_lower_one(expression: str, met: bool, told: str) -> None:
    document = samples.capacity_document()
    document = replace(document, modes={"async": document.modes["async"]})  # sustained 100/s, the highest rate tried
    row = evaluate(parse(expression, metrics=CAPACITY), document).row()
    assert (row.held, row.text) == (met, told)


def test_the_requests_of_an_application_are_its_tasks() -> None:
    run = replace(samples.background_run(5), mode=None, app="main.py")
    outcome = evaluate(parse("tasks.failed > 0"), run)
    assert (outcome.met, outcome.value) == (False, 0.0)


def test_in_a_comparison_the_worst_run_of_all_or_of_one_mode_decides() -> None:
    document = samples.comparison_document(2)
    for expression in ("response.max > 1.5s", "requests_per_s < 2"):
        every = evaluate(parse(expression, MODES), document)
        assert every.met
        assert re.search(r" in blocking, round [12]$", every.found)
    assert not evaluate(parse("background.response.max > 1.5s", MODES), document).met
    once = evaluate(parse("response.max > 1.5s"), samples.comparison_document())
    assert once.found.endswith(" in blocking")


def test_of_several_rounds_the_outcome_names_the_one_that_decided() -> None:
    runs = [samples.blocking_run(5), samples.blocking_run(5, round_number=2, late=1.0)]
    document = replace(samples.comparison_document(), runs=runs)
    assert evaluate(parse("response.max > 5.5s"), document).found == "response.max was 10.0 s in round 2"
    least = evaluate(parse("blocking.response.max < 5.5s", MODES), document)
    assert least.found == "response.max was 5.01 s in round 1"


def test_a_value_near_its_limit_is_shown_in_figures_that_tell_the_two_apart() -> None:
    outcome = evaluate(parse("requests.failed_share < 33.4%"), samples.failed_run())
    text = outcome.row().text
    assert text == "requests.failed_share was 33.3 %, so requests.failed_share < 33.4% is met"
