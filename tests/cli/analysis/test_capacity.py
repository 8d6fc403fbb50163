"""Whether a step was sustained, which rate comes next, and what gave in: without a clock or a server."""

import contextlib
import dataclasses
import random
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from reviewed import assert_reviewed
from samples import SETTLE_S, STEP_S, WORK_S, open_loop_run
from taskdemo_cli.analysis.capacity.search import bracket, next_rate
from taskdemo_cli.analysis.capacity.step import UNSEEN, is_hopeless, read_step
from taskdemo_cli.analysis.capacity.subject import Subject
from taskdemo_cli.analysis.capacity.verdict import judge
from taskdemo_cli.analysis.thresholds import CAPACITY, check_conditions, evaluate, parse
from taskdemo_cli.documents.blocking import Blocking, Place
from taskdemo_cli.documents.capacity import CapacityDocument, CapacityStep, Confirmation, ModeCapacity
from taskdemo_cli.documents.run import TaskRow
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


@pytest.mark.parametrize(
    ("condition", "cause"),
    [
        ("requests.failed_share < 5%", None),
        ("requests.failed <= 2", "threshold"),
        ("response.p95 < 200ms", "refused"),
    ],
)
def test_whoever_asks_how_many_requests_may_fail_has_no_rate_refused_for_fewer(
    condition: str, cause: str | None
) -> None:
    run = open_loop_run(20, 4, failing=3)
    found = read_step(run, SETTLE_S, STEP_S, subject("background"), [parse(condition, option="--while")])
    assert (found.cause, found.failed) == (cause, 3)
    # In an application of one's own, a request that fails is a task that fails.
    failed = [TaskRow(id=f"failed {n}", state="failed", accepted_s=n / 20, ended_s=n / 20, runs=1) for n in range(3)]
    requests = [replace(one, task_id=failed[one.n - 1].id) if one.n <= 3 else one for one in run.requests]
    run = replace(run, requests=requests, tasks=[*failed, *run.tasks])
    found = read_step(run, SETTLE_S, STEP_S, subject("background"), [parse(condition, option="--while")])
    assert (found.cause, found.failed) == (cause, 3)


@pytest.mark.parametrize(
    ("condition", "found"),
    [
        ("response.p95 < 200ms", None),
        ("failed.p95 < 1s", None),  # none failed
        ("response.p95 < 50ms", "response.p95 was 101 ms"),
        ("bystander.max < 1s", "bystander.max was not measured"),
    ],
)
def test_a_condition_that_does_not_hold_or_was_not_measured_means_that_the_rate_is_not_sustained(
    condition: str, found: str | None
) -> None:
    asked = [parse(condition, option="--while")]
    step = read_step(open_loop_run(20, 4, waits=True), SETTLE_S, STEP_S, subject("background"), asked)
    assert (step.sustained, step.cause) == ((True, None) if found is None else (False, "threshold"))
    assert step.why == (None if found is None else f"{found}, but --while requires {condition}")


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


def test_a_step_that_grows_without_doubt_is_hopeless_and_one_that_only_begins_is_not() -> None:
    growing = [(0.125 * n, 5.0 * n + (n % 3)) for n in range(20)]
    assert is_hopeless(growing, 80.0)
    assert not is_hopeless(growing, 400.0), "it grows by less than a quarter of the rate"
    assert not is_hopeless(growing[:6], 80.0)
    assert not is_hopeless([(0.125 * n, 3.0 + (n % 3)) for n in range(20)], 80.0)


# --- the search --------------------------------------------------------------------------------------------


def searched(measure: Callable[[float], CapacityStep], first: float, most: float | None = None) -> list[CapacityStep]:
    steps: list[CapacityStep] = []
    while (rate := next_rate(steps, STEP_S, first, most)) is not None:
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


def test_the_search_goes_down_as_far_as_a_whole_step_can_show_although_one_was_ended_early() -> None:
    def capacity(work_s: float) -> ModeCapacity:
        steps = searched(lambda rate: step(rate, 1, work_s=work_s, cut_s=1.6 if rate > 9 else None), 10.0)
        return judge(Subject(), steps, STEP_S)

    assert capacity(0.25).sustained_per_s == pytest.approx(4.0, rel=0.1)
    assert capacity(2.0).failed_at_per_s == 2.0
    assert capacity(2.0).text.endswith("Lower ones need longer steps: --step 12s.")


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


def test_arithmetic_says_what_the_work_bounds_and_nothing_where_it_bounds_nothing() -> None:
    assert subject("threadpool", threads=40).expected_per_s == pytest.approx(400)
    assert subject("threadpool", threads=40, work="cpu").expected_per_s == pytest.approx(10)
    assert subject("blocking").expected_per_s == pytest.approx(10)
    assert subject("celery").expected_per_s == pytest.approx(20)
    assert subject("async").expected_per_s is None
    assert subject("background", work_s=0.0).expected_per_s is None
    own = subject("async", work="reports:build")
    assert own.expected_per_s == pytest.approx(10), "it may not await"
    assert dataclasses.replace(own, is_async=True).expected_per_s is None
    assert Subject().expected_per_s is None


def of_steps() -> dict[str, str]:
    def judged(mode: str, *steps: CapacityStep, **details: Any) -> str:
        return judge(subject(mode), steps, STEP_S, **details).text

    steps = [step(38, 4), step(76, 4), step(41, 4)]
    more = Confirmation(option="--threads 8", step=step(68.4, 8))
    crowd = subject("async")
    stuck = subject("async", work="reports:build")
    awaited = dataclasses.replace(stuck, is_async=True)
    return {
        "a limit that more threads move": judged("background", *steps, confirmed=more),
        "a limit that more threads did not move": judged(
            "background", *steps, confirmed=Confirmation(option="--threads 8", step=step(68.4, 4))
        ),
        "the lowest rate gave in": judged("background", step(50, 4)),
        "the lowest rate that steps of this length can tell gave in": judged("background", step(3, 4, work_s=2.0)),
        "the highest rate was sustained": judged("async", step(50, 30, of=crowd)),
        "the client was late": judged("threadpool", step(20, 4), step(22, 4, sent_late_s=0.2)),
        "interrupted": judged("background", *steps[:1], interrupted=True),
        "broken off": judged("background", *steps[:1], broken="the server ended"),
        "a redirect": judged("async", step(50, 30, of=crowd), is_redirected=True),
        "slower work": judged("background", step(25, 4, work_s=0.15), step(28, 4, work_s=0.15)),
        "slower work, whose limit was not reached": judged("background", step(25, 4, work_s=0.15)),
        "a limit that may be as arithmetic says": judged("background", step(25, 4), step(52, 4)),
        "quicker work": judged("background", step(76, 4, work_s=0.05), step(84, 4, work_s=0.05)),
        "more than arithmetic says": judged("background", step(76, 8), step(84, 8)),
        "an own function that cannot be awaited": judge(
            stuck, [step(9, 1, of=stuck), step(10.5, 1, of=stuck)], STEP_S
        ).text,
        "an own function that is awaited": judge(awaited, [step(50, 30, of=awaited)], STEP_S).text,
    }


def of_reasons() -> dict[str, str]:
    """What a step that gave in says of it, which is what there was no more of."""
    ways = (
        *(("blocking", 1), ("threadpool", 4), ("background", 4), ("threadpool", 2), ("background-async", 30)),
        *(("process", 2), ("process", 1), ("celery", 2), ("celery", 1)),
    )
    run, busy = open_loop_run(20, 4, failing=3), open_loop_run(80, 4, mode="app", waits=True)
    lost = replace(
        run.summary,
        requests=replace(run.summary.requests, errors={"ReadError": 3}, reasons={"ReadError": {"broken": 2}}),
    )
    fine = open_loop_run(20, 4)
    tasks = [replace(task, state="failed" if n < 2 else task.state) for n, task in enumerate(fine.tasks)]
    own = Subject(Settings(mode="app", journal="", app="shop:app"), WORK_S)
    place = Place(place="db.py:12 in get", share=1.0, call="pool.connection", waits=True)
    kinds: tuple[Any, ...] = ("waiting in line", "garbage collection", "threads used up", "neither")
    seen = {kind: Blocking(blocks=False, cause=kind, places=[place]) for kind in kinds}
    steps = {
        **{f"{mode}, {many} at once": step(2 * many / WORK_S, many, of=subject(mode)) for mode, many in ways},
        "threads whose work takes longer than alone": step(20, 4, of=subject("threadpool"), work_s=0.4),
        "requests that were refused": read_step(run, SETTLE_S, STEP_S, subject("background")),
        "tasks that failed": read_step(replace(fine, tasks=tasks), SETTLE_S, STEP_S, subject("background")),
        "lost connections": read_step(replace(run, summary=lost), SETTLE_S, STEP_S, subject("background")),
        **{f"an application, {kind}": read_step(busy, SETTLE_S, STEP_S, own, (), seen[kind]) for kind in kinds},
    }
    return {f"a step: {name}": f"{one.cause}: {one.why}" for name, one in steps.items()}


def test_every_sentence_is_the_one_that_was_reviewed() -> None:
    assert_reviewed(__file__, of_steps() | of_reasons())


def test_where_a_step_close_to_the_limit_shows_no_reason_that_of_the_next_one_is_told() -> None:
    gave_in: dict[str, Any] = {"sustained": False, "cause": "unknown"}
    in_line = "callers waited in line for one another at a.py:9 in shared"
    steps = [
        replace(step(30, 4), sustained=True, cause=None, why=None),
        replace(step(34, 4), **gave_in, why=UNSEEN),
        replace(step(40, 4), **gave_in, why=in_line),
    ]
    assert f"gave in at 34/s: at 40/s {in_line}." in judge(subject("threadpool"), steps, STEP_S).text
    assert f"gave in at 34/s: {UNSEEN}." in judge(subject("threadpool"), steps[:2], STEP_S).text


def test_a_threshold_speaks_of_what_was_sustained() -> None:
    found = judge(subject("background"), [step(38, 4), step(41, 4)], STEP_S)
    nothing = replace(found, sustained_per_s=None)
    document = CapacityDocument(modes={"background": found, "process": nothing}, step_s=3.0)
    outcome = evaluate(parse("background.sustained < 300", ["background"], metrics=CAPACITY), document)
    assert (outcome.met, outcome.value, outcome.found) == (True, 38.0, "sustained was 38/s")
    assert not evaluate(parse("failed_at < 40", metrics=CAPACITY), document).met
    fast = CapacityDocument(modes={"async": replace(found, sustained_per_s=1234.6)}, step_s=3.0)
    assert evaluate(parse("sustained < 300", metrics=CAPACITY), fast).found == "sustained was 1,230/s", "as everywhere"
    near = evaluate(parse("sustained < 1230", metrics=CAPACITY), fast)
    assert near.found == "sustained was 1234.6/s", "not one with the limit"
    outcome = evaluate(parse("process.sustained > 1", ["process"], metrics=CAPACITY), document)
    assert (outcome.met, outcome.value) == (True, None)
