"""Whether a step was sustained, which rate comes next, and what gave in: without a clock or a server."""

import contextlib
import dataclasses
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from samples import SETTLE_S, STEP_S, WORK_S, open_loop_run
from taskdemo_cli.analysis.capacity.search import bracket, next_rate
from taskdemo_cli.analysis.capacity.step import is_hopeless, read_step
from taskdemo_cli.analysis.capacity.subject import Subject
from taskdemo_cli.analysis.capacity.verdict import judge
from taskdemo_cli.analysis.thresholds import CAPACITY, check_conditions, evaluate, parse
from taskdemo_cli.documents.blocking import Blocking, Place
from taskdemo_cli.documents.capacity import CapacityDocument, CapacityStep, Confirmation
from taskdemo_cli.errors import UserError
from taskdemo_server.contract.settings import Settings


def subject(mode: str, *, threads: int = 4, processes: int = 2, work: str = "sleep", work_s: float = WORK_S) -> Subject:
    settings = Settings(mode=mode, journal="", threads=threads, processes=processes, work=work, duration=work_s)
    return Subject(settings, work_s)


def step(rate: float, at_once: int, *, of: Subject | None = None, **details: Any) -> CapacityStep:
    mode = (of.mode.name if of and of.mode else None) or "background"
    return read_step(open_loop_run(rate, at_once, mode=mode, **details), SETTLE_S, STEP_S, of or subject("background"))


@pytest.mark.parametrize("waits", [False, True], ids=["answers first", "answers last"])
@pytest.mark.parametrize(
    ("share", "sustained"), [(0.5, True), (0.95, True), (1.0, True), (1.05, False), (1.5, False), (4.0, False)]
)
def test_a_rate_is_sustained_while_the_backlog_does_not_grow(share: float, sustained: bool, waits: bool) -> None:
    found = step(40 * share, 4, waits=waits)
    assert found.sustained is sustained
    assert found.backlog_growth_per_s == pytest.approx(max(40 * (share - 1), 0.0), abs=0.5)
    assert found.growth_low_per_s <= found.backlog_growth_per_s <= found.growth_high_per_s


def test_a_single_stall_that_is_made_up_for_is_no_growth() -> None:
    assert step(20, 4, stalls=[(1.0, 1.3)]).sustained


def test_a_step_that_was_ended_early_is_judged_until_the_last_that_was_heard_of() -> None:
    found = step(80, 4, cut_s=1.6)
    assert not found.sustained
    assert found.failed == 0, "what was still waiting has not failed"
    assert found.backlog_growth_per_s == pytest.approx(40, rel=0.1)


def test_a_request_that_fails_means_that_the_rate_is_not_sustained() -> None:
    found = step(20, 4, failing=3)
    assert (found.cause, found.failed) == ("refused", 3)
    assert found.why == "3 of 68 requests failed (3 HTTP 503)"


def test_a_client_that_sends_late_is_the_limit_itself() -> None:
    found = step(20, 4, sent_late_s=0.2)
    assert (found.sustained, found.cause) == (False, "client")


def test_a_condition_that_does_not_hold_or_was_not_measured_means_that_the_rate_is_not_sustained() -> None:
    run = open_loop_run(20, 4, waits=True)
    for text, sustained in (
        ("response.p95 < 200ms", True),
        ("response.p95 < 50ms", False),
        ("bystander.max < 1s", False),
    ):
        found = read_step(run, SETTLE_S, STEP_S, subject("background"), [parse(text, option="--while")])
        assert found.sustained is sustained
        assert found.cause == (None if sustained else "threshold")
    found = read_step(run, SETTLE_S, STEP_S, subject("background"), [parse("response.p95 < 50ms", option="--while")])
    assert found.why == "response.p95 was 101 ms, and --while asks for response.p95 < 50ms"
    found = read_step(run, SETTLE_S, STEP_S, subject("background"), [parse("bystander.max < 1s", option="--while")])
    assert found.why == "bystander.max was not measured, and --while asks for bystander.max < 1s"


def test_a_condition_on_failed_answers_holds_where_none_failed() -> None:
    failed = parse("failed.p95 < 1s", option="--while")
    assert read_step(open_loop_run(20, 4), SETTLE_S, STEP_S, subject("background"), [failed]).sustained


@pytest.mark.parametrize(
    ("metric", "of_modes", "of_an_app", "of_a_foreign_url"),
    [
        ("client.overhead", False, False, False),
        ("bystander_threads.max", False, True, False),
        ("bystander.max", True, True, False),
        ("tasks.last_ended", True, True, False),
        ("response.p95", True, True, True),
        ("failed.p95", True, True, True),
    ],
)
def test_a_condition_on_what_no_step_measures_is_refused(
    metric: str, of_modes: bool, of_an_app: bool, of_a_foreign_url: bool
) -> None:
    condition = parse(f"{metric} < 1s", option="--while")
    targets = ((of_modes, False, False), (of_an_app, True, False), (of_a_foreign_url, False, True))
    for is_taken, has_threads, is_foreign in targets:
        refused = pytest.raises(UserError, match=f"--while '{metric} < 1s': {metric} is not measured here; ask for")
        with contextlib.nullcontext() if is_taken else refused:
            check_conditions([condition], has_threads=has_threads, is_foreign=is_foreign)


@pytest.mark.parametrize(
    ("mode", "at_once", "cause", "why"),
    [
        ("blocking", 1, "event loop", "the work blocks the event loop, so it runs one at a time"),
        ("threadpool", 4, "threads", "all 4 threads were busy"),
        ("background", 4, "threads", "all 4 threads were busy"),
        (
            *("threadpool", 2, "interpreter"),
            "at most 2 of 4 threads were busy while requests waited, and threads share one Python interpreter",
        ),
        ("background-async", 30, "event loop", "the event loop was busy"),
        ("process", 2, "processes", "all 2 processes were busy"),
        ("process", 1, "event loop", "the event loop was busy"),
        ("celery", 2, "processes", "all 2 processes were busy"),
        (
            *("celery", 1, "broker"),
            "the worker had at most 1 of its 2 processes busy while tasks waited in the queue",
        ),
    ],
)
def test_what_gave_in_is_what_there_was_no_more_of(mode: str, at_once: int, cause: str, why: str) -> None:
    found = step(2 * at_once / WORK_S, at_once, of=subject(mode))
    assert (found.cause, found.why) == (cause, why)


def test_of_one_thread_or_process_it_is_said_that_it_was_busy() -> None:
    assert step(20, 1, of=subject("background", threads=1)).why == "the only thread was busy"
    assert step(20, 1, of=subject("process", processes=1)).why == "the only process was busy"


def test_threads_whose_work_takes_longer_than_alone_share_an_interpreter() -> None:
    found = step(20, 4, of=subject("threadpool"), work_s=0.4)
    assert found.cause == "interpreter"
    assert found.why == "the work took 400 ms (median), 100 ms alone, and threads share one Python interpreter"


@pytest.mark.parametrize(
    ("kind", "cause", "why"),
    [
        (
            "waiting in line",
            "unknown",
            "callers waited in line for one another at db.py:12 in get: pool.connection waits",
        ),
        ("garbage collection", "event loop", "Python's garbage collection stopped everything at db.py:12 in get: "),
        ("threads used up", "threads", "the worker threads were busy at db.py:12 in get: pool.connection waits"),
        ("neither", "unknown", "answers took longer and longer, and nothing that was seen says why"),
    ],
)
def test_what_the_server_of_an_application_has_seen_is_the_reason(kind: Any, cause: str, why: str) -> None:
    own = Subject(Settings(mode="app", journal="", app="shop:app"), WORK_S)
    place = Place(place="db.py:12 in get", share=1.0, call="pool.connection", waits=True)
    seen = Blocking(blocks=False, cause=kind, places=[place])
    found = read_step(open_loop_run(80, 4, mode="app", waits=True), SETTLE_S, STEP_S, own, (), seen)
    assert found.cause == cause
    assert found.why is not None
    assert found.why.startswith(why)


def test_a_step_that_grows_without_doubt_is_hopeless_and_one_that_only_begins_is_not() -> None:
    growing = [(0.125 * n, 5.0 * n + (n % 3)) for n in range(20)]
    assert is_hopeless(growing, 80.0)
    assert not is_hopeless(growing, 400.0), "it grows by less than a quarter of the rate"
    assert not is_hopeless(growing[:6], 80.0)
    assert not is_hopeless([(0.125 * n, 3.0 + (n % 3)) for n in range(20)], 80.0)


# --- the search --------------------------------------------------------------------------------------------


def searched(measure: Callable[[float], CapacityStep], first: float, most: float | None = None) -> list[CapacityStep]:
    steps: list[CapacityStep] = []
    while (rate := next_rate(steps, first, most)) is not None:
        steps.append(measure(rate))
    return steps


@pytest.mark.parametrize("limit", [3.7, 40.0, 371.0])
@pytest.mark.parametrize("first", [0.3, 0.95, 1.7, 9.0], ids="first at {} of the limit".format)
def test_the_search_closes_in_on_the_limit_wherever_it_begins(limit: float, first: float) -> None:
    at_once = max(round(limit / 10), 1)
    steps = searched(lambda rate: step(rate, at_once, work_s=at_once / limit), first * limit)
    low, high = bracket(steps)
    assert low is not None
    assert high is not None
    assert 0.88 * limit <= low.rate <= 1.03 * limit
    assert high.rate <= 1.1 * low.rate
    assert len(steps) <= 9


def test_the_rate_doubles_until_it_gives_in_and_no_further_than_was_asked() -> None:
    rates = [one.rate for one in searched(lambda rate: step(rate, 40), 10.0, 100.0)]
    assert rates == [10, 20, 40, 80, 100]
    assert [one.rate for one in searched(lambda rate: step(rate, 40), 200.0, 100.0)] == [100]


def test_a_server_that_sustains_nothing_is_told_from_one_that_was_asked_too_much() -> None:
    steps = searched(lambda rate: step(rate, 4, failing=1000), 64.0)
    assert bracket(steps)[0] is None
    assert len(steps) < 12


def test_a_step_that_something_else_disturbed_does_not_decide_the_search() -> None:
    stalls = iter([(0.5, 1.9)])
    steps = searched(lambda rate: step(rate, 4, stalls=[one] if (one := next(stalls, None)) else []), 30.0)
    low, _ = bracket(steps)
    assert low is not None
    assert low.rate > 36
    assert [one.rate for one in steps].count(30.0) == 2


def test_three_searches_on_a_machine_with_stalls_agree_within_what_they_say() -> None:
    for seed in range(5):
        chance = random.Random(seed)

        def measure(rate: float, chance: random.Random = chance) -> CapacityStep:
            begins = [chance.uniform(0.0, 3.0) for _ in range(2)]
            return step(rate, 4, stalls=[(begin, begin + chance.uniform(0.0, 0.05)) for begin in begins])

        found = [bracket(searched(measure, 38.0)) for _ in range(3)]
        limits = [(low.rate, high.rate) for low, high in found if low and high]
        assert len(limits) == 3
        assert max(low for low, _ in limits) <= min(high for _, high in limits)
        assert all(34 <= low <= 42 for low, _ in limits)


# --- what it means -----------------------------------------------------------------------------------------


def judged(mode: str, steps: Sequence[CapacityStep], **details: Any) -> str:
    return judge(subject(mode), steps, **details).text


def test_arithmetic_says_what_the_work_bounds_and_nothing_where_it_bounds_nothing() -> None:
    assert subject("threadpool", threads=40).expected_per_s == pytest.approx(400)
    assert subject("threadpool", threads=40, work="cpu").expected_per_s == pytest.approx(10)
    assert subject("blocking").expected_per_s == pytest.approx(10)
    assert subject("celery").expected_per_s == pytest.approx(20)
    assert subject("async").expected_per_s is None
    assert subject("background", work_s=0.0).expected_per_s is None
    assert Subject().expected_per_s is None


def test_an_own_function_in_a_mode_that_awaits_is_bounded_where_it_cannot_be_awaited_and_never_said_to_wait() -> None:
    own = subject("async", work="reports:build")
    assert own.expected_per_s == pytest.approx(10)
    assert judge(own, [step(9, 1, of=own), step(10.5, 1, of=own)]).text == (
        "Sustained 9/s and gave in at 10.5/s: the work blocks the event loop, so it runs one at a time. "
        "1 / 100 ms = 10/s; measured 9/s, 90 % of that."
    )
    awaited = dataclasses.replace(own, is_async=True)
    assert awaited.expected_per_s is None
    assert judge(awaited, [step(50, 30, of=awaited)]).text == "Sustained 50/s, the highest rate tried."


def test_the_sentences_say_the_limit_what_gave_in_and_what_arithmetic_says() -> None:
    steps = [step(38, 4), step(76, 4), step(41, 4)]
    more = Confirmation(option="--threads 8", step=step(68.4, 8))
    assert judged("background", steps, confirmed=more) == (
        "Sustained 38/s and gave in at 41/s: all 4 threads were busy. 4 threads / 100 ms = 40/s; measured 38/s, 95 % "
        "of that. At 41/s callers were answered in 1.9 ms (median) while the backlog grew by 1/s. With --threads 8 a "
        "step of its own sustained 68.4/s."
    )
    assert judged("background", steps).endswith(
        "--threads 8 would give about 76/s, until something else is busy; not measured."
    )
    assert judged("background", [step(50, 4)]).startswith("Gave in at 50/s already, the lowest rate tried: all 4")
    assert judged("async", [step(50, 30, of=subject("async"))]) == (
        "Sustained 50/s, the highest rate tried. The work only waits, so arithmetic sets no bound."
    )
    assert judged("threadpool", [step(20, 4), step(22, 4, sent_late_s=0.2)]).startswith(
        "Sustained at least 20/s: at 22/s the client itself could not send on time, so it may take more."
    )
    assert judged("async", [step(800, 90, of=subject("async"), sent_late_s=0.2)]).startswith(
        "Nothing is known of it: at 800/s, the lowest rate tried, the client itself could not send on time."
    )
    assert judged("background", steps[:1], interrupted=True).startswith("Interrupted: these are the steps so far.")


def test_a_rate_far_from_what_arithmetic_says_has_a_reason() -> None:
    slow = [step(25, 4, work_s=0.15), step(28, 4, work_s=0.15)]
    assert "measured 25/s, 62 % of that, because the work took 150 ms on average." in judged("background", slow)


def test_hands_that_are_busy_and_end_less_than_arithmetic_says_are_not_explained_by_what_nobody_measured() -> None:
    assert "62 % of that; what took the rest was not measured." in judged(
        "background", [step(25, 4), replace(step(52, 4), rate=32.0)]
    )


def test_a_limit_that_may_be_as_arithmetic_says_has_no_reason() -> None:
    assert "; measured 25/s, 62 % of that. At" in judged("background", [step(25, 4), step(52, 4)])
    assert judged("background", [step(25, 4, work_s=0.15)]).endswith("; measured 25/s, 62 % of that.")


def test_more_than_arithmetic_says_is_explained_by_work_that_was_quicker_than_its_first_call() -> None:
    steps = [step(76, 4, work_s=0.05), step(84, 4, work_s=0.05)]
    own = subject("background", work="reports:build")
    assert (
        "; measured 76/s, 190 % of that, because the work took 50 ms on average, and not 100 ms as the first did."
        in (judge(own, steps).text)
    )
    assert "190 % of that, because the work took 50 ms on average. " in judged("background", steps)
    assert "190 % of that. " in judged("background", [step(76, 8), step(84, 8)])


def test_a_threshold_speaks_of_what_was_sustained() -> None:
    found = judge(subject("background"), [step(38, 4), step(41, 4)])
    nothing = replace(found, sustained_per_s=None)
    document = CapacityDocument(modes={"background": found, "process": nothing}, step_s=3.0)
    outcome = evaluate(parse("background.sustained < 300", ["background"], metrics=CAPACITY), document)
    assert (outcome.met, outcome.value, outcome.measured) == (True, 38.0, "38/s")
    assert not evaluate(parse("failed_at < 40", metrics=CAPACITY), document).met
    fast = CapacityDocument(modes={"async": replace(found, sustained_per_s=1234.6)}, step_s=3.0)
    assert evaluate(parse("sustained < 300", metrics=CAPACITY), fast).measured == "1,230/s", "as everywhere"
    assert evaluate(parse("sustained < 1230", metrics=CAPACITY), fast).measured == "1234.6/s", "not one with the limit"
    outcome = evaluate(parse("process.sustained > 1", ["process"], metrics=CAPACITY), document)
    assert (outcome.met, outcome.value) == (True, None)
    with pytest.raises(UserError, match="--fail-if 'respnse > 1': there is no metric 'respnse'; write it like"):
        parse("respnse > 1", metrics=CAPACITY)
    with pytest.raises(UserError, match="--while 'nonsense > 1': there is no metric"):
        parse("nonsense > 1", option="--while")
