"""The sentence about a run, and about each mode of a comparison: test_verdicts.txt has them whole."""

from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

import samples
from reviewed import assert_reviewed
from samples import T0, events_of, facts, header, pings, recorder, sample
from taskdemo_cli.analysis.rounds import figure_of, intervals, reference_of
from taskdemo_cli.analysis.verdicts import comparison, verdict
from taskdemo_cli.documents.run import RunDocument
from taskdemo_cli.recording.summary import doubted
from taskdemo_server.contract.settings import BUILT_IN_WORKS

Spans = Sequence[tuple[float, float]]
LOOP = "laptop pid 4711 event loop"
IN_TURN: Spans = [(0.002 + n, 1.001 + n) for n in range(5)]


def run_of(
    mode: str,
    spans: Spans,
    answers: Sequence[float],
    *,
    held: Spans = (),
    overhead: float | None = None,
    where: str = "laptop pid 4711 worker thread 1",
    sent: Sequence[float] | None = None,
) -> RunDocument:
    """A run whose tasks worked in these spans and whose requests were answered at these moments."""
    events = []
    for n, (start, end) in enumerate(spans, 1):
        events += events_of(f"t{n}", 0.001, start, end, mode=mode, where=where)
    made = [
        sample(n, done, task=f"t{n}", sent=sent[n - 1] if sent else None, planned=sent[n - 1] if sent else 0.0)
        for n, done in enumerate(answers, 1)
    ]
    recorded = recorder(made, events, pings(max([end for _, end in spans] + list(answers)), held))
    return doubted(recorded.finish(facts(mode, len(answers))), overhead)


def placed(
    mode: str,
    wheres: Sequence[str],
    work: str,
    spans: Spans,
    held: float = 0.0,
    cpu_s: float = 0.0,
    answered: float = 0.004,
) -> RunDocument:
    """A run whose tasks worked in these places, and whose callers were answered at one moment."""
    events = []
    for n, ((start, end), where) in enumerate(zip(spans, wheres, strict=True), 1):
        events += events_of(f"t{n}", 0.001, start, end, mode=mode, where=where, cpu_s=cpu_s)
    made = [sample(n, answered, task=f"t{n}") for n in range(1, len(spans) + 1)]
    recorded = recorder(made, events, pings(2.0, [(0.2, 0.2 + held)] if held else []))
    asked = 1.0 if work in BUILT_IN_WORKS else None
    return recorded.finish(facts(mode, len(spans), work=work, duration_s=asked))


def rounds_of(mode: str, medians: Sequence[float]) -> list[RunDocument]:
    return [replace(run_of(mode, [(0.0005, 1.0)], [median]), round=number) for number, median in enumerate(medians, 1)]


def ended(mode: str, count: int, state: Any, error: str) -> RunDocument:
    """A run whose tasks all ended so."""
    events = []
    for n in range(1, count + 1):
        events += events_of(f"t{n}", 0.001, 0.002, 0.003, mode=mode, state=state, error=error)
    made = [sample(n, 0.004, task=f"t{n}") for n in range(1, count + 1)]
    return recorder(made, events, pings(0.1)).finish(facts(mode, count))


def interrupted(run: RunDocument) -> RunDocument:
    return replace(run, interrupted=True)


def stopped(run: RunDocument) -> RunDocument:
    client = replace(run.summary.client, loop_lag_p99_s=2.96)
    return replace(run, summary=replace(run.summary, client=client))


def refused(*why: str | None) -> RunDocument:
    samples = [sample(n, 6.0, status=None, error="ConnectError", reason=one) for n, one in enumerate(why, 1)]
    return recorder(samples).finish(header())


def of_answers() -> dict[str, str]:
    """Who waited for what."""
    short = [(0.01 * n, 0.01 * n + 0.00003) for n in range(1, 6)]
    soon = [0.01 * n + 0.001 for n in range(1, 6)]
    many = range(1, 51)
    rejected = [sample(n, 0.001 * n, status=503) for n in range(2, 10)]
    unanswered = sample(9, 3.34, sent=0.5, status=None, error="Cancelled")
    every = range(200)
    runs = {
        "one request that was answered before its task ended": run_of("background", [(0.004, 1.0041)], [0.00412]),
        "one request that waited for its work": run_of("blocking", [(0.002, 1.002)], [1.0041], held=[(0.002, 1.002)]),
        "callers that queue": samples.blocking_run(5),
        "callers that wait for their own work alone": samples.threadpool_run(5),
        "more callers than threads": samples.threadpool_run(60),
        "one of many callers that wait for their own work waits longer": run_of(
            "threadpool",
            [(0.1 * n, 0.1 * n + 0.1) for n in many],
            [0.1 * n + 0.101 for n in range(1, 50)] + [9.0],
            sent=[0.1 * n - 0.001 for n in many],
        ),
        "background-async, which promises not to block, and does": run_of(
            "background-async", IN_TURN, [0.002 + n for n in range(5)], held=[(0.0015, 5.001)], where=LOOP
        ),
        "the same work in a thread, which holds up nobody": run_of(
            "background", IN_TURN, [0.002 + n for n in range(5)]
        ),
        "an answer that is slow for another reason, after work that the event loop awaited": run_of(
            "background-async", [(0.1, 1.1), (0.2, 1.2), (1.4, 2.4)], [0.004, 0.004, 1.3], where=LOOP
        ),
        "answers that are slow for another reason, while the work of others runs": run_of(
            "background", [(0.01 * n, 0.01 * n + 1.0) for n in many], [0.01 * n + 0.002 for n in many]
        ),
        "a burst that the server needed time to read before any work began": run_of(
            "celery", [(0.3 + 0.02 * n, 0.32 + 0.02 * n) for n in range(5)], [0.2] * 5, where=LOOP
        ),
        "a burst that the server needed time to read while work slept beside it": run_of(
            "background-async",
            [(0.001 * n, 0.02 + 0.001 * n) for n in every],
            [0.0005 + 0.001 * n for n in every],
            where="laptop pid 8 MainThread",
        ),
        "an answer and eight errors that came sooner": recorder([sample(1, 1.0), *rejected], count=9).finish(
            facts("background", 9)
        ),
        "short work that ended before one of three answers was out": run_of(
            "celery", [(0.002, 1.0)] * 3, [0.004, 0.005, 1.2]
        ),
        "work that takes next to nothing, after the answer": run_of(
            "background", [(start + 0.002, end + 0.002) for start, end in short], soon
        ),
        "work that takes next to nothing, before the answer": run_of("blocking", short, soon),
        "work that took longer than it was asked to": run_of("threadpool", [(0.002, 2.502)] * 3, [2.51] * 3),
        "the client's own time is most of it": run_of("background", [(0.004, 1.0)], [0.0041], overhead=0.003),
        "the client takes longer than the server": run_of("background", [(0.004, 1.0)], [0.0041], overhead=0.03),
        "the client stood still": stopped(run_of("background", [(0.004, 1.0)] * 3, [0.0041, 0.0041, 2.96])),
        "the client's own time is a small part": run_of("background", [(0.004, 1.0)], [0.0041], overhead=0.0007),
        "no tasks, because the server is a stranger": samples.rate_run(),
        "a wait just below the limit": run_of("background", [(0.004, 1.0)], [0.004], held=[(0.1, 0.18)]),
        "a wait just above the limit": run_of("background", [(0.004, 1.0)], [0.004], held=[(0.1, 0.25)]),
        "a bystander that got no answer in the end": recorder(
            [sample(1, 1.004)], bystander=[*pings(0.3), unanswered]
        ).finish(facts("blocking", 1)),
    }
    return {name: verdict(run) for name, run in runs.items()}


def of_places() -> dict[str, str]:
    """What the places of the tasks explain."""
    in_turn, at_once, two = [(0.002, 1.0), (1.001, 2.0)], [(0.002, 2.5)] * 2, [(0.002, 1.0)] * 2
    loop, threads = ["laptop pid 1 event loop"] * 2, ["laptop pid 1 AnyIO worker thread 7"] * 2
    four = [f"laptop pid {pid} MainThread {pid}" for pid in (8, 9, 8, 9)]
    waits = replace(placed("process", four, "sleep", [*two, *in_turn[1:], *in_turn[1:]]), slots=2)

    counts = replace(waits.summary.tasks, accepted=101, finished=101)
    runs = {
        "work that never awaits, on the event loop": placed("async", loop, "cpu", in_turn, 1.0),
        "work that awaits, on the event loop": placed("async", loop, "cpu", in_turn),
        "callers that were asked to come one at a time": replace(
            placed("async", loop, "sleep", in_turn, 1.0), concurrency=1
        ),
        "threads that share an interpreter": placed("background", threads, "cpu", at_once, 0.3, 1.0),
        "one's own work that computes in threads": placed("background", threads, "shop:report", at_once, 0.3, 1.0),
        "one's own work that computes in threads, and leaves the server time": placed(
            "threadpool", threads, "shop:report", at_once, 0.0, 1.0, answered=2.51
        ),
        "one's own work that does not compute": placed("background", threads, "shop:report", two, 0.3),
        "two that computed all the time at the same time": placed("background", threads, "shop:report", two, 0.3, 0.95),
        "fewer processes than tasks that wait": waits,
        "as many processes as tasks": replace(waits, slots=8),
        "more tasks than a pool is advised for": replace(waits, summary=replace(waits.summary, tasks=counts)),
        "fewer processes than tasks that compute": replace(
            placed("process", four, "cpu", [*two, *in_turn[1:], *in_turn[1:]], 0.0, 0.99), slots=2
        ),
    }
    return {name: verdict(run) for name, run in runs.items()}


def of_trouble() -> dict[str, str]:
    """What failed, was lost, cut short or never seen."""
    late = sample(1, 2.0, error="ReadTimeout")
    stream = (*late[:3], T0 + 0.003, *late[4:])
    other_stream = (2, *stream[1:])
    lost = events_of("t2", 0.002, 0.003, 1.0, state="lost", error="Given up after 3 processes had died.")
    failed = events_of("t1", 0.002, 0.003, 1.0, state="failed", error="ValueError: no such report.")
    both = [sample(n, 0.004, task=f"t{n}") for n in (1, 2)]
    unreached = [sample(n, 0.001, status=None, error="ConnectError") for n in (1, 2, 3)]
    broken_off = [*unreached, sample(4, 6.0, status=None, error="Cancelled"), sample(5, 0.1, status=503)]
    untold = [
        *events_of("t1", 0.001, 0.002, 1.0, mode="blocking"),
        *events_of("t2", 1.001, 1.002, 2.0, mode="blocking")[:2],
    ]
    answered = [sample(1, 1.001, task="t1"), sample(2, 2.001, task="t2")]
    rejected = recorder([sample(n, 0.003, status=405) for n in (1, 2)], bystander=pings(1.0)).finish(header())
    runs = {
        "requests and tasks that failed and were lost": samples.failed_run(),
        "why tasks failed and were lost": recorder(both, [*failed, *lost]).finish(facts("rq", 2)),
        "the only task was lost": recorder([sample(1, 0.004, task="t")]).finish(
            facts("background", 1), server_gone=True
        ),
        "a task that had not ended": replace(samples.interrupted_run(), interrupted=False),
        "answers that had begun when time was up": recorder([stream, other_stream]).finish(header(), timed_out=True),
        "one of two answers had begun when time was up": recorder([stream, sample(2, 0.1)]).finish(
            header(), timed_out=True
        ),
        "redirects": recorder([sample(1, 0.004), sample(2, 0.004, status=302)]).finish(header()),
        "nothing answered": refused(None, None),
        "nothing answered, for several reasons": refused(
            "Connection refused", "Connection refused", "Cannot assign requested address", None
        ),
        "errors of more kinds than are named": recorder(
            sample(n, 6.0, status=None, error=one)
            for n, one in enumerate(("ReadTimeout", "ReadError", "PoolTimeout", "RemoteProtocolError"), 1)
        ).finish(header()),
        "nothing reported": recorder([]).finish(header()),
        "every request was refused": rejected,
        "interrupted": samples.interrupted_run(),
        "interrupted, before anybody was answered": interrupted(recorder([]).finish(facts("blocking", 5))),
        "interrupted, after some could not even connect": interrupted(
            recorder(broken_off).finish(facts("blocking", 5))
        ),
        "interrupted, before a blocked loop had sent word of an end": interrupted(
            recorder(answered, untold).finish(facts("blocking", 2))
        ),
        "hostile text": samples.hostile_run(),
    }
    own = {
        "of an endpoint: answers that had begun when time was up": verdict(
            recorder([stream, other_stream]).finish(header(app="main:app"), timed_out=True),
            "About the endpoint.",
        ),
        "of an endpoint: every request was refused": verdict(rejected, "About the endpoint."),
        "of an endpoint: what its calls do is not called work": verdict(
            replace(samples.threadpool_run(60), app="shop:app", mode=None, work=None), "About the endpoint."
        ),
    }
    return {name: verdict(run) for name, run in runs.items()} | own


def of_comparisons() -> dict[str, str]:
    """What one mode is beside another, over one round or several, and what its row has."""
    background = rounds_of("background", [0.004, 0.0041, 0.0042])
    whole, cut = rounds_of("background", [0.004, 0.9])
    longest = rounds_of("background", [0.002, 0.003, 0.01])
    longest[1] = replace(longest[1], bystander=[replace(longest[1].bystander[0], response_s=0.03)])
    compared = {
        "three modes": samples.comparison_document().runs,
        "a small part of the client's own": [
            run_of("blocking", [(0.002, 1.002)], [1.004]),
            run_of("background", [(0.003, 1.0)], [0.004], overhead=0.001),
        ],
        "one round claims no small difference": [
            run_of("background", [(0.0005, 1.0)], [0.004]),
            run_of("process", [(0.0005, 1.0)], [0.005]),
        ],
        "a difference within the noise of the rounds": [
            *rounds_of("background", [0.004, 0.006, 0.005]),
            *rounds_of("process", [0.006, 0.004, 0.0055]),
        ],
        "a difference beyond the noise of the rounds": [*background, *rounds_of("process", [0.0081, 0.0082, 0.0083])],
        "a small difference beyond it": [*background, *rounds_of("process", [0.005, 0.0051, 0.0052])],
        "a round that was cut short": [whole, interrupted(cut), *rounds_of("process", [0.005])],
        "the only round was cut short": [interrupted(whole), *rounds_of("process", [0.5])],
        "over rounds a typical time is the mean, and a longest one that of all": longest,
        "one who waits for long, and others who wait for longer": [
            run_of("blocking", [(0.002, 1.0)] * 3, [200.0] * 3),
            run_of("async", [(0.002, 1.002)] * 3, [1.003] * 3),
            run_of("background", [(0.002, 1.002)] * 3, [0.003] * 3),
        ],
        "every task failed, of the same error": [
            ended(mode, 2, "failed", "KeyError: \x1b" + "x" * 900) for mode in ("background", "process")
        ],
        "every task was lost": [ended(mode, 2, "lost", "Its process died.") for mode in ("background", "process")],
        "every task was cancelled": [ended("celery", 2, "cancelled", "")],
        "some failed": [samples.failed_run()],
        "work that takes next to nothing explains no waiting": [
            run_of("threadpool", [(0.002, 0.0025)] * 3, [0.003] * 3),
        ],
        "answered first, but once": [run_of("celery", [(0.002, 1.0)] * 3, [0.004, 0.005, 1.2])],
    }
    return {
        f"compared: {name}": "\n".join(f"{one.mode}: {one.text}\n  [{one.short}]" for one in comparison(runs).verdicts)
        for name, runs in compared.items()
    }


def test_every_sentence_is_the_one_that_was_reviewed() -> None:
    told = of_answers() | of_places() | of_trouble() | of_comparisons()
    assert_reviewed(__file__, told)
    assert all(text.replace("\n", "").isprintable() for text in told.values())


def test_the_name_of_the_mode_decides_nothing() -> None:
    answers = [1.002 + n for n in range(5)]
    assert verdict(run_of("background", IN_TURN, answers)) == verdict(run_of("blocking", IN_TURN, answers))


def test_the_reference_is_blocking_or_the_first() -> None:
    assert reference_of(["async", "blocking"]) == "blocking"
    assert reference_of(["background", "process"]) == "background"


def test_rounds_have_intervals_and_a_difference_to_the_reference_and_one_round_has_none() -> None:
    runs = rounds_of("background", [0.004, 0.0041, 0.0042]) + rounds_of("process", [0.0081, 0.0082, 0.0083])
    found = {(entry.mode, entry.figure): entry for entry in comparison(runs).intervals}
    entry: Any = found["process", "response_s.p50"]
    assert entry.rounds == 3
    assert entry.low <= entry.mean <= entry.high
    assert entry.difference.mean == pytest.approx(0.0041, abs=1e-5)
    assert not entry.difference.within_noise
    assert found["background", "response_s.p50"].mean == pytest.approx(0.0040, abs=1e-4)
    assert intervals([runs[0], runs[3]], "background") == []


def test_a_round_in_which_one_mode_has_no_figure_is_left_out_of_the_difference() -> None:
    broken = replace(refused(None), mode="process", round=1)
    runs = [*rounds_of("background", [0.004, 0.0041, 0.0042]), broken, *rounds_of("process", [0.01] * 3)[1:]]
    entry = next(e for e in intervals(runs, "background") if e.mode == "process" and e.difference)
    assert entry.rounds == 2
    cut = [replace(one, interrupted=one.round == 2) for one in rounds_of("background", [0.004, 0.9])]
    assert intervals(cut, "background") == []


def test_an_unsupported_percentile_is_no_figure() -> None:
    assert figure_of(samples.background_run(5), "response_s.p95") is None
    assert figure_of(samples.background_run(20), "response_s.p95") is not None
    assert figure_of(samples.background_run(5), "requests_per_s") is not None
    assert figure_of(samples.failed_run(), "corrected_s.p50") is None
