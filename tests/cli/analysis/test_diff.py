import pytest
from msgspec.structs import replace

import samples
from reviewed import assert_reviewed
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
        run = recorder(answers, ends).finish(facts("background", 10, round_number=number))
        runs.append(replace(run, **changed))
    return comparison(runs)


@pytest.mark.parametrize(
    ("old", "new", "outcome"), [(0.5, 0.1, "better"), (0.1, 0.5, "worse"), (0.5, 0.5, "within noise")]
)
def test_rounds_of_the_same_show_what_changed_beyond_their_noise(old: float, new: float, outcome: str) -> None:
    changes = compare_saved(rounds(old), rounds(new))
    assert changes.remarks == []
    by_figure = {change.figure: change for change in changes.changes}
    assert {by_figure[figure].outcome for figure in ("response_s.p50", "requests_per_s")} == {outcome}
    assert by_figure["response_s.max"].old == pytest.approx(old + 0.002, abs=0.001)


def test_of_single_runs_the_noise_is_not_known_and_their_modes_need_not_be_the_same() -> None:
    changes = compare_saved(samples.blocking_run(), samples.background_run()).changes
    assert {(change.outcome, change.mode) for change in changes} == {("unknown", "blocking -> background")}


def test_a_round_during_which_the_user_stopped_has_no_part_in_what_changed() -> None:
    old, new = rounds(0.5), rounds(0.1)
    stopped = replace(rounds(0.9).runs[2], interrupted=True, round=4)
    assert compare_saved(old, replace(new, runs=[*new.runs, stopped])) == compare_saved(old, new)


def test_another_machine_or_version_or_number_of_threads_is_named_and_may_be_what_is_compared() -> None:
    old, new = rounds(0.5, slots=40), rounds(0.1, slots=8)
    packages = [{"environment": {**samples.ENVIRONMENT, "packages": {"fastapi": one}}} for one in ("0.1", "0.2")]
    old, new = (
        replace(one, runs=[replace(run, **more) for run in one.runs])
        for one, more in zip((old, new), packages, strict=True)
    )
    changes = compare_saved(old, new)
    assert changes.remarks == ["fastapi was 0.1 and is 0.2", "the number of threads or processes was 40 and is 8"]
    assert "better" in {change.outcome for change in changes.changes}


def hard_to_compare() -> dict[str, tuple[RunDocument | ComparisonDocument, RunDocument | ComparisonDocument]]:
    three, slow = samples.comparison_document(), rounds(0.5)
    own = replace(three, runs=[replace(run, work="reports:\x1bbuild", duration_s=None) for run in three.runs])
    more = replace(three, runs=[replace(three.runs[0], count=6), *three.runs[1:]])
    told = replace(more, runs=[replace(run, count=None, for_s=10.0, message="\x1b" + "x" * 4000) for run in more.runs])
    return {
        "other work, and in one mode another count": (own, more),
        "a message that is long, and a time for a count": (three, told),
        "modes that the new one lacks": (three, samples.blocking_run()),
        "no mode that both have": (
            replace(three, runs=[run for run in three.runs if run.mode != slow.runs[0].mode]),
            slow,
        ),
        "answers that failed": (slow, rounds(0.1, status=500)),
        "tasks that failed": (slow, rounds(0.1, state="failed")),
        "tasks that were lost": (slow, rounds(0.1, state="lost")),
        "interrupted": (slow, rounds(0.1, interrupted=True)),
        "timed out": (slow, rounds(0.1, timed_out=True)),
        "cut short": (slow, rounds(0.1, ended_because="the server ended")),
        "another method": (slow, rounds(0.1, method="POST")),
        "another path": (slow, rounds(0.1, path="/other")),
        "another count": (slow, rounds(0.1, count=20)),
        "another work": (slow, rounds(0.1, work="cpu")),
    }


def test_what_makes_two_results_hard_to_compare_is_said_first_and_nothing_of_them_is_called_better() -> None:
    told = {}
    for name, (old, new) in hard_to_compare().items():
        changes = compare_saved(old, new)
        told[name] = "\n".join([*changes.remarks, *sorted({f"[{one.outcome}]" for one in changes.changes})])
    assert_reviewed(__file__, told)
