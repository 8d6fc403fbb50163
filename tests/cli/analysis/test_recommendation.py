"""What a comparison recommends, by what figures, and that the code it gives runs as it is pasted."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import samples
from commands import taskdemo
from reviewed import assert_reviewed, printed
from taskdemo_cli.analysis import pasting
from taskdemo_cli.analysis import recommendation as recommend
from taskdemo_cli.analysis.verdicts import comparison
from taskdemo_cli.documents.comparison import Recommendation
from taskdemo_cli.documents.run import OwnFunction, RunDocument
from taskdemo_cli.recording.summary import doubted
from taskdemo_cli.reports.terminal.comparison import recommendation_lines
from taskdemo_cli.reports.terminal.documents import drawing
from taskdemo_server.contract.modes import MODE_BY_NAME


def a_run(
    mode: str,
    work: float = 1.0,
    *,
    count: int = 5,
    at_once: int = 5,
    waits: bool = False,
    held: bool = False,
    state: Any = "finished",
) -> RunDocument:
    """A run in which `at_once` works run at a time, and the bystander is held up or not."""
    answers, events = [], []
    where = f"laptop pid 1 {'MainThread' if mode in recommend.APART else 'worker thread 1'}"
    over = 0.0
    for n in range(1, count + 1):
        start = 0.002 + (n - 1) // at_once * work
        over = start + work
        events += samples.events_of(f"{mode}{n}", 0.001, start, over, mode=mode, where=where, state=state)
        answers.append(samples.sample(n, over + 0.001 if waits else 0.003, task=f"{mode}{n}"))
    pings = samples.pings(over, [(0.0, over)] if held else [])
    recorded = samples.recorder(answers, events, pings)
    return doubted(recorded.finish(samples.facts(mode, count, duration=work)), 0.0001)


def every_mode() -> list[RunDocument]:
    waiting = [a_run("async", waits=True), a_run("threadpool", waits=True)]
    later = [a_run(mode) for mode in ("background", "background-async", "process", "celery")]
    return [a_run("blocking", at_once=1, waits=True, held=True), *waiting, *later]


def computing(run: RunDocument, share: float = 0.98) -> RunDocument:
    return replace(run, summary=replace(run.summary, work_cpu_share=share))


def threaded(run: RunDocument, **fields: Any) -> RunDocument:
    return replace(run, tasks=[replace(task, thread="AnyIO worker thread 1", **fields) for task in run.tasks])


def bystanders(run: RunDocument, *waits: float) -> RunDocument:
    called = run.bystander[0]
    return replace(run, bystander=[replace(called, response_s=wait) for wait in waits])


def failing(mode: str, failed: int) -> RunDocument:
    """A run of six tasks, the first `failed` of which failed at once."""
    answers, events = [], []
    for n in range(1, 7):
        bad = n <= failed
        events += samples.events_of(
            f"{mode}{n}", 0.001, 0.002, 0.00204 if bad else 2.0, mode=mode,
            state="failed" if bad else "finished", error="RuntimeError: quick failure" if bad else None,
        )  # fmt: skip
        answers.append(samples.sample(n, 0.003, task=f"{mode}{n}"))
    return samples.recorder(answers, events, samples.pings(2.0)).finish(samples.facts(mode, 6))


def one_lost(mode: str) -> RunDocument:
    run = a_run(mode)
    tasks = replace(run.summary.tasks, finished=4, lost=1)
    return replace(run, summary=replace(run.summary, tasks=tasks))


def of_own_function(mode: str, **given: Any) -> RunDocument:
    """A run of a function of one's own that cannot await."""
    own = OwnFunction(is_async=False, takes_message=True)
    return replace(a_run(mode, waits=True, **given), work="shop:report", own_work=own)


def never_awaiting(mode: str, **given: Any) -> RunDocument:
    """A run of an `async def` of one's own that was done by one request after another, for 0.12 s each."""
    run = of_own_function(mode, work=0.12, at_once=1, **given)
    tasks = [replace(task, thread="event loop") for task in run.tasks]
    return replace(run, own_work=OwnFunction(is_async=True, takes_message=True), tasks=tasks)


def told(*runs: RunDocument, needs: Sequence[str] = ()) -> str:
    found = recommend.recommend(runs, needs).one
    return "Nothing." if found is None else f"{found.mode}: {found.why}"


def held_up() -> dict[str, str]:
    """How long others waited decides first."""
    blocking, threadpool = a_run("blocking", at_once=1, waits=True, held=True), a_run("threadpool", waits=True)
    other = bystanders(a_run("process", at_once=4), 0.002)
    unanswered = replace(a_run("background").bystander[0], sent_s=0.1, done_s=4.1, response_s=None, error="Cancelled")
    stuck = a_run("background", held=True)
    slower, slowest = bystanders(threadpool, 0.4), bystanders(a_run("blocking", waits=True), 0.9)
    async_ones = [a_run("async", waits=True, held=True), a_run("background-async", held=True)]
    return {
        "work that waits in threads and holds up nobody": told(
            blocking, threadpool, *(a_run(mode) for mode in ("background", "process", "celery"))
        ),
        "work that truly awaits": told(
            a_run("async", waits=True), a_run("background-async"), a_run("process", at_once=2)
        ),
        "async work that never awaits": told(*async_ones, a_run("process")),
        "without processes": told(a_run("background", at_once=1, held=True), a_run("celery", at_once=2)),
        "a wait below the limit": told(bystanders(a_run("background"), 0.055), other),
        "a wait above the limit": told(bystanders(a_run("background"), 0.122), other),
        "a bystander that nobody answered": told(
            replace(a_run("background"), bystander=[unanswered]), a_run("process")
        ),
        "everything holds up others": told(stuck, a_run("background-async", at_once=1, held=True)),
        "what held them up less lacks what is needed": told(
            slower, slowest, bystanders(a_run("process"), 0.002), needs=["result"]
        ),
        "no mode that answers first was run": told(threadpool, blocking),
        "the mode that answers first held up others": told(threadpool, blocking, stuck),
        "a function that cannot await, in async": told(
            of_own_function("async", held=True), of_own_function("threadpool")
        ),
        "a function that cannot await, whose bystanders were lucky": told(
            *(of_own_function(mode, work=0.12) for mode in ("async", "threadpool"))
        ),
        "one held up others, and one can": told(
            *(of_own_function(mode, work=0.12) for mode in ("async", "threadpool")),
            a_run("blocking", 0.12, waits=True, held=True),
        ),
        "an async function that never awaits": told(never_awaiting("async", held=True)),
        "an async function that never awaits, whose bystanders were lucky": told(
            never_awaiting("async"), a_run("celery", 0.12)
        ),
        "an async function that never awaits, and others shall not wait": told(
            never_awaiting("async"), needs=["quiet"]
        ),
        "a function that cannot await, and others shall not wait": told(
            *(of_own_function(mode, work=0.12) for mode in ("async", "threadpool")), needs=["quiet"]
        ),
    }


def work() -> dict[str, str]:
    """How long the work took, whether it computes, and how it ended."""
    threads, process = computing(a_run("background", count=1)), computing(a_run("process", count=1))
    waits = computing(a_run("background", count=1), 0.02)
    background, beside = a_run("background"), computing(a_run("process"))
    # Of five threads each computes a fifth of the time; on a busy machine they wait for a processor, too.
    crowded = threaded(computing(background, 0.2), cpu_s=0.2, queued_s=0.0)
    busy = threaded(computing(background, 0.1), cpu_s=0.1, queued_s=0.1)
    # Each time that work wakes which sleeps, it waits for a processor.
    sleeps = threaded(computing(background, 0.02), cpu_s=0.01, queued_s=0.5)
    quick = a_run("threadpool", 0.01, waits=True)
    many: Any = {"count": 100, "at_once": 1}
    return {
        "threads cannot share it": told(
            a_run("background", at_once=1), *(a_run(mode, at_once=2) for mode in ("process", "celery"))
        ),
        "it computes": told(threads, process),
        "it computes nowhere": told(waits, computing(a_run("process", count=1), 0.02)),
        "it computes and lets the interpreter go": told(
            *(threaded(computing(a_run(mode))) for mode in ("background", "process"))
        ),
        "threads wait for one another's interpreter": told(crowded),
        "threads wait for one another's interpreter, and others shall not wait": told(crowded, needs=["quiet"]),
        "threads wait for one another's interpreter, and a need that no mode has beside it": told(
            crowded, beside, needs=["quiet", "retry", "track", "no-service"]
        ),
        "threads wait for one another's interpreter, and there are processes": told(crowded, beside),
        "threads wait for a processor, too": told(busy),
        "threads that sleep wait for a processor": told(sleeps),
        "it is quick": told(quick, a_run("background", 0.01), a_run("celery", 0.01)),
        "it is quick and computes, and no caller waits for it": told(
            a_run("blocking", 0.0004, at_once=1, waits=True),
            *(computing(a_run(mode, 0.0004, at_once=at_once)) for mode, at_once in (("background", 1), ("process", 2))),
        ),
        "it is quick, and many that wait hold up others": told(
            a_run("async", 0.02, waits=True, held=True, **many), a_run("process", 0.02, **many)
        ),
        "processes were too few": told(replace(a_run("process", at_once=2), slots=2), a_run("celery")),
        "processes were too few, and threads were not": told(background, replace(a_run("process", at_once=2), slots=2)),
        "it sometimes fails": told(failing("background", 2), failing("process", 2)),
        "it mostly fails": told(failing("threadpool", 5), failing("background", 5)),
        "it failed in every mode": told(*(a_run(mode, state="failed") for mode in ("background", "celery"))),
        "it was lost in every mode": told(*(a_run(mode, state="lost") for mode in ("background", "process"))),
        "some of it was lost or failed in every mode": told(failing("background", 3), a_run("process", state="lost")),
        "only blocking was run": told(a_run("blocking", waits=True, held=True)),
        "the run was cut short": told(samples.interrupted_run()),
        "the last mode was cut short": told(
            a_run("background"), replace(a_run("process", state="started"), interrupted=True)
        ),
        "the server is a stranger": told(samples.rate_run()),
    }


def rounds() -> dict[str, str]:
    """What several rounds say together."""
    runs: list[RunDocument] = []
    for number, waited in enumerate((0.02, 0.3, 0.4), 1):
        runs.append(replace(bystanders(a_run("background"), waited), round=number))
        runs.append(replace(bystanders(a_run("process", at_once=4), 0.002), round=number))
    most = [
        replace(bystanders(a_run("background", work), waited), round=number)
        for number, (work, waited) in enumerate(((1.0, 0.002), (1.01, 0.003), (1.3, 0.04)), 1)
    ]
    return {
        "rounds that would each recommend another mode": told(*runs),
        "a round that was ended before all modes has no say": told(*runs[:-1]),
        "the second round was cut short": told(
            a_run("background"),
            a_run("threadpool", waits=True),
            replace(a_run("background"), round=2, interrupted=True),
        ),
        "one round lost a task": told(
            *(a_run(mode, waits=mode == "threadpool") for mode in ("background", "threadpool")),
            *(replace(run, round=2) for run in (one_lost("background"), a_run("threadpool", waits=True))),
        ),
        "the most is the most of all rounds": told(*most),
    }


def needs() -> dict[str, str]:
    """Which mode each need has, and both needs of some."""
    holding = [a_run("blocking", at_once=1, waits=True, held=True), a_run("background-async", at_once=1, held=True)]
    listed = {"every mode": every_mode(), "modes that hold up others": holding}
    each = {
        f"each need: {name}": "\n".join(f"{one.need}: {one.mode}: {one.why}" for one in recommend.recommend(runs).each)
        for name, runs in listed.items()
    }
    return each | {
        "two needs": told(*every_mode(), needs=["track", "no-service"]),
        "two needs that no mode has": told(*every_mode(), needs=["result", "retry"]),
        "needs that no mode has, and quiet": told(*every_mode(), needs=["result", "retry", "quiet"]),
        "a need that one mode has, whose tasks were lost": told(
            *(a_run(mode) for mode in ("blocking", "background", "process")),
            a_run("celery", state="lost"),
            needs=["retry"],
        ),
        "a need that only a mode has whose tasks were lost, partly": told(one_lost("celery"), needs=["retry"]),
        "a mode with a lost task": told(one_lost("background")),
        "a need, and the only mode was cut short": told(samples.interrupted_run(), needs=["result", "quiet"]),
        "a need that no mode has that was run": told(a_run("background"), a_run("process"), needs=["retry"]),
    }


def test_every_recommendation_is_the_one_that_was_reviewed() -> None:
    assert_reviewed(__file__, held_up() | work() | rounds() | needs())


def test_where_no_mode_has_what_is_needed_there_is_no_code() -> None:
    found = recommend.recommend([a_run("background")], ["retry"]).one
    assert found is not None
    assert found.code == ""


def test_blocking_is_not_offered_among_the_modes_that_were_not_run() -> None:
    found = told(a_run("background"), needs=["result"])
    assert found.endswith("async and threadpool would: --modes async,threadpool.")


def test_where_work_says_nothing_of_where_it_should_run_no_need_has_a_mode() -> None:
    for runs in ([failing("threadpool", 5)], [samples.interrupted_run()], [samples.rate_run()]):
        assert recommend.recommend(runs).each == []


def advice(*runs: RunDocument) -> Recommendation:
    found = recommend.recommend(runs).one
    assert found is not None
    return found


def test_what_it_gives_up_is_said_once_to_be_known_and_not_measured() -> None:
    found = advice(a_run("background"))
    assert set(found.gives_up) == set(MODE_BY_NAME["background"].gives_up.values())
    assert found.gives_up[0] == "the result: the caller is answered before it exists"
    assert found.basis == "known, not measured here; taskdemo limits measures it"


@pytest.mark.parametrize("mode", sorted({*recommend.WAITING, *recommend.AFTERWARDS}))
def test_in_a_terminal_of_80_columns_it_is_short(mode: str) -> None:
    found = advice(a_run(mode, waits=mode in recommend.WAITING), a_run("blocking", at_once=1, waits=True, held=True))
    lines = [line.plain for line in recommendation_lines(found, width=80)]
    assert lines[0].startswith(f"Use {mode}: ")
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 9
    assert "def " not in "".join(lines), "the code of a work that comes along is in the document alone"


@pytest.mark.parametrize("width", [80, 100])
def test_the_end_of_a_comparison_of_seven_modes_leaves_a_line_of_forty_for_the_prompt(width: int) -> None:
    """And two for the files that --save and --html wrote."""
    runs = [*every_mode()[:5], *(replace(a_run(mode, at_once=2), slots=2) for mode in ("process", "celery"))]
    found = recommend.recommend(runs)
    document = replace(comparison(runs), recommendations=found.each, recommendation=found.one)
    text = printed(drawing(document), width)
    picture = text[text.index("0 s") :]
    assert picture.count("\n") <= 40 - 3, picture
    assert "\nasync, threadpool: each caller waited for its own work\n" in text


def test_every_mode_that_can_be_recommended_says_what_it_gives_up() -> None:
    assert {*recommend.WAITING, *recommend.AFTERWARDS} == set(MODE_BY_NAME) - {"blocking"}
    assert all(MODE_BY_NAME[mode].gives_up for mode in (*recommend.WAITING, *recommend.AFTERWARDS))


def test_a_comparison_of_ones_own_function_ends_with_the_mode_its_price_and_the_code(tmp_path: Path) -> None:
    (tmp_path / "reports.py").write_text("import time\n\n\ndef build(message):\n    time.sleep(0.2)\n")
    done = taskdemo(
        "compare", "--work", "reports:build", "--modes", "blocking,background", "--count", "3",
        "--need", "answer-first", "--need", "no-service",
        "--save", "result.json", "--html", "report.html",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    *_, end = done.stdout.partition("\nUse background for answer-first, no-service\n")
    assert "It gives up" in end
    code, *wrote = end[end.index('"""Callers') :].split("wrote ")
    assert "".join(wrote).split() == ["result.json", "report.html"]
    assert code.rstrip() == pasting.code("background", pasting.Function("reports:build")).rstrip()
    document = json.loads((tmp_path / "result.json").read_text())
    assert document["recommendation"]["mode"] == "background"
    run = document["runs"][0]
    assert (run["work"], run["duration_s"]) == ("reports:build", None)
    assert run["own_work"] == {"is_async": False, "takes_message": True}
    assert "Recommendation for answer-first, no-service: background" in (tmp_path / "report.html").read_text()
