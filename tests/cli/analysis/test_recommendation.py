"""What a comparison recommends, by what figures, and that the code it gives runs as it is pasted."""

import io
import json
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from rich.console import Console

import samples
from commands import taskdemo
from taskdemo_cli.analysis import pasting
from taskdemo_cli.analysis import recommendation as recommend
from taskdemo_cli.analysis.verdicts import comparison
from taskdemo_cli.documents.run import OwnFunction, RunDocument
from taskdemo_cli.recording.summary import doubted
from taskdemo_cli.reports.terminal.report import comparison_report, recommendation_lines
from taskdemo_server.contract.modes import MODE_BY_NAME, NEEDS


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
    over = 0.0
    for n in range(1, count + 1):
        start = 0.002 + (n - 1) // at_once * work
        over = start + work
        events += samples.events_of(f"{mode}{n}", 0.001, start, over, mode=mode, state=state)
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


def advice(*runs: RunDocument, **given: Any) -> Any:
    found = recommend.recommend(runs, **given).one
    assert found is not None
    return found


def test_work_that_waits_in_threads_and_holds_up_nobody_goes_to_the_background() -> None:
    found = advice(
        a_run("blocking", at_once=1, waits=True, held=True),
        a_run("threadpool", waits=True),
        a_run("background"),
        a_run("process"),
        a_run("celery"),
    )
    assert found.mode == "background"
    assert "In blocking other requests waited 5.00 s" in found.why
    assert "all 5 tasks had ended after 1.00 s" in found.why


def test_work_that_threads_cannot_share_goes_to_processes() -> None:
    found = advice(a_run("background", at_once=1), a_run("process", at_once=2), a_run("celery", at_once=2))
    assert found.mode == "process"
    assert "In background the last task ended only after 5.00 s" in found.why


def test_without_processes_it_goes_to_celery() -> None:
    assert advice(a_run("background", at_once=1, held=True), a_run("celery", at_once=2)).mode == "celery"


def test_work_that_truly_awaits_goes_to_the_background_of_the_event_loop() -> None:
    found = advice(a_run("async", waits=True), a_run("background-async"), a_run("process", at_once=2))
    assert found.mode == "background-async"


def test_async_work_that_never_awaits_does_not_stay_on_the_event_loop() -> None:
    found = advice(a_run("async", waits=True, held=True), a_run("background-async", held=True), a_run("process"))
    assert found.mode == "process"
    assert "In async and background-async other requests waited up to" in found.why


@pytest.mark.parametrize(
    ("needs", "mode", "says"),
    [
        (["result"], "threadpool", "process gives up the result, unless its endpoint awaits the future"),
        (["answer-first"], "background", "blocking, async and threadpool give up an answer before the work is done."),
        (
            ["survive"],
            "celery",
            "background, background-async and process give up the tasks of a process that is killed",
        ),
        (["retry"], "celery", "give up retries."),
        (["track"], "process", "background and background-async give up asking how the work is doing."),
        (["cancel"], "celery", "process gives up cancelling what has begun."),
        (["quiet"], "background", "blocking gives up a server that is free for other requests."),
        (["no-service"], "background", "celery gives up having nothing but the server to look after"),
        (["track", "no-service"], "process", "Callers waited 2.8 ms"),
        (["result", "retry"], None, "No mode at all does that: leave a need out. "),
    ],
)
def test_each_need_has_its_mode_and_the_sentence_that_decides_it(needs: list[str], mode: str | None, says: str) -> None:
    found = recommend.recommend(every_mode(), needs)
    assert found.one is not None
    assert (found.one.need, found.one.mode) == (", ".join(needs), mode)
    assert says in found.one.why
    if len(needs) == 1:
        one = next(each for each in found.each if each.need == needs[0])
        assert one.mode == mode
        assert says in one.why
    assert [each.need for each in found.each] == list(NEEDS)


def test_what_no_mode_that_was_run_has_is_said_with_the_modes_that_have_it() -> None:
    found = recommend.recommend([a_run("background"), a_run("process")], ["retry"]).one
    assert found is not None
    assert found.mode is None
    assert found.code == ""
    assert "Of those that were not run, celery, dramatiq, " in found.why


def test_a_mode_that_holds_up_everybody_is_no_answer_and_none_is_quiet_where_all_do() -> None:
    runs = [a_run("blocking", at_once=1, waits=True, held=True), a_run("background-async", at_once=1, held=True)]
    found = {one.need: one for one in recommend.recommend(runs).each}
    assert (found["result"].mode, found["quiet"].mode) == (None, None)
    assert found["result"].why.startswith(
        "Of those that were run only blocking does that, and holds up every other request. background-async gives up"
    )
    assert "That is long: of what was run, nothing held up others less." in advice(*runs).why


def test_work_that_computes_leaves_the_servers_process_and_the_share_is_said() -> None:
    threads, processes = computing(a_run("background", count=1)), computing(a_run("process", count=1))
    assert advice(threads, processes).mode == "process"
    assert "The work computes 98 % of its time." in advice(threads, processes).why
    assert advice(computing(a_run("background", count=1), 0.02), processes).mode == "process"
    waits = [computing(a_run(mode, count=1), 0.02) for mode in ("background", "process")]
    assert advice(*waits).mode == "background"


def test_work_that_lets_the_interpreter_go_may_compute_in_threads() -> None:
    several = [replace(computing(a_run(mode)), tasks=threaded(a_run(mode))) for mode in ("background", "process")]
    assert advice(*several).mode == "background"
    assert "and leaves the interpreter to others meanwhile." in advice(*several).why


def test_threads_that_wait_for_one_anothers_interpreter_do_not_make_work_that_computes_wait() -> None:
    """Five threads of which each computes a fifth of the time; on a busy machine they wait for a processor, too."""
    background, process = a_run("background"), a_run("process")
    for cpu_s, queued_s in ((0.2, 0.0), (0.1, 0.1)):
        tasks = [replace(task, cpu_s=cpu_s, queued_s=queued_s) for task in threaded(background)]
        crowded = replace(computing(background, cpu_s), tasks=tasks)
        assert "The work computes 100 % of its time" in advice(crowded).why
        assert "No mode that was run does that." in advice(crowded, needs=["quiet"]).why
        beside = advice(crowded, computing(process))
        assert (beside.mode, "The work computes 98 % of its time." in beside.why) == ("process", True)
    # Each time that work wakes which sleeps, it waits for a processor.
    tasks = [replace(task, cpu_s=0.01, queued_s=0.5) for task in threaded(background)]
    assert "computes" not in advice(replace(computing(background, 0.02), tasks=tasks)).why


def threaded(run: RunDocument) -> Any:
    return [replace(task, thread="AnyIO worker thread 1") for task in run.tasks]


def test_no_recommendation_rests_on_the_number_of_processes() -> None:
    few = replace(a_run("process", at_once=2), slots=2)
    found = advice(few, a_run("celery"))
    assert found.mode == "process"
    assert "all 5 tasks had ended after 3.00 s: 2 at a time, one per CPU; --processes 5 runs all at once." in found.why
    assert "ended only after" not in advice(a_run("background"), few).why


def test_of_a_function_that_cannot_await_it_is_said_that_async_modes_do_not_help() -> None:
    own = {"work": "shop:report", "own_work": OwnFunction(is_async=False, takes_message=True)}
    runs = [replace(a_run("async", waits=True, held=True), **own), replace(a_run("threadpool", waits=True), **own)]
    why = advice(*runs).why
    assert (
        "In async other requests waited 1.00 s (limit: 100 ms): this function cannot await, so async cannot help."
        in why
    )


def test_a_work_that_holds_the_event_loop_is_not_quiet_because_the_bystanders_were_lucky() -> None:
    own = {"work": "shop:report", "own_work": OwnFunction(is_async=False, takes_message=True)}
    runs = [replace(a_run(mode, waits=True, work=0.12), **own) for mode in ("async", "threadpool")]
    assert advice(*runs, needs=["quiet"]).mode == "threadpool"
    said = "In async other requests can wait 120 ms (limit: 100 ms): this function cannot await"
    assert said in advice(*runs).why


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


def test_work_that_sometimes_fails_is_told_first_and_never_looks_quick() -> None:
    found = advice(failing("background", 2), failing("process", 2))
    assert found.mode == "background"
    assert found.why.startswith(
        "2 of 6 tasks failed (RuntimeError: quick failure); the times are those of the others. "
    )
    assert "for work of 2.00 s" in found.why


def test_work_that_mostly_fails_recommends_nothing_and_says_why() -> None:
    found = recommend.recommend([failing("threadpool", 5), failing("background", 5)])
    assert found.each == []
    assert found.one is not None
    assert found.one.mode is None
    assert found.one.why == (
        "10 of 12 tasks failed (RuntimeError: quick failure): such work says nothing of where it should run."
    )


def test_quick_work_is_waited_for() -> None:
    found = advice(a_run("threadpool", 0.01, waits=True), a_run("background", 0.01), a_run("celery", 0.01))
    assert found.mode == "threadpool"
    assert "which a caller can wait for" in found.why


def test_quick_work_of_many_that_holds_up_others_is_not() -> None:
    waiting = a_run("async", 0.02, count=100, at_once=1, waits=True, held=True)
    found = advice(waiting, a_run("process", 0.02, count=100, at_once=1))
    assert found.mode == "process"


def test_a_mode_that_lost_or_refused_something_is_not_recommended() -> None:
    assert advice(samples.failed_run(), a_run("celery")).mode == "celery"


def test_where_everything_holds_up_others_it_says_so() -> None:
    found = advice(a_run("background", held=True), a_run("background-async", at_once=1, held=True))
    assert found.mode == "background"
    assert "of what was run, nothing held up others less." in found.why
    assert "nothing held up others less" not in advice(a_run("background")).why
    # Where something held them up less, but lacks what is needed, that is said instead.
    held = [bystanders(a_run("threadpool", waits=True), 0.4), bystanders(a_run("blocking", waits=True), 0.9)]
    needed = advice(*held, bystanders(a_run("process"), 0.002), needs=["result"])
    assert needed.mode == "threadpool"
    assert "That is long; process held up others less." in needed.why


def test_nothing_is_said_of_modes_that_answer_first_where_none_was_run() -> None:
    waiting = [a_run("threadpool", waits=True), a_run("blocking", at_once=1, waits=True, held=True)]
    assert "answers first" not in advice(*waiting).why
    assert "no mode that answers first did better here" in advice(*waiting, a_run("background", held=True)).why


@pytest.mark.parametrize(
    "runs",
    [
        [a_run("blocking", waits=True, held=True)],
        [samples.interrupted_run()],
        [samples.rate_run()],
        [a_run("background", state="failed"), a_run("celery", state="failed")],
    ],
)
def test_where_nothing_can_be_recommended_nothing_is(runs: list[RunDocument]) -> None:
    found = recommend.recommend(runs)
    assert found.one is None or found.one.mode is None
    assert found.each == []


def bystanders(run: RunDocument, *waits: float) -> RunDocument:
    called = run.bystander[0]
    return replace(run, bystander=[replace(called, response_s=wait) for wait in waits])


def test_whom_a_bystander_waited_for_too_long_is_passed_over_with_the_limit() -> None:
    other = bystanders(a_run("process", at_once=4), 0.002)
    assert advice(bystanders(a_run("background"), 0.055), other).mode == "background"
    above = advice(bystanders(a_run("background"), 0.122), other)
    assert above.mode == "process"
    assert "In background other requests waited 122 ms (limit: 100 ms)." in above.why


def test_a_bystander_that_nobody_answered_was_held_up_too() -> None:
    run = a_run("background")
    silent = replace(
        run, bystander=[replace(run.bystander[0], sent_s=0.1, done_s=4.1, response_s=None, error="Cancelled")]
    )
    assert advice(silent, a_run("process")).mode == "process"


def test_a_single_round_is_said_to_be_one_measurement() -> None:
    one = a_run("background")
    assert "Measured once; --rounds 5 says how sure." in advice(one).why
    assert "Measured once" not in advice(one, replace(a_run("background"), round=2)).why


def test_rounds_that_would_each_recommend_another_mode_are_said_to_differ() -> None:
    runs: list[RunDocument] = []
    for number, waited in enumerate((0.02, 0.3, 0.4), 1):
        runs.append(replace(bystanders(a_run("background"), waited), round=number))
        runs.append(replace(bystanders(a_run("process", at_once=4), 0.002), round=number))
    found = advice(*runs)
    assert found.mode == "process"
    assert "But the rounds differ: 2 of 3 say process, 1 background." in found.why


def test_what_is_called_the_most_is_the_most_of_all_rounds() -> None:
    runs: list[RunDocument] = [
        replace(bystanders(a_run("background", work), waited), round=number)
        for number, (work, waited) in enumerate(((1.0, 0.002), (1.01, 0.003), (1.3, 0.04)), 1)
    ]
    why = advice(*runs).why
    assert "other requests at most 40 ms" in why
    assert "all 5 tasks had ended after 1.30 s" in why
    assert "for work of 1.10 s" in why


def test_the_work_is_the_modes_own_and_that_of_the_least_slowed_stands_beside_it() -> None:
    why = advice(a_run("async", 2.0, waits=True, held=True), a_run("process", 4.0)).why
    assert "for work of 4.00 s (2.00 s in async)" in why


def test_a_mode_in_which_every_task_failed_is_not_recommended() -> None:
    assert advice(a_run("background", state="failed"), a_run("process")).mode == "process"


def test_a_single_request_is_said_to_show_little() -> None:
    assert "With a single request" in advice(a_run("background", count=1)).why


def test_what_it_gives_up_is_said_once_to_be_known_and_not_measured() -> None:
    found = advice(a_run("background"))
    assert set(found.gives_up) == set(MODE_BY_NAME["background"].gives_up.values())
    assert found.gives_up[0] == "the result: the caller has the answer before there is one"
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
    console = Console(width=width, file=io.StringIO())
    console.print(comparison_report(document))
    text = console.file.getvalue()  # type: ignore[attr-defined]
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
    assert document["runs"][0]["own_work"] == {"is_async": False, "takes_message": True}
    assert "Recommendation for answer-first, no-service: background" in (tmp_path / "report.html").read_text()
