"""What a scan says of endpoints: how many requests they get, which kind they are, and one sentence about all."""

from typing import Any

import pytest
from msgspec.structs import replace

import samples
from reviewed import assert_reviewed
from taskdemo_cli.analysis.blocking.answers import ANY_KEY, ANY_LOGIN
from taskdemo_cli.analysis.routes import Route
from taskdemo_cli.analysis.scan import by_outcome, has_failed, judged, next_burst, outcome, verdict
from taskdemo_cli.documents.blocking import Answer, Blocking, NeverRanTask
from taskdemo_cli.documents.run import RunDocument
from taskdemo_cli.documents.scan import EndpointRow

ROUTE = Route("GET", "/a", "/a")


def burst(count: int, took: float, **fields: Any) -> RunDocument:
    """A burst that was answered, and kept the server busy for so long."""
    run = samples.recorder([samples.sample(n, took) for n in range(1, count + 1)]).finish(
        samples.header(url="http://x")
    )
    return replace(run, summary=replace(run.summary, wall_s=took), **fields)


def status(code: int, took: float = 0.01) -> RunDocument:
    return samples.recorder([samples.sample(1, took, status=code)]).finish(samples.header(url="http://x"))


@pytest.mark.parametrize(
    ("runs", "size"),
    [
        ([burst(1, 0.01)], 20),
        ([burst(1, 0.01), burst(20, 0.2)], None),
        ([burst(1, 0.4)], 2),
        ([burst(1, 0.4), burst(2, 0.8)], 3),
        ([burst(1, 0.4), burst(2, 0.41)], 20),
        ([burst(1, 1.2), burst(2, 2.4)], None),
        ([burst(1, 0.4), burst(2, 0.8), burst(5, 2.0)], None),
        ([burst(1, 5.0, timed_out=True)], None),
        ([burst(1, 0.4), burst(2, 5.0, timed_out=True)], None),
        ([burst(1, 0.01, ended_because="the server ended")], None),
        ([status(307)], None),
        ([status(404)], None),
        ([status(404, 0.4)], 2),
        ([status(500)], 20),
    ],
)
def test_a_burst_is_as_large_as_asked_unless_its_requests_wait_for_each_other(
    runs: list[RunDocument], size: int | None
) -> None:
    assert next_burst(runs, 20) == size


def test_a_scan_of_single_requests_has_no_bursts() -> None:
    assert next_burst([burst(1, 0.4)], 1) is None


def row(path: str, cause: Any, wait: float, run: RunDocument | None = None) -> EndpointRow:
    blocks = cause == "event loop held"
    threads = wait + 0.05 if blocks else 0.001  # whoever needs a thread waits for the loop, too
    found = Blocking(blocks=blocks, cause=cause, loop_wait_s=wait, threads_wait_s=threads)
    return judged(Route("GET", path, path), run or burst(3, 0.1), found)


LOST = NeverRanTask(call="mail", place=None, count=3, status=200)
UNDONE = judged(ROUTE, burst(3, 0.001), Blocking(blocks=False, cause="neither", never_ran=[LOST]))
"""Of a burst too short for a bystander."""


def test_every_sentence_is_the_one_that_was_reviewed() -> None:
    rows = [row("/a", "event loop held", 0.2), row("/b", "neither", 0.01), row("/c", "event loop held", 1.5)]
    rows += [EndpointRow(method="POST", path="/d", skipped="POST may write")]
    assert [one.path for one in by_outcome(rows)["blocks"]] == ["/c", "/a"]
    login = Blocking(
        blocks=False,
        cause="not reached",
        type_instead="-H 'Authorization: Bearer ...'",
        answers=[Answer(status=401, count=3)],
    )
    refused = [judged(Route("GET", path, path), status(401), login) for path in ("/b", "/c")]
    late = Blocking(blocks=True, cause="event loop held", loop_wait_s=0.4, longest_s=3.0)
    told = {
        "two of three hold up everybody, the longest first": verdict(rows),
        "none does": verdict(rows[1:2]),
        "none was called": verdict(rows[3:]),
        "one was reached": verdict([rows[1], *refused]),
        "none was reached": verdict(refused),
        "none was reached, for the server ended": verdict(
            [judged(ROUTE, burst(1, 0.1), Blocking(blocks=False, cause="not reached"))]
        ),
        "one blocks after the bystanders have gone": verdict([judged(ROUTE, burst(3, 0.1), late)]),
        "the same endpoint": judged(ROUTE, burst(3, 0.1), late).text,
        "a burst too short for a bystander, whose tasks never ran": UNDONE.text,
    }
    assert_reviewed(__file__, told)


def test_an_endpoint_that_fails_is_no_quiet_one() -> None:
    failed = row("/a", "neither", 0.01, status(500))
    assert outcome(failed) == "look"
    assert has_failed(failed)
    assert outcome(row("/a", "neither", 0.01)) == "quiet"
    run = burst(3, 0.1)
    left = replace(run, summary=replace(run.summary, tasks=replace(run.summary.tasks, unfinished=2)))
    assert outcome(row("/a", "neither", 0.01, left)) == "look"
    assert outcome(UNDONE) == "look"
    assert has_failed(UNDONE)


@pytest.mark.parametrize(
    ("option", "instead"),
    [
        ("-H 'Authorization: Bearer ...'", "-H 'Authorization: Bearer ...'"),
        (ANY_KEY, "-H 'X-Key: KEY'"),
        (ANY_LOGIN, "-H 'X-Key: KEY'"),
        ("--path /a/", "taskdemo fire --app main:app --path /a/"),
        ("taskdemo scan", "taskdemo fire --app main:app --path /a/{id}, with values that exist"),
        (None, None),
    ],
)
def test_what_to_type_where_an_endpoint_was_not_reached_is_a_whole_command(
    option: str | None, instead: str | None
) -> None:
    found = Blocking(blocks=False, cause="not reached", type_instead=option)
    reached = judged(
        Route("GET", "/a/{id}", "/a/7", key="-H 'X-Key: KEY'"), replace(status(404), app="main:app"), found
    )
    assert reached.blocking
    assert reached.blocking.type_instead == instead


def test_a_refusal_is_no_failure_and_an_error_is_one() -> None:
    found = Blocking(blocks=False, cause="not reached")
    assert not has_failed(judged(ROUTE, status(401), found))
    assert has_failed(judged(ROUTE, status(500), found))
    cut = samples.recorder([samples.sample(1, 2.0, error="ReadTimeout")]).finish(samples.header(url="http://x"))
    assert has_failed(judged(ROUTE, cut, found))
    assert not has_failed(judged(ROUTE, cut, replace(found, endless=1))), "a stream that goes on"
