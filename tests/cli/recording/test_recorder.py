import math
import random
import tracemalloc
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import samples
from samples import T0, event, events_of, facts, recorder, sample
from taskdemo_cli.analysis.verdicts import verdict
from taskdemo_cli.loadgen.protocol import Batch, Sample, Started
from taskdemo_cli.recording.recorder import Recorder
from taskdemo_cli.recording.summary import trusted
from taskdemo_server.contract.events import TaskEvent, TaskRecord, TaskState

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99, "p999": 0.999}


def described(values: Iterable[float | None]) -> Any:
    """The statistics again, by sorting floats: nothing of the code under test is used."""
    known = sorted(value for value in values if value is not None)
    if not known:
        return None
    found = {"count": len(known), "min": known[0], "max": known[-1], "mean": sum(known) / len(known)}
    for name, share in PERCENTILES.items():
        found[name] = known[max(math.ceil(round(share * len(known), 9)), 1) - 1]
    return pytest.approx(found, abs=1e-6)


def minus(late: float | None, early: float | None) -> float | None:
    return None if late is None or early is None else late - early


@pytest.mark.parametrize("name", samples.ALL_RUNS)
def test_every_figure_of_the_summary_follows_from_the_rows(name: str) -> None:
    figures_follow_from_the_rows(samples.saved(samples.all_documents()[name]))


def figures_follow_from_the_rows(run: Any) -> None:
    """Assert that every figure of a saved run is what its own rows come to."""
    summary, requests, tasks = run["summary"], run["requests"], run["tasks"]
    task_of = {task["id"]: task for task in tasks}
    own = [(row, task_of[row["task_id"]]) for row in requests if row["task_id"] is not None]

    begun = "planned_s" if run["rate"] else "sent_s"
    assert summary["response_s"] == described(row["response_s"] for row in requests if row["error"] is None)
    assert summary["failed_s"] == described(row["response_s"] for row in requests if row["error"] is not None)
    assert summary["corrected_s"] == (summary["response_s"] if run["rate"] else None)
    for row in requests:
        assert row["response_s"] == (
            None if row["status"] is None else pytest.approx(minus(row["done_s"], row[begun]), abs=1e-6)
        )
    assert summary["completion_s"] == described(
        minus(task["ended_s"], row[begun]) for row, task in own if task["state"] == "finished"
    )
    assert summary["bystander_s"] == described(
        minus(row["done_s"], row["sent_s"]) if row["response_s"] is None else row["response_s"]
        for row in run["bystander"]
    )
    assert summary["wait_s"] == described(minus(row["sent_s"], row["planned_s"]) for row in requests)
    assert summary["first_byte_s"] == described(minus(row["first_byte_s"], row["sent_s"]) for row in requests)
    assert summary["transfer_s"] == described(minus(row["done_s"], row["first_byte_s"]) for row in requests)
    assert summary["queue_s"] == described(minus(task["started_s"], task["accepted_s"]) for task in tasks)
    assert summary["work_s"] == described(task["work_s"] for task in tasks)
    for task in tasks:
        if task["runs"] == 1 and task["work_s"] is not None:
            assert task["work_s"] == pytest.approx(minus(task["ended_s"], task["started_s"]), abs=1e-6)
    answers = 0 if summary["response_s"] is None else summary["response_s"]["count"]
    assert sum(bar["count"] for bar in summary["histogram"]) == answers

    errors = Counter(row["error"] for row in requests if row["error"] is not None)
    assert summary["requests"] == {
        "ok": len(requests) - errors.total(),
        "failed": errors.total(),
        "errors": dict(errors),
        "statuses": dict(Counter(str(row["status"]) for row in requests if row["response_s"] is not None)),
        "bytes": run["summary"]["requests"]["bytes"],
    }
    states = Counter(task["state"] for task in tasks)
    counts = summary["tasks"]
    assert counts["accepted"] == len(tasks)
    assert all(counts[state] == states[state] for state in ("finished", "failed", "cancelled", "lost"))
    assert counts["unfinished"] == states["accepted"] + states["started"]
    assert counts["last_ended_s"] == max((t["ended_s"] for t in tasks if t["ended_s"] is not None), default=None)
    after = [
        task["ended_s"] is not None and task["ended_s"] <= row["done_s"]
        for row, task in own
        if row["response_s"] is not None and task["state"] not in {"accepted", "started"}
    ]
    assert (counts["answered_after_end"], counts["answered_before_end"]) == (after.count(True), after.count(False))
    moments = [task["started_s"] for task in tasks if task["started_s"] is not None]
    running = [
        sum(
            task["started_s"] is not None
            and task["started_s"] <= moment
            and (task["ended_s"] is None or moment < task["ended_s"])
            for task in tasks
        )
        for moment in moments
    ]
    # Of several executions a row has the first start and the last end alone.
    if all(task["runs"] < 2 for task in tasks):
        assert counts["max_parallel"] <= max(running, default=0)
        if all(task["runs"] == (task["work_s"] is not None) for task in tasks):
            assert counts["max_parallel"] == max(running, default=0)
    if requests and all(row["done_s"] is not None for row in requests):
        assert summary["wall_s"] == max(row["done_s"] for row in requests)
    answered = sum(row["response_s"] is not None for row in requests)
    per_second = answered / summary["wall_s"] if summary["wall_s"] else 0
    assert summary["requests_per_s"] == pytest.approx(per_second, abs=0.001)
    overhead = summary["client"]["overhead_s"]
    if overhead is None:
        assert summary["client"]["trusted"] is None
    else:
        assert summary["client"]["trusted"] == (overhead <= 0.1 * summary["response_s"]["p50"])


ENDS: list[TaskState] = ["finished", "failed", "cancelled", "lost"]
ends = st.sampled_from(ENDS)


@st.composite
def news(draw: st.DrawFn) -> list[Sample | TaskEvent]:
    """Samples and events of a few tasks: some unnamed, some never started or ended, some run twice."""
    told: list[Sample | TaskEvent] = []
    clock = iter(draw(st.permutations([n / 100 for n in range(100)])))
    for n in range(1, draw(st.integers(1, 6)) + 1):
        task = f"task-{n}"
        times = sorted(next(clock) for _ in range(6))
        events = [event(task, "accepted", times[0], message="m")]
        if draw(st.booleans()):
            events.append(event(task, "started", times[1], where="first"))
            if draw(st.booleans()):
                events.append(event(task, draw(ends), times[2], error="e1", cpu_s=0.002))
            if draw(st.booleans()):
                events.append(event(task, "started", times[3], where="second"))
            if draw(st.booleans()):
                events.append(event(task, draw(ends), times[4], error="e2"))
        told += events
        if draw(st.booleans()):
            status = draw(st.sampled_from([200, 503, None]))
            told.append(sample(n, times[5], status=status, error=None if status else "ReadError", task=task))
    return told


def told(pieces: list[Sample | TaskEvent], *, private: bool) -> Recorder:
    recorded = Recorder(private=private)
    recorded.load(Started(T0))
    for piece in pieces:
        if isinstance(piece, tuple):
            recorded.load(Batch([piece]))
        else:
            recorded.event(piece)
    return recorded


@settings(max_examples=150, deadline=None)
@given(news(), st.booleans(), st.booleans(), st.booleans(), st.randoms(use_true_random=False))
def test_whatever_comes_in_whatever_order_figures_and_rows_are_the_same_and_agree_and_a_sentence_can_be_made_of_it(
    pieces: list[Sample | TaskEvent], private: bool, gone: bool, all_comes: bool, chance: random.Random
) -> None:
    heard = pieces if all_comes else chance.sample(pieces, k=chance.randrange(len(pieces)) + 1)
    recorded = told(heard, private=private)
    again = told(chance.sample(heard, len(heard)), private=private)
    live = recorded.live(T0 + 1, 10)
    for name in set(live.__slots__) - {"completions", "rows"}:
        assert getattr(live, name) == getattr(again.live(T0 + 1, 10), name), name
    gone_with_server = recorded.unended if gone else 0
    run = recorded.finish(facts("background", 6), server_gone=gone)
    whole = samples.saved(run)
    assert whole == samples.saved(again.finish(facts("background", 6), server_gone=gone))
    figures_follow_from_the_rows(whole)
    assert verdict(run)
    counts, requests = run.summary.tasks, run.summary.requests
    parts = [getattr(counts, name) for name in ("finished", "failed", "cancelled", "lost", "unfinished")]
    assert counts.accepted == sum(parts) == len(run.tasks)
    assert not (gone and counts.unfinished)
    assert requests.failed == sum(requests.errors.values())
    assert requests.ok + requests.failed == len(run.requests) == live.ok + live.failed
    assert live.answered == sum(row.response_s is not None for row in run.requests)
    assert counts.answered_before_end + counts.answered_after_end <= len(run.requests)
    assert sum(live.tasks.values()) == counts.accepted
    assert live.ended == counts.finished + counts.failed + counts.cancelled + counts.lost - gone_with_server
    assert recorded.unended == counts.unfinished + gone_with_server
    assert counts.begun == sum(task.runs for task in run.tasks)
    assert counts.waited_for_work <= counts.answered_after_end
    times = [task.work_s for task in run.tasks if task.work_s is not None]
    assert len(times) <= counts.finished
    assert all(task.work_s is None or task.state == "finished" for task in run.tasks)
    assert (run.summary.work_s is None) == (not times)
    response = run.summary.response_s
    assert (live.response_p50_s, live.response_max_s) == ((response.p50, response.max) if response else (None, None))
    assert counts.max_parallel <= sum(task.runs for task in run.tasks)


@pytest.mark.parametrize(("heard", "row"), samples.HEARD.items())
def test_what_is_heard_of_a_task_is_in_its_row_and_its_record_at_the_server_says_the_same(
    heard: str, row: tuple[Any, ...]
) -> None:
    told = samples.heard(heard)
    recorded, record = recorder([sample(1, 0.01, task="t")], told), TaskRecord("t", "celery")
    run = recorded.finish(samples.header())
    (task,) = run.tasks
    assert (task.started_s, task.ended_s, task.state, task.runs, task.work_s, task.error) == row
    assert task.host == max(one.host for one in told if one.state == "started")
    assert (run.summary.tasks.max_parallel, recorded.unended) == (1, task.state == "started")
    for one in told:
        record.see(one)
    assert (record.state, record.end and record.end.error) == (task.state, task.error)


def test_no_work_is_longer_than_its_longest_execution_though_they_overlap() -> None:
    events = []
    for task in ("t", "u"):
        for pid, at in ((1, 0.0), (2, 7.0), (3, 14.0)):
            events.append(event(task, "started", at, where=f"{task} pid {pid} x"))
            events.append(event(task, "finished", at + 15.0, where=f"{task} pid {pid} x"))
    run = recorder([sample(1, 0.01, task="t"), sample(2, 0.01, task="u")], events).finish(facts("celery", 2))
    assert run.summary.work_s is not None
    assert run.summary.work_s.max == 15.0
    assert (run.summary.tasks.begun, run.summary.tasks.max_parallel) == (6, 6)
    assert [task.runs for task in run.tasks] == [3, 3]
    assert verdict(run).startswith("The work of 2 tasks was begun 6 times.")


def test_on_a_shared_server_only_the_tasks_that_a_response_named_are_ours() -> None:
    mine, other = events_of("mine", 0.0, 0.1, 1.0), events_of("other", 0.0, 0.1, 1.0)
    run = recorder([sample(1, 0.01, task="mine")], mine + other, private=False).finish(samples.header())
    assert [task.id for task in run.tasks] == ["mine"]
    run = recorder([sample(1, 0.01, task="mine")], mine + other, private=True).finish(samples.header())
    assert [task.id for task in run.tasks] == ["mine", "other"]


def test_a_named_task_without_any_event_is_accepted_and_lost_only_with_its_server() -> None:
    recorded = recorder([sample(1, 0.01, task="t")])
    assert recorded.unended == 1
    assert recorded.finish(samples.header()).summary.tasks.unfinished == 1
    (task,) = recorded.finish(samples.header(), server_gone=True, ended_because="the server ended").tasks
    assert (task.state, task.error) == ("lost", "the server ended")


def test_task_ids_of_a_server_that_is_not_ours_mean_nothing() -> None:
    recorded = Recorder(private=False, follows=False)
    recorded.load(Started(T0))
    recorded.load(Batch([sample(1, 0.01, task="x")], [], 1))
    assert recorded.unended == 0
    assert recorded.finish(samples.header()).requests[0].task_id is None


def test_events_of_a_host_whose_clock_is_ahead_are_moved_to_ours() -> None:
    recorded = Recorder(private=True, clock_offset=100.0)
    recorded.load(Started(T0))
    recorded.event(event("t", "started", 100.25))
    assert recorded.finish(samples.header()).tasks[0].started_s == 0.25


def test_requests_that_were_sent_and_never_reported_are_counted() -> None:
    recorded = Recorder(private=True)
    recorded.load(Started(T0))
    recorded.load(Batch([sample(2, 0.01)], [(1, T0)], 3))
    run = recorded.finish(samples.header())
    assert run.unreported == 2
    assert [row.n for row in run.requests] == [2]


def test_the_bystander_counts_from_the_first_planned_send_on_and_unanswered_for_as_long_as_it_waited() -> None:
    calls = [sample(1, -0.5, sent=-1.6), sample(2, 0.2, sent=-0.1)]
    calls.append(sample(3, 1.34, sent=0.5, status=None, error="Cancelled"))
    calls.append(sample(4, 3.54, sent=0.7, status=None, error="ReadError"))
    recorded = recorder([sample(1, 0.5)], bystander=calls)
    assert recorded.live(T0 + 4.0, 6).bystander_max_s == 0.3  # of the answered ones
    run: Any = recorded.finish(samples.header())
    assert [row.sent_s for row in run.bystander] == [-0.1, 0.5, 0.7]
    assert (run.summary.bystander_s.min, run.summary.bystander_s.max) == (0.3, 2.84)


def test_figures_are_trusted_up_to_a_tenth_of_the_median() -> None:
    assert trusted(0.001, 0.010) is True
    assert trusted(0.0011, 0.010) is False
    assert trusted(None, 0.010) is None
    assert trusted(0.001, None) is None
    assert trusted(0.0001, 0.010, cpu_share=0.97) is False
    assert trusted(0.0001, 0.010, cpu_share=0.60) is True
    assert trusted(0.0001, 0.010, loop_lag_s=0.4) is True, "a busy machine does that, too"
    assert trusted(0.0001, 0.010, loop_lag_s=0.6) is False
    assert trusted(0.0001, 1.0, loop_lag_s=0.6) is True, "most answers took longer"


def test_a_run_that_never_began_is_still_a_document() -> None:
    run = samples.changed(
        Recorder(private=True).finish(samples.header(mode="blocking"), ended_because="it did not start")
    )
    assert run.summary.response_s is None
    assert run.summary.requests_per_s == 0.0


def test_a_million_requests_with_their_tasks_take_less_than_400_megabytes() -> None:
    many = 3_000
    tracemalloc.start()
    recorded = Recorder(private=True)
    recorded.load(Started(T0))
    for n in range(1, many + 1):
        for one in events_of(f"{n:032x}", n * 1e-4, n * 1e-4, n * 1e-4 + 1):
            recorded.event(one)
        batch = [sample(n, n * 1e-4 + 0.004, task=f"{n:032x}")]
        recorded.load(Batch(batch, [], n))
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used / many < 400


def live_recorder(count: int, reported: int) -> Recorder:
    chance = random.Random(1)
    recorded = Recorder(private=True, count=count)
    recorded.load(Started(T0))
    batch = []
    for n in range(1, reported + 1):
        sent = n * 0.001
        status = 503 if n % 97 == 0 else 200
        batch.append(sample(n, sent + chance.expovariate(100), sent=sent, status=status, task=f"t{n}"))
        for one in events_of(f"t{n}", sent, sent, sent + 1)[: 3 if n < reported - 20 else 2]:
            recorded.event(one)
    in_flight = [(n, T0 + n * 0.001) for n in range(reported + 1, min(reported + 10, count) + 1)]
    recorded.load(Batch(batch, in_flight, reported + len(in_flight)))
    return recorded


def test_a_run_that_fits_shows_every_request_by_its_number_even_before_it_is_sent() -> None:
    live: Any = live_recorder(12, 4).live(T0 + 0.02, 20)
    assert [row.request.n for row in live.rows] == list(range(1, 13))
    assert [row.state for row in live.rows] == ["answered"] * 4 + ["waiting"] * 8
    assert live.rows[0].task.state == "started"
    assert live.rows[4].request.response_s == pytest.approx(0.015)
    early = Recorder(private=True, count=3).live(T0, 20)
    assert [row.state for row in early.rows] == ["planned"] * 3


def test_at_a_rate_an_answer_is_drawn_when_it_came_although_its_response_counts_from_the_plan() -> None:
    (row,) = recorder([sample(1, 2.2, sent=2.0)], count=1, rated=True).live(T0 + 3, 5).rows
    assert (row.request.sent_s, row.request.response_s, row.request.done_s) == (2.0, 2.2, 2.2)


def test_of_many_requests_the_interesting_ones_have_a_row_each_once() -> None:
    live: Any = live_recorder(5000, 3000).live(T0 + 3.1, 30)
    assert len(live.rows) == 30
    assert len({row.request.n for row in live.rows}) == 30
    kinds = Counter(row.why for row in live.rows)
    assert set(kinds) == {"waiting", "working", "failed", "slowest", "newest"}
    slowest = [row.request.response_s for row in live.rows if row.why == "slowest"]
    assert max(slowest) == live.response_max_s
    assert all(row.state == "failed" for row in live.rows if row.why == "failed")
    assert all(row.task.state == "started" for row in live.rows if row.why == "working")


def test_rows_keep_their_order_from_one_look_to_the_next() -> None:
    recorded = live_recorder(5000, 3000)
    before = [(row.why, row.request.n) for row in recorded.live(T0 + 3.1, 30).rows]
    recorded.load(Batch([sample(3001, 3.2, sent=3.1)], [], 3010))
    after = [(row.why, row.request.n) for row in recorded.live(T0 + 3.2, 30).rows]
    stayed = [row for row in before if row in after]
    assert len(stayed) >= 20
    assert [row for row in after if row in stayed] == stayed


def test_the_running_median_of_many_is_within_one_percent() -> None:
    recorded = live_recorder(8000, 8000)
    live = recorded.live(T0 + 9, 10)
    exact: Any = recorded.finish(samples.header()).summary.response_s
    assert live.response_max_s == exact.max
    assert live.response_p50_s == pytest.approx(exact.p50, rel=0.01)


def test_an_answer_that_broke_off_is_no_response() -> None:
    run = recorder([sample(1, 1.0, status=200, error="ReadTimeout")]).finish(samples.header())
    assert run.requests[0].status == 200
    assert run.requests[0].response_s is None
    assert run.summary.response_s is None


def test_completions_are_numbered_and_the_newest_fifty_are_kept() -> None:
    live = live_recorder(200, 200).live(T0 + 2, 5)
    assert live.ended == 179
    assert [number for number, *_ in live.completions] == list(range(130, 180))
    *_, task = live.completions[-1]
    assert task.state == "finished"
    assert task.ended_s == pytest.approx(1.179)
