import pytest
from msgspec.structs import replace

from samples import event, facts, recorder, sample
from taskdemo_cli.analysis.diff import compare_saved
from taskdemo_cli.analysis.verdicts import comparison
from taskdemo_cli.documents.comparison import ComparisonDocument
from taskdemo_cli.documents.run import RunDocument


def rounds(seconds: float, *, status: int = 200, state: str = "finished", **changed: object) -> ComparisonDocument:
    """Three rounds of ten answers, each a little quicker than the one before."""
    runs: list[RunDocument] = []
    for number in (1, 2, 3):
        samples = [sample(n, seconds + number * 0.001, status=status, task=f"t{n}") for n in range(1, 11)]
        ends = [event(f"t{n}", state, 0.5) for n in range(1, 11)]  # type: ignore[arg-type]  # one of the states
        run = recorder(samples, ends).finish({**facts("background", 10), "round": number})
        runs.append(replace(run, **changed))
    return comparison(runs)


def test_the_same_twice_is_compared() -> None:
    changes = compare_saved(rounds(0.5), rounds(0.1))
    assert changes["remarks"] == []
    assert {change["outcome"] for change in changes["changes"] if change["figure"] == "response_s.p50"} == {"better"}


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
        (rounds(0.1, work="cpu"), "These two did different work"),
    ],
)
def test_what_cannot_be_compared_is_said_first_and_nothing_of_it_is_called_better(
    new: ComparisonDocument, remark: str
) -> None:
    changes = compare_saved(rounds(0.5), new)
    assert remark in changes["remarks"][0]
    assert {change["outcome"] for change in changes["changes"]} == {"not comparable"}
