from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

import samples
from samples import T0, events_of, facts, pings, recorder, sample
from taskdemo_cli.analysis.rounds import figure_of, intervals, reference_of
from taskdemo_cli.analysis.verdicts import compare, comparison, verdict
from taskdemo_cli.documents.run import RunDocument
from taskdemo_cli.recording.summary import doubted


def run_of(
    mode: str,
    spans: Sequence[tuple[float, float]],
    answers: Sequence[float],
    *,
    held: Sequence[tuple[float, float]] = (),
    overhead: float | None = None,
    where: str = "laptop pid 4711 worker thread 1",
) -> RunDocument:
    """A run whose tasks worked in these spans and whose requests were answered at these moments."""
    events = []
    for n, (start, end) in enumerate(spans, 1):
        events += events_of(f"t{n}", 0.001, start, end, mode=mode, where=where)
    made = [sample(n, done, task=f"t{n}") for n, done in enumerate(answers, 1)]
    recorded = recorder(made, events, pings(max([end for _, end in spans] + list(answers)), held))
    return doubted(recorded.finish(facts(mode, len(answers))), overhead)


def test_one_request_that_was_answered_before_its_task_ended() -> None:
    text = verdict(run_of("background", [(0.004, 1.0041)], [0.00412]))
    assert text == "Answered in 4 ms; the task ended 1.00 s later; other requests (GET /ping) waited at most 2 ms."


def test_one_request_that_waited_for_its_work() -> None:
    text = verdict(run_of("blocking", [(0.002, 1.002)], [1.0041], held=[(0.002, 1.002)]))
    assert text == "The caller waited 1.00 s, for 1.00 s of work; other requests (GET /ping) were held up for 904 ms."


def test_callers_that_queue_are_told_from_callers_that_wait_for_their_own_work() -> None:
    queued = verdict(samples.blocking_run(5))
    assert queued.startswith("Callers queued: they waited 3.01 s (median; the last 5.01 s), each for 1.00 s")
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
    loop = "laptop pid 4711 event loop"
    text = verdict(run_of(mode, spans, answers, held=[(0.0015, 5.001)], where=loop))
    assert "4 of 5 callers had to wait for the work of others" in text
    assert "the work ran one at a time" in text
    assert "other requests (GET /ping) were held up for 4.90 s" in text


def test_answers_that_are_slow_for_another_reason_are_not_blamed_on_the_work() -> None:
    """The answers come while the work of others runs, so that work did not stand in their way."""
    spans = [(0.01 * n, 0.01 * n + 1.0) for n in range(1, 51)]
    answers = [0.01 * n + 0.002 for n in range(1, 51)]
    text = verdict(run_of("background", spans, answers))
    assert "had to wait" not in text
    assert text.startswith("Answered in 251 ms")


@pytest.mark.parametrize("where", ["laptop pid 4711 event loop", "laptop pid 8 MainThread"])
def test_a_burst_that_the_server_needs_time_to_read_is_not_held_up_by_work(where: str) -> None:
    """Nobody's work had begun when the answers came, or it only slept beside them."""
    before = run_of("celery", [(0.3 + 0.02 * n, 0.32 + 0.02 * n) for n in range(5)], [0.2] * 5, where=where)
    beside = run_of(
        "background-async",
        [(0.001 * n, 0.02 + 0.001 * n) for n in range(200)],
        [0.0005 + 0.001 * n for n in range(200)],
        where=where,
    )
    for run in (before, beside):
        assert run.summary.tasks.held_up == 0
        assert "others" not in verdict(run)


def test_the_figures_of_the_answers_are_those_that_were_no_error() -> None:
    refused = [sample(n, 0.001 * n, status=503) for n in range(2, 10)]
    run = recorder([sample(1, 1.0), *refused], count=9).finish(facts("background", 9))
    text = verdict(run)
    assert text.startswith(
        "8 of 9 requests failed (8 HTTP 503; half of these answers took 4.8 ms or less). Answered in 1"
    )
    assert run.summary.requests.statuses == {"503": 8, "200": 1}


def test_the_name_of_the_mode_decides_nothing() -> None:
    spans, answers = [(0.002 + n, 1.001 + n) for n in range(5)], [1.002 + n for n in range(5)]
    assert verdict(run_of("background", spans, answers)) == verdict(run_of("blocking", spans, answers))


def test_where_one_is_answered_before_its_work_ends_none_is_said_to_wait_for_it() -> None:
    """Of short work and a busy server, some ends before its answer is out: the page did not wait for it."""
    run = run_of("celery", [(0.002, 1.0)] * 3, [0.004, 0.005, 1.2])
    assert run.summary.tasks.waited_for_work == 1
    (said,) = comparison([run]).verdicts
    assert said.text.startswith("Answered in 4.9 ms (median; slowest 1.20 s); the last task ended")
    assert str(said.short).startswith("answered first")


def test_why_tasks_failed_and_were_lost_is_told_in_a_sentence_with_one_full_stop() -> None:
    failed = events_of("t1", 0.002, 0.003, 1.0, state="failed", error="ValueError: no such report.")
    lost = events_of("t2", 0.002, 0.003, 1.0, state="lost", error="Given up after 3 processes had died.")
    run = recorder([sample(1, 0.004, task="t1"), sample(2, 0.004, task="t2")], [*failed, *lost]).finish(facts("rq", 2))
    why = "Of 2 tasks 1 failed (ValueError: no such report), 1 lost (Given up after 3 processes had died). Answered"
    for text in (verdict(run), comparison([run]).verdicts[0].text):
        assert text.startswith(why)
    alone = recorder([sample(1, 0.004, task="t1")], failed).finish(facts("rq", 1))
    assert verdict(alone).startswith("The task failed: ValueError: no such report. So ")


def test_failures_losses_and_what_is_unfinished_are_said() -> None:
    text = verdict(samples.failed_run())
    assert "2 of 6 requests failed (1 HTTP 503, 1 ReadTimeout; that answer took 2.8 ms)" in text
    assert "of 4 tasks 1 failed (ValueError: no such report), 1 lost" in text.partition(". ")[0]
    short = comparison([samples.failed_run()]).verdicts[0].short
    assert str(short).startswith("2 of 6 requests failed; of 4 tasks 1 failed, 1 lost")
    given_up = replace(samples.interrupted_run(), interrupted=False)
    assert "of 2 tasks 1 had not ended when we stopped looking" in verdict(given_up)
    assert "The task was lost. " in verdict(
        recorder([sample(1, 0.004, task="t")]).finish(facts("background", 1), server_gone=True)
    )


def test_an_answer_that_had_begun_when_time_was_up_is_told_from_none() -> None:
    streams = [
        (*sample(n, 2.0, error="ReadTimeout")[:3], T0 + 0.003, *sample(n, 2.0, error="ReadTimeout")[4:]) for n in (1, 2)
    ]
    assert verdict(recorder(streams).finish({}, timed_out=True)) == (
        "None of 2 requests was answered to its end (2 ReadTimeout; 2 answers were still going on, as those of a "
        "stream do, begun within 2.9 ms)."
    )
    text = verdict(recorder([streams[0], sample(2, 0.1)]).finish({}, timed_out=True))
    assert text.startswith(
        "1 of 2 requests failed (1 ReadTimeout; 1 answer was still going on, as those of a stream do"
    )
    own = verdict(recorder(streams).finish({"app": "main:app"}, timed_out=True), "Said of the endpoint.")
    assert "still going on" not in own


def test_nothing_answered_and_nothing_reported() -> None:
    refused = recorder([sample(n, None, status=None, error="ConnectError") for n in (1, 2)]).finish({})
    assert verdict(refused) == "None of 2 requests was answered (2 ConnectError)."
    why = ("Connection refused", "Connection refused", "Cannot assign requested address", None)
    several = recorder(
        [sample(n, None, status=None, error="ConnectError", reason=one) for n, one in enumerate(why, 1)]
    ).finish({})
    assert several.summary.requests.errors == {"ConnectError": 4}
    assert verdict(several) == (
        "None of 4 requests was answered (2 ConnectError: Connection refused, 1 ConnectError, "
        "1 ConnectError: Cannot assign requested address)."
    )
    assert verdict(recorder([]).finish({})) == "No request was reported, so nothing can be said."


def test_a_verdict_says_when_the_response_times_are_the_clients_own() -> None:
    text = verdict(run_of("background", [(0.004, 1.0)], [0.0041], overhead=0.003))
    assert (
        "a server that does nothing answers this client in 3 ms, 75 % of these 4 ms, so take it as the client's figure"
        in text
    )


def test_a_small_part_of_the_clients_own_is_said_and_nothing_more() -> None:
    text = verdict(run_of("background", [(0.004, 1.0)], [0.0041], overhead=0.0007))
    assert "; a server that does nothing answers this client in 700 µs, 18 % of these 4 ms; " in text
    runs = [
        run_of("blocking", [(0.002, 1.002)], [1.004]),
        run_of("background", [(0.003, 1.0)], [0.004], overhead=0.001),
    ]
    assert "than with blocking" not in comparison(runs).verdicts[1].text
    assert "answered at once, and with blocking after 1.00 s" in comparison(runs).verdicts[1].text


def test_text_from_outside_is_made_visible() -> None:
    assert verdict(samples.hostile_run()).isprintable()


def test_a_run_without_tasks_speaks_of_answers_only() -> None:
    text = verdict(samples.rate_run())
    assert text == "Answered in 4.9 ms (median; slowest 1.00 s); other requests (GET /ping) were held up for 1.00 s."


def test_the_comparison_speaks_of_every_mode_in_its_order_and_against_the_reference() -> None:
    document = samples.comparison_document()
    assert document.reference == "blocking"
    assert [entry.mode for entry in document.verdicts] == ["blocking", "threadpool", "background"]
    texts = {entry.mode: entry.text for entry in document.verdicts}
    assert "than with blocking" not in texts["blocking"]
    assert "callers were answered 3.0 times sooner than with blocking" in texts["threadpool"]
    assert document.intervals == []


def test_the_reference_is_blocking_or_the_first() -> None:
    assert reference_of(["async", "blocking"]) == "blocking"
    assert reference_of(["background", "process"]) == "background"


def rounds_of(mode: str, medians: Sequence[float]) -> list[RunDocument]:
    return [replace(run_of(mode, [(0.0005, 1.0)], [median]), round=number) for number, median in enumerate(medians, 1)]


def test_differences_within_the_noise_of_the_rounds_are_called_so() -> None:
    runs = rounds_of("background", [0.004, 0.006, 0.005]) + rounds_of("process", [0.006, 0.004, 0.0055])
    text = comparison(runs).verdicts[1].text
    assert "the difference to the responses of background is within noise" in text


def test_differences_beyond_the_noise_of_the_rounds_are_given() -> None:
    runs = rounds_of("background", [0.004, 0.0041, 0.0042]) + rounds_of("process", [0.0081, 0.0082, 0.0083])
    document = comparison(runs)
    assert "callers were answered 2.0 times later than with background" in document.verdicts[1].text
    entry: Any = next(
        entry for entry in document.intervals if (entry.mode, entry.figure) == ("process", "response_s.p50")
    )
    assert entry.rounds == 3
    assert entry.low <= entry.mean <= entry.high
    assert entry.difference.mean == pytest.approx(0.0041, abs=1e-5)
    assert not entry.difference.within_noise


def test_work_that_took_longer_than_it_was_asked_to_is_said_so() -> None:
    assert "work of 1.00 s took 2.50 s" in verdict(run_of("threadpool", [(0.002, 2.502)] * 3, [2.51] * 3))
    assert " took " not in verdict(samples.threadpool_run(5))


def test_a_comparison_of_few_answers_says_how_few() -> None:
    runs = [run_of("blocking", [(0.002, 1.002)], [1.004]), run_of("background", [(0.003, 1.003)], [0.004])]
    text = comparison(runs).verdicts[1].text
    assert "answered at once, and with blocking after 1.00 s (as far as 1 answer can tell)" in text
    assert "as far as" not in samples.comparison_document().verdicts[1].text


def test_one_round_claims_no_small_difference_and_has_no_interval() -> None:
    runs = [run_of("background", [(0.0005, 1.0)], [0.004]), run_of("process", [(0.0005, 1.0)], [0.005])]
    assert intervals(runs, "background") == []
    assert "about as soon as with background" in compare(runs, "background")[1].text


def test_a_round_in_which_one_mode_has_no_figure_is_left_out_of_the_difference() -> None:
    broken = recorder([sample(1, None, status=None, error="ConnectError")]).finish({**facts("process", 1), "round": 1})
    runs = [*rounds_of("background", [0.004, 0.0041, 0.0042]), broken, *rounds_of("process", [0.01] * 3)[1:]]
    entry = next(e for e in intervals(runs, "background") if e.mode == "process" and e.difference)
    assert entry.rounds == 2


def test_an_unsupported_percentile_is_no_figure() -> None:
    assert figure_of(samples.background_run(5), "response_s.p95") is None
    assert figure_of(samples.background_run(20), "response_s.p95") is not None
    assert figure_of(samples.background_run(5), "requests_per_s") is not None
    assert figure_of(samples.failed_run(), "corrected_s.p50") is None


def interrupted(run: RunDocument) -> RunDocument:
    return replace(run, interrupted=True)


def test_an_interrupted_run_says_first_what_it_was_cut_short_at_and_calls_nobody_failed() -> None:
    text = verdict(samples.interrupted_run())
    stopped = "Interrupted after 6.00 s; 1 of 5 was answered, 2 were still waiting when you stopped, 2 not sent. "
    assert text.startswith(stopped)
    assert "Cancelled" not in text
    assert "failed" not in text
    unreached = [sample(n, None, status=None, error="ConnectError") for n in (1, 2, 3)]
    broken_off = [*unreached, sample(4, None, status=None, error="Cancelled"), sample(5, 0.1, status=503)]
    text = verdict(interrupted(recorder(broken_off).finish(facts("blocking", 5))))
    assert "; 1 of 5 was answered, 3 failed without an answer, 1 was still waiting when you stopped. " in text


def test_of_a_task_whose_end_was_not_heard_of_nothing_is_claimed() -> None:
    """The second caller was answered after its work, but a blocked loop had no time to send word of it."""
    events = [
        *events_of("t1", 0.001, 0.002, 1.0, mode="blocking"),
        *events_of("t2", 1.001, 1.002, 2.0, mode="blocking")[:2],
    ]
    run = recorder([sample(1, 1.001, task="t1"), sample(2, 2.001, task="t2")], events).finish(facts("blocking", 2))
    assert run.summary.tasks.answered_before_end == 0
    text = verdict(interrupted(run))
    assert "did not" not in text
    assert "No word had come of the end of 1 task" in text
    assert "had not ended" not in text


def test_a_bystander_that_was_not_answered_has_waited_at_least_so_long() -> None:
    unanswered = sample(9, 3.34, sent=0.5, status=None, error="Cancelled")
    run = recorder([sample(1, 1.004)], bystander=[*pings(0.3), unanswered]).finish(facts("blocking", 1))
    assert "other requests (GET /ping) were held up for at least 2.84 s" in verdict(run)
    assert run.summary.bystander_s is not None
    assert (run.summary.bystander_s.max, run.summary.bystander_s.count) == (2.84, 4)
    alone = recorder([sample(1, 1.004)], bystander=[unanswered]).finish(facts("blocking", 1))
    assert "other requests (GET /ping) waited 2.84 s and got no answer at all" in verdict(alone)


def test_a_round_that_was_cut_short_is_left_out_of_the_figures_of_the_others() -> None:
    whole, cut = rounds_of("background", [0.004, 0.9])
    document = comparison([whole, interrupted(cut), *rounds_of("process", [0.005])])
    text = document.verdicts[0].text
    assert text.startswith("Round 2 was interrupted after ")
    assert "Answered in 3.9 ms; " in text
    assert not [entry for entry in document.intervals if entry.mode == "background"]
    alone = comparison([interrupted(whole), *rounds_of("process", [0.5])]).verdicts[1].text
    assert "than with background" not in alone


def test_over_rounds_a_typical_time_is_the_mean_and_a_longest_one_is_the_longest_of_all() -> None:
    runs = rounds_of("background", [0.002, 0.003, 0.01])
    runs[1] = replace(runs[1], bystander=[replace(runs[1].bystander[0], response_s=0.03)])
    document = comparison(runs)
    text = document.verdicts[0].text
    mean = next(entry.mean for entry in document.intervals if entry.figure == "response_s.p50")
    assert mean == pytest.approx(0.00488)
    assert text.startswith("Answered in 4.9 ms (median; slowest 9.9 ms)")
    assert "other requests (GET /ping) waited at most 30 ms" in text


def test_where_every_request_failed_nothing_else_is_said_but_what_was_seen_of_the_endpoint() -> None:
    refused = recorder([sample(n, 0.003, status=405) for n in (1, 2)], bystander=pings(1.0)).finish({})
    took = "half of these answers took 2.9 ms or less"
    assert verdict(refused) == f"All 2 requests failed (HTTP 405); {took}. So nothing can be said of waiting."
    assert verdict(refused, "About the endpoint.") == f"All 2 requests failed (HTTP 405); {took}. About the endpoint."


def test_where_every_task_failed_its_error_is_named_once_and_made_visible() -> None:
    runs = []
    for mode in ("background", "process"):
        events = [
            one
            for n in (1, 2)
            for one in events_of(
                f"t{n}", 0.001, 0.002, 0.003, mode=mode, state="failed", error="KeyError: \x1b" + "x" * 900
            )
        ]
        made = [sample(n, 0.004, task=f"t{n}") for n in (1, 2)]
        runs.append(recorder(made, events, pings(0.1)).finish(facts(mode, 2)))
    first, second = (entry.text for entry in comparison(runs).verdicts)
    assert first.startswith("All 2 tasks failed: KeyError: \\x1bxxx")
    assert len(first) < 200
    assert second == "All 2 tasks failed: the same error. So nothing can be said of waiting."


def test_work_that_takes_next_to_nothing_explains_no_waiting() -> None:
    spans, answers = [(0.01 * n, 0.01 * n + 0.00003) for n in range(1, 6)], [0.01 * n + 0.001 for n in range(1, 6)]
    for text in (
        verdict(run_of("background", [(start + 0.002, end + 0.002) for start, end in spans], answers)),
        verdict(run_of("blocking", spans, answers)),
    ):
        assert text.startswith("Answered in 31 ms (median; slowest 51 ms);")
        assert "others" not in text
    once_longer = [*spans[:4], (0.05, 0.065)]
    assert "queued" not in verdict(run_of("blocking", once_longer, [*answers[:4], 0.2]))


def placed(
    mode: str, wheres: Sequence[str], work: str, spans: Sequence[tuple[float, float]], held: float, cpu_s: float = 0.0
) -> RunDocument:
    events = [
        one
        for n, ((start, end), where) in enumerate(zip(spans, wheres, strict=True), 1)
        for one in events_of(f"t{n}", 0.001, start, end, mode=mode, where=where, cpu_s=cpu_s)
    ]
    made = [sample(n, 0.004, task=f"t{n}") for n in range(1, len(spans) + 1)]
    recorded = recorder(made, events, pings(2.0, [(0.2, 0.2 + held)] if held else []))
    return recorded.finish({**facts(mode, len(spans)), "work": work})


def test_the_cause_is_named_where_the_tasks_say_where_they_ran() -> None:
    in_turn, at_once = [(0.002, 1.0), (1.001, 2.0)], [(0.002, 2.5), (0.002, 2.5)]
    loop, threads = ["laptop pid 1 event loop"] * 2, ["laptop pid 1 AnyIO worker thread 7"] * 2
    stuck = verdict(placed("async", loop, "cpu", in_turn, 1.0))
    assert "the work ran one at a time: it never awaits, so it blocks the event loop" in stuck
    assert "awaits" not in verdict(placed("async", loop, "cpu", in_turn, 0.0))
    shared = verdict(placed("background", threads, "cpu", at_once, 0.3, 1.0))
    assert "work of 1.00 s took 2.50 s, because 2 threads shared one interpreter with the server" in shared
    assert shared.count("interpreter") == 1
    own = verdict(placed("background", threads, "shop:report", at_once, 0.3, 1.0))
    assert "held up for 302 ms, because the work computes in threads" in own
    assert "because" not in verdict(placed("background", threads, "shop:report", [(0.002, 1.0)] * 2, 0.3))
    # Two that computed all the time at the same time had an interpreter each: none was shared.
    assert "interpreter" not in verdict(placed("background", threads, "shop:report", [(0.002, 1.0)] * 2, 0.3, 0.95))


def test_work_that_ran_one_at_a_time_because_it_was_asked_for_so_is_not_blamed() -> None:
    spans, loop = [(0.002, 1.0), (1.001, 2.0)], ["laptop pid 1 event loop"] * 2
    run = replace(placed("async", loop, "sleep", spans, 1.0), concurrency=1)
    assert "the work ran one at a time" in verdict(run)
    assert "awaits" not in verdict(run)


def test_who_waits_for_long_is_not_answered_at_once_however_long_others_wait() -> None:
    late = run_of("blocking", [(0.002, 1.0)] * 3, [200.0] * 3)
    runs = [
        late,
        run_of("async", [(0.002, 1.002)] * 3, [1.003] * 3),
        run_of("background", [(0.002, 1.002)] * 3, [0.003] * 3),
    ]
    _, waiting, at_once = comparison(runs).verdicts
    assert "callers were answered 199 times sooner than with blocking" in waiting.text
    assert "callers were answered at once, and with blocking after 200 s" in at_once.text


def test_processes_are_named_where_they_are_what_bounds_how_much_runs_at_once() -> None:
    wheres = [f"laptop pid {pid} MainThread {pid}" for pid in (8, 9, 8, 9)]
    spans = [(0.002, 1.0), (0.002, 1.0), (1.001, 2.0), (1.001, 2.0)]
    waits = replace(placed("process", wheres, "sleep", spans, 0.0), slots=2)
    assert "; 2 at a time, one per CPU; --processes 4 runs all at once; " in verdict(waits)
    assert "per CPU" not in verdict(replace(waits, slots=8))
    for tasks, offered in ((1000, "--processes 1000 runs all at once"), (1001, None)):
        counts = replace(waits.summary.tasks, accepted=tasks, finished=tasks)
        said = verdict(replace(waits, summary=replace(waits.summary, tasks=counts)))
        assert (offered in said) if offered else ("--processes" not in said)  # which takes no more
    computes = replace(placed("process", wheres, "cpu", spans, 0.0, 0.99), slots=2)
    assert "; 2 at a time, one per CPU; other requests" in verdict(computes)


def test_what_an_application_does_in_a_call_is_not_called_its_work() -> None:
    """The calls of a `def` endpoint that wait for a worker thread are under way too."""
    run = replace(samples.threadpool_run(60), app="shop:app", mode=None, work=None)
    text = verdict(run, "About the endpoint.")
    assert text.startswith("About the endpoint. ")
    assert "at once" not in text
    assert "bystander" not in text


def test_a_wait_near_the_limit_is_called_close() -> None:
    run = run_of("background", [(0.004, 1.0)], [0.004], held=[(0.1, 0.18)])
    assert "waited at most 82 ms (close to the limit of 100 ms)" in verdict(run)
    run = run_of("background", [(0.004, 1.0)], [0.004], held=[(0.1, 0.25)])
    assert "were held up for 152 ms (close to the limit of 100 ms)" in verdict(run)


def test_the_bystander_is_explained_once_in_a_comparison() -> None:
    texts = [entry.text for entry in samples.comparison_document().verdicts]
    assert ["GET /ping" in text for text in texts] == [True, False, False]
