import pytest
from msgspec.structs import replace

import samples
from samples import event, facts, recorder, sample
from taskdemo_cli.analysis.diff import compare_saved
from taskdemo_cli.analysis.verdicts import comparison
from taskdemo_cli.documents.comparison import ComparisonDocument
from taskdemo_cli.documents.run import RunDocument


def rounds(seconds: float, *, status: int = 200, state: str = "finished", **changed: object) -> ComparisonDocument:
    """Three rounds of ten answers, each a little quicker than the one before."""
    runs: list[RunDocument] = []
    for number in (1, 2, 3):
        answers = [sample(n, seconds + number * 0.001, status=status, task=f"t{n}") for n in range(1, 11)]
        ends = [event(f"t{n}", state, 0.5) for n in range(1, 11)]  # type: ignore[arg-type]  # one of the states
        run = recorder(answers, ends).finish({**facts("background", 10), "round": number})
        runs.append(replace(run, **changed))
    return comparison(runs)


@pytest.mark.parametrize(
    ("old", "new", "outcome"), [(0.5, 0.1, "better"), (0.1, 0.5, "worse"), (0.5, 0.5, "within noise")]
)
def test_rounds_of_the_same_show_what_changed_beyond_their_noise(old: float, new: float, outcome: str) -> None:
    changes = compare_saved(rounds(old), rounds(new))
    assert changes["remarks"] == []
    by_figure = {change["figure"]: change for change in changes["changes"]}
    assert {by_figure[figure]["outcome"] for figure in ("response_s.p50", "requests_per_s")} == {outcome}
    assert by_figure["response_s.max"]["old"] == pytest.approx(old + 0.002, abs=0.001)


def test_of_single_runs_the_noise_is_not_known_and_their_modes_need_not_be_the_same() -> None:
    changes = compare_saved(samples.blocking_run(), samples.background_run())["changes"]
    assert {(change["outcome"], change["mode"]) for change in changes} == {("unknown", "blocking -> background")}


def test_what_makes_two_results_hard_to_compare_is_said_the_gravest_first_and_once() -> None:
    old, new = samples.comparison_document(), samples.comparison_document()
    old = replace(old, runs=[replace(run, work="reports:\x1bbuild", duration_s=None) for run in old.runs])
    new = replace(new, runs=[replace(new.runs[0], count=6), *new.runs[1:]])
    assert compare_saved(old, new)["remarks"] == [
        "work was reports:\\x1bbuild and is sleep of 1.00 s",
        "blocking: count was 5 and is 6",
    ]
    new = replace(new, runs=[replace(run, count=None, for_s=10.0, message="\x1b" + "x" * 4000) for run in new.runs])
    assert compare_saved(samples.comparison_document(), new)["remarks"] == [
        f"message was not given and is \\x1b{'x' * 55}…",
        "count was 5 and is not given",
        "for was not given and is 10.0",
    ]
    remarks = compare_saved(samples.comparison_document(), samples.blocking_run())["remarks"]
    assert remarks[:2] == ["threadpool is only in the old result", "background is only in the old result"]


@pytest.mark.parametrize(
    ("new", "remark"),
    [
        (rounds(0.1, status=500), "the new result has 30 of 30 requests that failed"),
        (rounds(0.1, state="failed"), "the new result has 30 of 30 tasks that did not finish"),
        (rounds(0.1, state="lost"), "the new result has 30 of 30 tasks that did not finish"),
        (rounds(0.1, interrupted=True), "the new result was cut short"),
        (rounds(0.1, timed_out=True), "the new result was cut short"),
        (rounds(0.1, ended_because="the server ended"), "the new result was cut short"),
        (rounds(0.1, method="POST"), "method was GET and is POST"),
        (rounds(0.1, path="/other"), "path was / and is /other"),
        (rounds(0.1, count=20), "count was 10 and is 20"),
        (rounds(0.1, work="cpu"), "work was sleep of 1.00 s and is cpu of 1.00 s"),
    ],
)
def test_what_cannot_be_compared_is_said_first_and_nothing_of_it_is_called_better(
    new: ComparisonDocument, remark: str
) -> None:
    changes = compare_saved(rounds(0.5), new)
    assert remark in changes["remarks"][0]
    assert {change["outcome"] for change in changes["changes"]} == {"not comparable"}
