from collections.abc import Sequence
from typing import Any

import pytest

import samples
from samples import events_of, facts, pings, recorder, sample
from taskdemo_cli.changes import compare_saved
from taskdemo_cli.documents import ComparisonDocument, RunDocument
from taskdemo_cli.verdicts import compare, comparison, figure_of, intervals, reference_of, verdict


def run_of(
    mode: str,
    spans: Sequence[tuple[float, float]],
    answers: Sequence[float],
    *,
    held: Sequence[tuple[float, float]] = (),
    overhead: float | None = None,
) -> RunDocument:
    """A run whose tasks worked in these spans and whose requests were answered at these moments."""
    events = []
    for n, (start, end) in enumerate(spans, 1):
        events += events_of(f"t{n}", 0.001, start, end, mode=mode)
    made = [sample(n, done, task=f"t{n}") for n, done in enumerate(answers, 1)]
    recorded = recorder(made, events, pings(max([end for _, end in spans] + list(answers)), held))
    return recorded.document(facts(mode, len(answers)), overhead_s=overhead)


def test_one_request_that_was_answered_before_its_task_ended() -> None:
    text = verdict(run_of("background", [(0.004, 1.0041)], [0.00412]))
    assert text == "Answered in 4 ms; the task ended 1.00 s later; a bystander waited 2 ms at most."


def test_one_request_that_waited_for_its_work() -> None:
    text = verdict(run_of("blocking", [(0.002, 1.002)], [1.0041], held=[(0.002, 1.002)]))
    assert text == "The caller waited 1.00 s, for 1.00 s of work; a bystander was held up for 904 ms."


def test_callers_that_queue_are_told_from_callers_that_wait_for_their_own_work() -> None:
    queued = verdict(samples.blocking_run(5))
    assert queued.startswith("Callers queued: half of them waited 3.01 s or more, the last 5.01 s, each for 1.00 s")
    assert "one at a time" in queued
    own = verdict(samples.threadpool_run(5))
    assert own.startswith("Each caller waited for its own work of 1.00 s")
    assert "all 5 ran at once" in own
    crowded = verdict(samples.threadpool_run(60))
    assert crowded.startswith("Callers queued")
    assert "at most 40 ran at once" in crowded


@pytest.mark.parametrize("mode", ["background", "background-async", "celery"])
def test_a_mode_that_promises_not_to_block_and_does_is_described_as_blocking(mode: str) -> None:
    spans = [(0.002 + n, 1.001 + n) for n in range(5)]
    answers = [0.002 + n for n in range(5)]
    text = verdict(run_of(mode, spans, answers, held=[(0.0015, 5.001)]))
    assert "4 of 5 callers had to wait for the work of others" in text
    assert "the work ran one at a time" in text
    assert "a bystander was held up for 4.90 s" in text


def test_answers_that_are_slow_for_another_reason_are_not_blamed_on_the_work() -> None:
    """The answers come while the work of others runs, so that work did not stand in their way."""
    spans = [(0.01 * n, 0.01 * n + 1.0) for n in range(1, 51)]
    answers = [0.01 * n + 0.002 for n in range(1, 51)]
    text = verdict(run_of("background", spans, answers))
    assert "had to wait" not in text
    assert text.startswith("Answered in 251 ms")


def test_the_name_of_the_mode_decides_nothing() -> None:
    spans, answers = [(0.002 + n, 1.001 + n) for n in range(5)], [1.002 + n for n in range(5)]
    assert verdict(run_of("background", spans, answers)) == verdict(run_of("blocking", spans, answers))


def test_some_callers_waited_and_some_did_not() -> None:
    text = verdict(run_of("process", [(0.002, 1.0)] * 3, [0.004, 0.005, 1.2]))
    assert text.startswith("1 of 3 callers waited for their work to end, 2 did not")


def test_failures_losses_and_what_is_unfinished_are_said() -> None:
    text = verdict(samples.failed_run())
    assert "2 of 6 requests failed (1 HTTP 503, 1 ReadTimeout)" in text
    assert "of 4 tasks 1 failed, 1 lost" in text
    assert "of 2 tasks 1 had not ended when we stopped looking" in verdict(samples.interrupted_run())
    assert "the task was lost" in verdict(
        recorder([sample(1, 0.004, task="t")]).document(facts("background", 1), server_gone=True)
    )


def test_nothing_answered_and_nothing_reported() -> None:
    refused = recorder([sample(n, None, status=None, error="ConnectError") for n in (1, 2)]).document({})
    assert verdict(refused) == "None of 2 requests was answered (2 ConnectError)."
    assert verdict(recorder([]).document({})) == "No request was reported, so nothing can be said."


def test_a_verdict_says_when_the_response_times_are_the_clients_own() -> None:
    text = verdict(run_of("background", [(0.004, 1.0)], [0.0041], overhead=0.002))
    assert "50 % of that median is the client's own time" in text


def test_text_from_outside_is_made_visible() -> None:
    assert verdict(samples.hostile_run()).isprintable()


def test_a_run_without_tasks_speaks_of_answers_only() -> None:
    text = verdict(samples.rate_run())
    assert text == "Answered in 4.9 ms (median; slowest 1.00 s); a bystander was held up for 1.00 s."


def test_the_comparison_speaks_of_every_mode_in_its_order_and_against_the_reference() -> None:
    document = samples.comparison_document()
    assert document["reference"] == "blocking"
    assert [entry["mode"] for entry in document["verdicts"]] == ["blocking", "threadpool", "background"]
    texts = {entry["mode"]: entry["text"] for entry in document["verdicts"]}
    assert "than with blocking" not in texts["blocking"]
    assert "callers were answered 3.0 times sooner than with blocking" in texts["threadpool"]
    assert document["intervals"] == []


def test_the_reference_is_blocking_or_the_first() -> None:
    assert reference_of(["async", "blocking"]) == "blocking"
    assert reference_of(["background", "process"]) == "background"


def rounds_of(mode: str, medians: Sequence[float]) -> list[RunDocument]:
    return [{**run_of(mode, [(0.0005, 1.0)], [median]), "round": number} for number, median in enumerate(medians, 1)]


def test_differences_within_the_noise_of_the_rounds_are_called_so() -> None:
    runs = rounds_of("background", [0.004, 0.006, 0.005]) + rounds_of("process", [0.006, 0.004, 0.0055])
    text = comparison(runs)["verdicts"][1]["text"]
    assert "the difference to the responses of background is within noise" in text


def test_differences_beyond_the_noise_of_the_rounds_are_given() -> None:
    runs = rounds_of("background", [0.004, 0.0041, 0.0042]) + rounds_of("process", [0.0081, 0.0082, 0.0083])
    document = comparison(runs)
    assert "callers were answered 2.0 times later than with background" in document["verdicts"][1]["text"]
    entry: Any = next(
        entry for entry in document["intervals"] if (entry["mode"], entry["figure"]) == ("process", "response_s.p50")
    )
    assert entry["rounds"] == 3
    assert entry["low"] <= entry["mean"] <= entry["high"]
    assert entry["difference"]["mean"] == pytest.approx(0.0041, abs=1e-5)
    assert not entry["difference"]["within_noise"]


def test_work_that_took_longer_than_it_was_asked_to_is_said_so() -> None:
    assert "work of 1.00 s took 2.50 s" in verdict(run_of("threadpool", [(0.002, 2.502)] * 3, [2.51] * 3))
    assert " took " not in verdict(samples.threadpool_run(5))


def test_a_comparison_of_few_answers_says_how_few() -> None:
    runs = [run_of("blocking", [(0.002, 1.002)], [1.004]), run_of("background", [(0.003, 1.003)], [0.004])]
    text = comparison(runs)["verdicts"][1]["text"]
    assert "259 times sooner than with blocking (as far as 1 answer can tell)" in text
    assert "as far as" not in samples.comparison_document()["verdicts"][1]["text"]


def test_one_round_claims_no_small_difference_and_has_no_interval() -> None:
    runs = [run_of("background", [(0.0005, 1.0)], [0.004]), run_of("process", [(0.0005, 1.0)], [0.005])]
    assert intervals(runs, "background", seed=0) == []
    assert "about as soon as with background" in compare(runs, "background")[1]["text"]


def test_a_round_in_which_one_mode_has_no_figure_is_left_out_of_the_difference() -> None:
    broken = recorder([sample(1, None, status=None, error="ConnectError")]).document(
        {**facts("process", 1), "round": 1}
    )
    runs = [*rounds_of("background", [0.004, 0.0041, 0.0042]), broken, *rounds_of("process", [0.01] * 3)[1:]]
    entry = next(e for e in intervals(runs, "background", 0) if e["mode"] == "process" and e["difference"])
    assert entry["rounds"] == 2


def test_an_unsupported_percentile_is_no_figure() -> None:
    assert figure_of(samples.background_run(5), "response_s.p95") is None
    assert figure_of(samples.background_run(20), "response_s.p95") is not None
    assert figure_of(samples.background_run(5), "requests_per_s") is not None
    assert figure_of(samples.failed_run(), "corrected_s.p50") is None


def outcomes(
    old: RunDocument | ComparisonDocument, new: RunDocument | ComparisonDocument
) -> dict[tuple[str, str], str]:
    return {(c["mode"], c["figure"]): c["outcome"] for c in compare_saved(old, new)["changes"]}


def test_two_saved_comparisons_with_rounds_show_what_changed_beyond_noise() -> None:
    old = comparison(rounds_of("background", [0.004, 0.0041, 0.0042]))
    new = comparison(rounds_of("background", [0.008, 0.0081, 0.0082]))
    assert outcomes(old, new)["background", "response_s.p50"] == "worse"
    assert outcomes(new, old)["background", "response_s.p50"] == "better"
    assert outcomes(new, old)["background", "requests_per_s"] == "better"
    assert outcomes(old, old)["background", "response_s.p50"] == "within noise"


def test_two_single_runs_say_that_the_noise_between_runs_is_not_known() -> None:
    changes = compare_saved(samples.blocking_run(), samples.saved(samples.background_run()))
    by_figure = {change["figure"]: change for change in changes["changes"]}
    assert "537 times less" not in by_figure["response_s.max"]["text"]
    assert by_figure["response_s.p50"]["noise_from"] == "requests"
    assert "takes --rounds to know" in by_figure["response_s.p50"]["text"]
    assert by_figure["response_s.max"]["outcome"] == "unknown"
    assert by_figure["response_s.p50"]["mode"] == "blocking -> background"


def test_a_run_compared_with_itself_has_not_changed() -> None:
    run = samples.threadpool_run(60)
    assert set(outcomes(run, run).values()) <= {"within noise", "unknown"}


def test_what_makes_two_results_hard_to_compare_is_said() -> None:
    remarks = compare_saved(samples.blocking_run(5), samples.blocking_run(6))["remarks"]
    assert "blocking: count was 5 and is 6" in remarks
    both = compare_saved(samples.comparison_document(), samples.blocking_run())
    assert both["remarks"][:2] == ["threadpool is only in the old result", "background is only in the old result"]
